"""Where tables and paragraphs go: wrapped for a terminal, whole lines for a file or a pipe."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_UNWRAPPED = 100_000
"""Columns; no paragraph of ours is longer."""


@contextmanager
def stdout_console() -> Iterator[Console]:
    """Yield a console for standard output.

    Where no terminal reads, nothing is wrapped (unless COLUMNS asks for it) and no line is padded: what follows
    in a pipe, such as grep, wants one line per thing said.
    """
    from rich.console import Console

    if sys.stdout.isatty():
        yield Console(highlight=False)
        return
    width = None if os.environ.get("COLUMNS") else _UNWRAPPED
    text = io.StringIO()
    yield Console(file=text, width=width, highlight=False)
    for line in text.getvalue().removesuffix("\n").split("\n"):
        print(line.rstrip())
