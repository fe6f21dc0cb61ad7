"""Any numbers over any axis, as inline SVG: metrics we do not know, the machine's load, the best so far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from fer_sweep.charts.scale import BOTTOM, HEIGHT, LEFT, MAX_POINTS, RIGHT, WIDTH, Scale, ticks
from fer_sweep.history import Floats


@dataclass(frozen=True)
class Line:
    """One line, or a cloud of points.

    Attributes:
        label: What it shows, for the legend and for screen readers.
        x: Positions, shape ``(T,)``, ascending.
        y: Values, shape ``(T,)``; NaN and Infinity leave a gap.
        css: The class that styles it: ``train``, ``clean``, ``val`` or ``plain``.
        points: Draw points only.
    """

    label: str
    x: Floats
    y: Floats
    css: str = "plain"
    points: bool = False


def line_chart(title: str, lines: Sequence[Line], *, axis: str, percent: bool = False) -> Markup:
    """Draw lines over one pair of axes; empty markup if there is no finite value.

    Args:
        title: What the chart shows, for screen readers.
        lines: The lines, drawn in order.
        axis: What the horizontal axis counts, such as ``step``.
        percent: Whether the values are fractions, to be labelled in percent.
    """
    scale = _scale(lines)
    if scale is None:
        return Markup("")
    label = f"{title} by {axis}: {_range_text(lines, percent=percent)}"
    head = Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{label}" data-first="{first:.9g}" '
        'data-last="{last:.9g}" data-low="{low:.6g}" data-high="{high:.6g}" data-percent="{percent}" data-axis="{axis}">'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        label=label,
        first=scale.first,
        last=scale.last,
        low=scale.low,
        high=scale.high,
        percent=int(percent),
        axis=axis,
    )
    parts = [*_axes(scale, axis, percent=percent), *(_draw(line, scale) for line in lines)]
    return head + Markup("").join(parts) + Markup("</svg>")


def _scale(lines: Sequence[Line]) -> Scale | None:
    x = np.concatenate([line.x for line in lines]) if lines else np.empty(0)
    y = np.concatenate([line.y for line in lines]) if lines else np.empty(0)
    fits = np.isfinite(x) & np.isfinite(y) & (np.abs(y) < 1e300)
    x, y = x[fits], y[fits]
    if not y.size:
        return None
    low, high = float(y.min()), float(y.max())
    margin = 0.06 * (high - low) or max(abs(high), 1e-9) * 0.05
    floor = max(low - margin, 0.0) if low >= 0 else low - margin
    return Scale(float(x.min()), float(x.max()), floor, high + margin)


def _axes(scale: Scale, axis: str, *, percent: bool) -> Iterator[Markup]:
    for value in ticks(scale.low, scale.high, 4):
        y = scale.y(value)
        yield Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
            '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
        ).format(LEFT, RIGHT, y, y, LEFT - 6, y + 3.5, value_text(value, percent=percent))
    yield Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        LEFT, RIGHT, BOTTOM, BOTTOM
    )
    for at in ticks(scale.first, scale.last, 6) if scale.last > scale.first else [scale.first]:
        yield Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            scale.x(at), BOTTOM + 15, value_text(at)
        )
    yield Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(
        RIGHT, BOTTOM + 28, axis
    )


def _draw(line: Line, scale: Scale) -> Markup:
    keep = np.arange(len(line.x))
    if len(keep) > MAX_POINTS and not line.points:
        keep = np.unique(np.linspace(0, len(keep) - 1, MAX_POINTS).astype(int))
    at = [
        (scale.x(x), scale.y(y)) if math.isfinite(y) and abs(y) < 1e300 else None
        for x, y in zip(line.x[keep].tolist(), line.y[keep].tolist(), strict=True)
    ]
    path, pen_down = [], False
    for point in at:
        if point is not None and line.points:
            path.append(f"M{point[0]:.1f},{point[1]:.1f}h0")
        elif point is not None:
            path.append(f"{'L' if pen_down else 'M'}{point[0]:.1f},{point[1]:.1f}")
        pen_down = point is not None
    shown = sum(point is not None for point in at)
    style = " points" if line.points else " dots" if shown <= 2 else ""
    return Markup('<path class="curve {}{}" data-name="{}" d="{}"/>').format(
        line.css, style, line.label, "".join(path)
    )


def _range_text(lines: Sequence[Line], *, percent: bool) -> str:
    parts = []
    for line in lines:
        finite = line.y[np.isfinite(line.y)]
        if finite.size:
            low, high, last = (
                value_text(float(v), percent=percent)
                for v in (finite.min(), finite.max(), finite[-1])
            )
            parts.append(f"{line.label} from {low} to {high}, at the end {last}")
    return "; ".join(parts)


def value_text(value: float, *, percent: bool = False) -> str:
    """A number for an axis or a sentence, short enough for either.

    Example:
        >>> value_text(0.25, percent=True), value_text(1_500_000), value_text(0.00012)
        ('25 %', '1.5M', '0.00012')
    """
    if percent:
        return f"{100 * value:.4g} %"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.4g}{unit}"
    return f"{value:.4g}"
