"""A progress bar on stderr for long work; plain lines, few of them, where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Step = Callable[[float, str], None]
"""Called with the fraction done, in [0, 1], and what is being done."""

_PLAIN_EVERY_S = 5.0


@contextmanager
def progress(title: str) -> Iterator[Step]:
    """Show the progress of one piece of work: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _plain(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0)

        def step(fraction: float, text: str) -> None:
            bar.update(task, completed=fraction, description=f"{title}: {text}" if text else title)

        yield step


def _plain(title: str) -> Step:
    last = time.monotonic()

    def step(fraction: float, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PLAIN_EVERY_S:
            last = now
            print(f"{title}: {fraction:.0%} {text}".rstrip(), file=sys.stderr, flush=True)

    return step
