"""Durations for people."""

from __future__ import annotations

import math


def format_seconds(seconds: float | None) -> str:
    """A duration as people say it.

    Example:
        >>> [format_seconds(s) for s in (4.2, 75, 3700)]
        ['4.2 s', '1 min 15 s', '1 h 01 min']
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
