"""Charts as SVG, and the look that the report and the server's pages share.

``curves.py`` draws a run's learning curves, ``lines.py`` any other metric, ``parallel.py`` a sweep's configurations.
"""

from importlib.resources import files

from fer_sweep.charts.badges import BADGES, Badge
from fer_sweep.charts.curves import (
    ACCURACY,
    LOSS,
    DiagnosedRun,
    accuracy_chart,
    legend,
    loss_chart,
    shared_interval,
)
from fer_sweep.charts.lines import Line, line_chart
from fer_sweep.charts.parallel import Axis, parallel_chart
from fer_sweep.charts.scale import ticks

__all__ = [
    "ACCURACY",
    "BADGES",
    "LOSS",
    "Axis",
    "Badge",
    "DiagnosedRun",
    "Line",
    "accuracy_chart",
    "legend",
    "line_chart",
    "look_css",
    "loss_chart",
    "parallel_chart",
    "shared_interval",
    "ticks",
]


def look_css() -> str:
    """The style sheet that the charts, badges and tables need; colours for light and dark."""
    return files("fer_sweep.charts").joinpath("look.css").read_text(encoding="utf-8").strip()
