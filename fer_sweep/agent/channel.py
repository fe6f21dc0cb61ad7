"""A worker's end of the pipes to its supervisor."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

from fer_sweep.agent.messages import Event, Order, decode, encode

_STDIN, _STDOUT, _STDERR = 0, 1, 2


class Channel:
    """Sends events, receives orders; made once, at the very start of a worker.

    Takes over the standard descriptors: afterwards whatever a library prints, from Python or from native
    code, goes where stderr goes (the worker's log), and nothing can read the orders by accident.
    """

    def __init__(self) -> None:
        # Duplicates are not inherited by child processes, so a child can neither write events nor keep
        # the pipe open after the worker's death.
        self._events = os.dup(_STDOUT)
        self._orders = os.dup(_STDIN)
        os.dup2(_STDERR, _STDOUT)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, _STDIN)
        os.close(null)
        self._sending = threading.Lock()
        self._inbox: SimpleQueue[Order | None] = SimpleQueue()

    def send(self, event: Event) -> None:
        """Tell the supervisor; a supervisor that is gone is noticed by the end of the orders instead."""
        with self._sending, contextlib.suppress(BrokenPipeError):
            os.write(self._events, encode(event))

    def deliver(self, order: Order) -> None:
        """Act as if the supervisor had sent ``order``; safe in a signal handler."""
        self._inbox.put(order)

    def listen(self, on_order: Callable[[Order | None], None]) -> None:
        """Call ``on_order`` for each order, from a thread; None once, when the supervisor is gone."""
        for target, args in ((self._read, ()), (self._dispatch, (on_order,))):
            threading.Thread(target=target, args=args, name="orders", daemon=True).start()

    def _read(self) -> None:
        with os.fdopen(self._orders, "rb") as lines:
            for line in lines:
                order = decode(line)
                if order is not None:
                    self._inbox.put(order)
        self._inbox.put(None)

    def _dispatch(self, on_order: Callable[[Order | None], None]) -> None:
        while True:
            order = self._inbox.get()
            on_order(order)
            if order is None:
                return
