"""Signals as messages, for as long as an agent runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def caught_signals(put: Callable[[int], None]) -> Iterator[None]:
    """Hand SIGINT, SIGTERM and SIGHUP to ``put`` instead of dying of them.

    What the process ignores already stays ignored (``nohup`` ignores SIGHUP). Outside the main thread,
    where Python cannot catch signals, nothing is changed.

    Args:
        put: Called in the signal handler: must be reentrant, as ``SimpleQueue.put`` is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, _frame: FrameType | None) -> None:
        put(number)

    before = {
        number: signal.signal(number, handler)
        for number in _STOPPING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
