"""Read FER2013's pixel texts, ``70 80 82 …``: 2304 grey values separated by spaces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fer_sweep.data.faceset import PIXELS

_ZERO, _SPACE = ord("0"), ord(" ")
_MARGIN = b"   "
"""Room for looking three characters back from the first digit."""


def parse_pixels(texts: Sequence[bytes]) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Read many images at once.

    Args:
        texts: One text for each image, without quotes.

    Returns:
        Grey values, shape ``(len(texts), 2304)``, and what is wrong by position in ``texts``; the
        values of a wrong text are 0.
    """
    values = _parse_well_formed(texts)
    if values is not None:
        return values, {}
    values = np.zeros((len(texts), PIXELS), np.uint8)
    problems = {}
    for position, text in enumerate(texts):
        try:
            values[position] = _parse_one(text)
        except ValueError as error:
            problems[position] = str(error)
    return values, problems


def _parse_well_formed(texts: Sequence[bytes]) -> NDArray[np.uint8] | None:
    """All values of ``texts``, or None if anything at all is unusual.

    All characters are treated at once in 8-bit arithmetic: a value ends at a digit before a space, and
    up to two digits before it are its tens and hundreds.
    """
    text = np.frombuffer(b"".join((_MARGIN, b" ".join(texts), b" ")), np.uint8)
    digit = text - np.uint8(_ZERO)
    is_digit = digit < 10
    digit *= is_digit
    is_last = is_digit[3:-1] & ~is_digit[4:]
    is_hundred = is_digit[2:-2] & is_digit[1:-3]
    low = digit[2:-2] * np.uint8(10)
    low += digit[3:-1]
    hundreds = digit[1:-3] * is_hundred
    wrong = (hundreds > 2) | ((hundreds == 2) & (low > 55)) | (is_hundred & is_digit[:-4])
    wrong &= is_last
    if wrong.any() or not (is_digit | (text == _SPACE)).all():
        return None
    start = 0
    for one in texts:
        end = start + len(one)
        if np.count_nonzero(is_last[start:end]) != PIXELS:
            return None
        start = end + 1
    hundreds *= np.uint8(100)
    hundreds += low
    values: NDArray[np.uint8] = hundreds[is_last].reshape(len(texts), PIXELS)
    return values


def _parse_one(text: bytes) -> list[int]:
    """The values of one text, the slow way that can say what is wrong."""
    words = text.split()
    for position, word in enumerate(words, start=1):
        if not word.isdigit() or int(word[:20]) > 255:
            shown = word[:12].decode("utf-8", "replace")
            raise ValueError(f"pixel {position} is {shown!r}, not a whole number from 0 to 255")
    if len(words) != PIXELS:
        raise ValueError(f"has {len(words)} pixels instead of {PIXELS}")
    return [int(word) for word in words]
