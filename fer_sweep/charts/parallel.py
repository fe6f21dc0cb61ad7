"""Parallel coordinates: each run a line through its hyperparameters to its result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from fer_sweep.charts.lines import value_text
from fer_sweep.charts.scale import ticks

_SIDE, _TOP, _BOTTOM, _HEIGHT = 72, 34, 300, 316
_WIDTH, _GAPS = 1_120, (124, 230)
"""Width to fill, and how near and far axes may be to fill it."""
_MAX_CHOICES, _MAX_VALUES = 24, 6
SHADES = 5
"""Lines are drawn in this many classes, ``q0`` (worst) to ``q4`` (best)."""


@dataclass(frozen=True)
class Axis:
    """One vertical axis.

    Attributes:
        name: The hyperparameter or metric.
        choices: Texts of the values in order, for an axis of categories; empty for numbers.
        low: Lowest number.
        high: Highest number.
        log: Whether positions go by the logarithm.
        values: The numbers to mark, if there are few; else round ones are.
    """

    name: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    values: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, values: Sequence[Any], *, log: bool | None = None) -> Axis:
        """The axis that fits these values; numbers over two decades get a logarithmic one.

        Example:
            >>> Axis.of("lr", [0.1, 0.0001]).log, Axis.of("arch", ["a", "b"]).choices
            (True, ('a', 'b'))
        """
        numbers = [float(v) for v in values if _is_number(v)]
        if len(numbers) < len(values) or not numbers:
            return cls(name, tuple(sorted({_text(v) for v in values}))[:_MAX_CHOICES])
        low, high = min(numbers), max(numbers)
        spread = low > 0 and high / low >= 50 if log is None else log and low > 0
        distinct = tuple(sorted(set(numbers)))
        return cls(name, (), low, high, spread, distinct if len(distinct) <= _MAX_VALUES else ())

    def position(self, value: Any) -> float | None:
        """Where a value lies, from 0 (bottom) to 1 (top); None if it is not on the axis."""
        if self.choices:
            text = _text(value)
            if text not in self.choices:
                return None
            return (self.choices.index(text) + 0.5) / len(self.choices)
        if not _is_number(value):
            return None
        if self.high <= self.low:
            return 0.5
        low, high, at = (
            (math.log(v) if self.log else v) for v in (self.low, self.high, float(value))
        )
        return (at - low) / (high - low)

    def marks(self) -> list[tuple[float, str]]:
        """Positions and texts of its ticks."""
        if self.choices:
            return [((i + 0.5) / len(self.choices), text) for i, text in enumerate(self.choices)]
        if self.high <= self.low:
            return [(0.5, value_text(self.low))]
        if self.values:
            values: Sequence[float] = self.values
        elif self.log:
            decades = range(
                math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1
            )
            powers = [10.0**d for d in decades]
            values = powers if len(powers) > 1 else [self.low, *powers, self.high]
        else:
            values = ticks(self.low, self.high, 5)
        return [(at, value_text(v)) for v in values if (at := self.position(v)) is not None]


def parallel_chart(
    axes: Sequence[Axis], runs: Sequence[tuple[str, Mapping[str, Any]]], *, maximize: bool
) -> Markup:
    """Draw the runs, the best on top; the last axis is the result that colours them.

    Args:
        axes: The hyperparameters, then the metric.
        runs: Name and values by axis name of each run; one without a result is left out.
        maximize: Whether a high result is good.
    """
    result = axes[-1]
    placed = [(result.position(values.get(result.name)), name, values) for name, values in runs]
    ranked = [
        (at if maximize else 1 - at, name, values) for at, name, values in placed if at is not None
    ]
    ranked.sort(key=lambda item: item[0])
    gap = min(max((_WIDTH - 2 * _SIDE) // max(len(axes) - 1, 1), _GAPS[0]), _GAPS[1])
    width = 2 * _SIDE + gap * (len(axes) - 1)
    label = (
        f"Parallel coordinates of {len(ranked)} runs: {', '.join(axis.name for axis in axes)}. "
        "The table of runs has the same numbers."
    )
    head = Markup(
        '<svg class="parallel" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">'
    ).format(width, _HEIGHT, width, _HEIGHT, label)
    lines = [
        _line(axes, name, values, gap, shade=min(int(i * SHADES / len(ranked)), SHADES - 1))
        for i, (_, name, values) in enumerate(ranked)
    ]
    drawn = [_axis(axis, _SIDE + i * gap, last=axis is result) for i, axis in enumerate(axes)]
    return head + Markup("").join(lines) + Markup("").join(drawn) + Markup("</svg>")


def _line(
    axes: Sequence[Axis], name: str, values: Mapping[str, Any], gap: int, *, shade: int
) -> Markup:
    path, pen_down = [], False
    for i, axis in enumerate(axes):
        at = axis.position(values.get(axis.name))
        if at is not None:
            path.append(f"{'L' if pen_down else 'M'}{_SIDE + i * gap},{_y(at):.1f}")
        pen_down = at is not None
    text = ", ".join(f"{axis.name} {_text(values.get(axis.name))}" for axis in axes)
    return Markup('<path class="q{}" d="{}"><title>{}: {}</title></path>').format(
        shade, "".join(path), name, text
    )


def _axis(axis: Axis, x: int, *, last: bool) -> Markup:
    marks = Markup("").join(
        Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="{}">{}</text>').format(
            x + (7 if last else -7), _y(at) + 3.5, "start" if last else "end", _cut(text, 11)
        )
        for at, text in axis.marks()
    )
    return Markup(
        '<g><title>{}{}</title><line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>{}</g>'
    ).format(
        axis.name,
        " (logarithmic)" if axis.log else "",
        x,
        x,
        _TOP,
        _BOTTOM,
        x,
        _TOP - 14,
        _cut(axis.name, 18),
        marks,
    )


def _y(at: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * at


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _text(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
