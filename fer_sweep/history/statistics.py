"""The small statistics that every rule shares: smoothing, noise, standard errors, trends."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def window(length: int) -> int:
    """Epochs that count as one look at a curve of this length: 1 to 5."""
    return min(max(length // 10 + 1, 1), 5)


def smooth(values: Floats, width: int) -> Floats:
    """Centred running median, shape ``(T,)``; the window shrinks at the ends and is never even inside.

    Example:
        >>> smooth(np.array([1.0, 9.0, 1.0, 1.0]), 3).tolist()
        [5.0, 1.0, 1.0, 1.0]
    """
    half, length = width // 2, len(values)
    result = np.empty(length)
    inside = range(half, length - half)
    for i in {*range(length)} - {*inside}:
        result[i] = np.median(values[max(i - half, 0) : i + half + 1])
    if inside:  # all at once: 30 times faster than one by one
        windows = np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1)
        result[half : length - half] = np.median(windows, axis=1)
    return result


def noise(values: Floats) -> float:
    """Standard deviation of the epoch-to-epoch jitter, in the unit of ``values``; 0 below 3 epochs.

    The median absolute deviation of the differences ignores both the trend and single spikes.
    """
    if len(values) < 3:
        return 0.0
    steps = np.diff(values)
    return float(1.4826 * np.median(np.abs(steps - np.median(steps))) / math.sqrt(2))


def standard_error(accuracy: float, count: int) -> float:
    """Binomial standard error of an accuracy measured once on ``count`` images.

    Example:
        >>> round(standard_error(0.65, 3589), 4)
        0.008
    """
    inside = min(max(accuracy, 0.0), 1.0)
    return math.sqrt(inside * (1 - inside) / max(count, 1))


def mann_kendall(values: Floats) -> float:
    """Trend of a short series as a z-score: negative falls, ``|z| > 1.96`` is a trend at 5 %.

    Source: Mann 1945, Econometrica 13, "Nonparametric tests against trend" (no correction for ties).

    Example:
        >>> mann_kendall(np.arange(8.0)) > 1.96
        True
    """
    n = len(values)
    if n < 3:
        return 0.0
    signs = np.sign(values[None, :] - values[:, None])
    score = float(np.triu(signs, 1).sum())
    spread = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return 0.0 if score == 0 else (score - math.copysign(1, score)) / spread
