"""The size of a chart, and how numbers become positions in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 224
LEFT, RIGHT, TOP, BOTTOM = 46, 510, 16, 190
MAX_POINTS = 240
"""Points drawn per curve: more cannot be told apart at this width, and make the file large."""


@dataclass(frozen=True)
class Scale:
    """Maps epochs (or steps, or seconds) and values to the drawing."""

    first: float
    last: float
    low: float
    high: float

    def x(self, epoch: float) -> float:
        """Horizontal position of an epoch."""
        return LEFT + (RIGHT - LEFT) * (epoch - self.first) / (self.last - self.first or 1)

    def y(self, value: float) -> float:
        """Vertical position of a value; what lies outside is drawn at the edge."""
        inside = min(max(value, self.low), self.high)
        return BOTTOM - (BOTTOM - TOP) * (inside - self.low) / (self.high - self.low)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``.

    Example:
        >>> ticks(0.21, 0.68, 4)
        [0.3, 0.4, 0.5, 0.6]
    """
    raw = (high - low) / max(count, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(
        (m * magnitude for m in (1, 2, 2.5, 5) if m * magnitude >= raw * 0.8), 10 * magnitude
    )
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]
