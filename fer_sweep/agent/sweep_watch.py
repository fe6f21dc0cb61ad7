"""How many trials of the sweep nobody has taken yet: other agents take some too."""

from __future__ import annotations

import threading

from fer_sweep.errors import FersweepError
from fer_sweep.tracking import Connection, SweepInfo, SweepRef, fetch_sweep

_EVERY_S = 10.0


def open_cells(info: SweepInfo) -> int | None:
    """Trials that nobody has taken; None when the sweep has no end of its own."""
    return None if info.expected is None else max(0, info.expected - info.run_count)


class SweepWatch(threading.Thread):
    """Asks the server now and then.

    Args:
        connection: The server.
        sweep: The sweep.
        every_s: Seconds between two questions.

    Attributes:
        open_cells: The last answer; None until there is one.
    """

    def __init__(
        self, connection: Connection, sweep: SweepRef, *, every_s: float = _EVERY_S
    ) -> None:
        super().__init__(name="sweep-watch", daemon=True)
        self.open_cells: int | None = None
        self._connection = connection
        self._sweep = sweep
        self._every_s = every_s
        self._over = threading.Event()

    def run(self) -> None:
        """Ask until ``finish``."""
        while not self._over.wait(self._every_s):
            try:
                self.open_cells = open_cells(fetch_sweep(self._connection, self._sweep))
            except FersweepError:
                continue  # the workers tell of a server that stays away

    def finish(self) -> None:
        """Ask no more, but do not wait for a server that hangs."""
        self._over.set()
        self.join(timeout=1.0)
