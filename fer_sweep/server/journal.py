"""What ``fersweep serve`` tells of its clients' requests: each thing that it does not serve, once."""

from __future__ import annotations

import logging
import threading


class Once(logging.Filter):
    """Lets a record that carries ``once`` pass the first time that value is seen.

    A client may ask for the same unserved thing every few seconds, and a thousand runs may do so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[object] = set()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show a record."""
        key = getattr(record, "once", None)
        if key is None:
            return True
        with self._lock:
            is_new = key not in self._seen
            self._seen.add(key)
        return is_new
