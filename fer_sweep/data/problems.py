"""Collect everything that is wrong with a source, and say it in a few lines."""

from __future__ import annotations

from fer_sweep.errors import DataError

_SHOWN = 5


class Problems:
    """Malformed rows or files of one source: all are counted, the first few are kept.

    Args:
        source: The file or folder, as the user knows it.
        unit: What is counted, such as ``row``.
    """

    def __init__(self, source: str, unit: str) -> None:
        self.source = source
        self.count = 0
        self._unit = unit
        self._first: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Count one problem: ``where`` is the line or file, ``what`` a clause without a full stop."""
        self.count += 1
        if len(self._first) < _SHOWN:
            self._first.append(f"{where}: {what}.")

    def raise_if_any(self, fix: str) -> None:
        """End the reading if anything was wrong.

        Raises:
            DataError: With the first problems, the number of all, and ``fix``.
        """
        if not self.count:
            return
        more = self.count - len(self._first)
        lines = [*self._first, *([f"… and {more} more."] if more else [])]
        what = f"{self.count} malformed {self._unit}{'s' if self.count > 1 else ''}"
        raise DataError("\n".join([f"{self.source}: {what}; nothing was loaded. {fix}", *lines]))
