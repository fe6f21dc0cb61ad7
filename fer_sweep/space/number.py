"""Numbers as people and YAML write them."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, TypeGuard

_PLAIN_LIMIT = 12  # digits after which 0.000… is harder to read than an exponent


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether this is an int or float; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: Any) -> TypeGuard[int | float]:
    """Whether this is a number that is neither NaN nor infinite."""
    return is_number(value) and math.isfinite(value)


def number_text(value: int | float) -> str:
    """A number in the form that every YAML reader takes for a number.

    PyYAML reads ``1e-05`` as text, so small values are plain decimals, and an exponent always comes
    with a decimal point.

    Example:
        >>> number_text(1e-4), number_text(3e-7), number_text(2.0), number_text(1e-20), number_text(8)
        ('0.0001', '0.0000003', '2.0', '1.0e-20', '8')
    """
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    plain = format(Decimal(repr(value)), "f")
    if len(plain) <= _PLAIN_LIMIT + 2:
        return plain if "." in plain else plain + ".0"
    text = repr(value)
    mantissa, exponent_mark, exponent = text.partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    return mantissa + exponent_mark + exponent


def parse_number(text: str) -> int | float | None:
    """The number that a text such as ``64`` or ``1e-4`` stands for, or None.

    Example:
        >>> parse_number("64"), parse_number("1e-4"), parse_number("big"), parse_number("nan")
        (64, 0.0001, None, None)
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
