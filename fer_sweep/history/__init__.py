"""One run's per-epoch table, whoever logged it: names recognised, rows joined, NaN and Infinity kept.

``rows.py`` builds it, ``names.py`` recognises metric names, ``statistics.py`` has what every rule shares.
"""

from fer_sweep.history.names import METRICS, parse_metric_map, recognise
from fer_sweep.history.rows import build_history
from fer_sweep.history.statistics import Floats, mann_kendall, noise, smooth, standard_error, window
from fer_sweep.history.table import FER2013_SIZES, Best, History, best_epoch

__all__ = [
    "FER2013_SIZES",
    "METRICS",
    "Best",
    "Floats",
    "History",
    "best_epoch",
    "build_history",
    "mann_kendall",
    "noise",
    "parse_metric_map",
    "recognise",
    "smooth",
    "standard_error",
    "window",
]
