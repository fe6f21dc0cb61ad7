"""Regular expressions from clients: only such that cannot keep the server busy for ever.

Python's matcher tries every way to match. ``(a+)+$`` has two to the power of the text's length of them,
and while it tries, no other thread runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from fer_sweep.server.wire import RequestError

MAX_LENGTH = 200
MAX_REPEATS = 3
MAX_TEXT = 500
"""So much of a text is searched; with at most three repeats that takes milliseconds."""
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)


def search(pattern: str, text: str) -> bool:
    """Whether a pattern occurs in the first `MAX_TEXT` characters of a text.

    Raises:
        RequestError: If it is not a regular expression, or one that may take for ever.
    """
    return _compile(pattern).search(text[:MAX_TEXT]) is not None


@lru_cache(maxsize=256)
def _compile(pattern: str) -> re.Pattern[str]:
    where = f"filters: $regex {pattern[:MAX_LENGTH]!r}"
    if len(pattern) > MAX_LENGTH:
        raise RequestError(f"{where}: longer than {MAX_LENGTH} characters. Use a shorter one.")
    try:
        tree = _parser.parse(pattern)
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise RequestError(f"{where}: not a regular expression ({error}).") from error
    repeats = list(_repeats(tree, inside=False))
    if len(repeats) > MAX_REPEATS or any(repeats):
        raise RequestError(
            f"{where}: may take too long. Use at most {MAX_REPEATS} of * + ? {{n,m}}, "
            "none of them inside a repeated group, and no alternatives in one."
        )
    return compiled


def _repeats(node: Any, *, inside: bool) -> Iterator[bool]:
    """For each repeat in a parsed pattern whose length can vary: whether it is inside of another.

    Alternatives and back references within a repeat count too: they let it match in many ways.
    """
    for operator, argument in node:
        if operator in _REPEATS or operator is sre.POSSESSIVE_REPEAT:
            least, most, body = argument
            if least != most:
                yield inside
            yield from _repeats(body, inside=inside or most > 1)
        elif operator is sre.BRANCH:
            if inside:
                yield True
            for branch in argument[1]:
                yield from _repeats(branch, inside=inside)
        elif operator is sre.GROUPREF:
            yield inside
        elif operator in (sre.SUBPATTERN, sre.ATOMIC_GROUP, sre.ASSERT, sre.ASSERT_NOT):
            body = argument[-1] if isinstance(argument, tuple) else argument
            yield from _repeats(body, inside=inside)
        elif operator is sre.GROUPREF_EXISTS:
            yield True
