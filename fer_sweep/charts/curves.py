"""Learning curves as inline SVG: styled by ``look.css``, no script needed, readable in print."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from markupsafe import Markup, escape

from fer_sweep.charts.scale import BOTTOM, HEIGHT, LEFT, MAX_POINTS, RIGHT, TOP, WIDTH, Scale, ticks
from fer_sweep.diagnosis import RULES, Diagnosis, Finding, Severity
from fer_sweep.history import Best, Floats, History, best_epoch


class DiagnosedRun(Protocol):
    """What a chart needs to know of a run."""

    @property
    def history(self) -> History:
        """Its curves."""

    @property
    def diagnosis(self) -> Diagnosis | None:
        """What was found, for shading."""

    @property
    def best(self) -> Best | None:
        """Its best validation epoch."""


@dataclass(frozen=True)
class Series:
    """One curve: its column, the CSS class that styles it, its label in the legend."""

    column: str
    css: str
    label: str


ACCURACY = (
    Series("train/accuracy", "train", "train, running"),
    Series("train_eval/accuracy", "clean", "train, clean"),
    Series("val/accuracy", "val", "validation"),
)
LOSS = (
    Series("train/loss", "train", "train, running"),
    Series("train_eval/loss", "clean", "train, clean"),
    Series("val/loss", "val", "validation"),
)
_SHADED = {
    "accuracy": ("FS402", "FS101", "FS102", "FS201"),
    "loss": ("FS402", "FS101", "FS303", "FS203"),
}
_TONES = {Severity.ERROR: "bad", Severity.WARN: "warn", Severity.INFO: "note"}


def accuracy_chart(run: DiagnosedRun) -> Markup:
    """Accuracies by epoch, in percent; empty markup if none was logged."""
    return _chart(run, "accuracy", ACCURACY, percent=True)


def loss_chart(run: DiagnosedRun) -> Markup:
    """Losses by epoch, in nats; empty markup if none was logged."""
    return _chart(run, "loss", LOSS, percent=False)


def _chart(run: DiagnosedRun, kind: str, series: Sequence[Series], *, percent: bool) -> Markup:
    history = run.history
    drawn = [s for s in series if history.has(s.column)]
    lost = sorted({epoch for s in series for epoch in history.not_finite.get(s.column, ())})
    if not drawn and not lost:
        return Markup("")
    scale = _scale(history, drawn, percent=percent)
    parts = [
        *_shades(run.diagnosis.findings if run.diagnosis else (), kind, scale),
        *_axes(scale, percent=percent),
        *(_curve(history, s, scale) for s in drawn),
        *_best(run, kind, scale),
        *_lost(lost, scale),
    ]
    label = f"{kind.capitalize()} by epoch of {history.run_name}: {', '.join(s.label for s in drawn) or 'no finite value'}"
    head = Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{label}" data-first="{first}" data-last="{last}" '
        'data-low="{low:.6g}" data-high="{high:.6g}" data-percent="{percent}">'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        label=label,
        first=scale.first,
        last=scale.last,
        low=scale.low,
        high=scale.high,
        percent=int(percent),
    )
    return head + Markup("").join(parts) + Markup("</svg>")


def _scale(history: History, drawn: Sequence[Series], *, percent: bool) -> Scale:
    epochs = history.epochs
    values = np.concatenate([history.columns[s.column] for s in drawn]) if drawn else np.empty(0)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if not percent and values.size > 4:  # an exploding loss must not flatten everything else
        high = (
            min(high, 3 * float(np.median(values)) + 1e-9)
            if high > 4 * float(np.median(values)) > 0
            else high
        )
    margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    floor = max(low - margin, 0.0) if low >= 0 else low - margin
    ceiling = min(high + margin, 1.0) if percent else high + margin
    if ceiling <= floor:
        floor, ceiling = floor - 0.05, ceiling + 0.05
    return Scale(int(epochs[0]), int(epochs[-1]), floor, ceiling)


def _axes(scale: Scale, *, percent: bool) -> Iterator[Markup]:
    for value in ticks(scale.low, scale.high, 4):
        y = scale.y(value)
        text = f"{100 * value:g} %" if percent else f"{value:g}"
        yield Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
            LEFT, RIGHT, y, y
        )
        yield Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            LEFT - 6, y + 3.5, text
        )
    yield Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        LEFT, RIGHT, BOTTOM, BOTTOM
    )
    for epoch in _epoch_ticks(int(scale.first), int(scale.last)):
        yield Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            scale.x(epoch), BOTTOM + 15, epoch
        )
    yield Markup('<text class="tick" x="{}" y="{}" text-anchor="end">epoch</text>').format(
        RIGHT, BOTTOM + 28
    )


def _epoch_ticks(first: int, last: int) -> list[int]:
    if last - first < 10:
        return list(range(first, last + 1))
    inner = [int(v) for v in ticks(first, last, 6) if v == int(v)]
    gap = (last - first) / 14
    return [first, *(e for e in inner if first + gap < e < last - gap), last]


def _curve(history: History, series: Series, scale: Scale) -> Markup:
    epochs, values = history.epochs, history.columns[series.column]
    keep = _thinned(len(epochs), best_epoch(history), epochs)
    path, pen_down, length = [], False, 0
    for epoch, value in zip(epochs[keep], values[keep], strict=True):
        if not math.isfinite(value):
            pen_down = False
            continue
        path.append(f"{'L' if pen_down else 'M'}{scale.x(epoch):.1f},{scale.y(value):.1f}")
        pen_down, length = True, length + 1
    dots = " dots" if length <= 2 else ""  # one point has no line to see
    return Markup('<path class="curve {}{}" data-name="{}" d="{}"/>').format(
        series.css, dots, series.label, "".join(path)
    )


def _thinned(length: int, best: object, epochs: Floats | np.ndarray) -> np.ndarray:
    if length <= MAX_POINTS:
        return np.arange(length)
    keep = set(np.linspace(0, length - 1, MAX_POINTS).astype(int).tolist())
    if best is not None:
        keep.add(int(np.searchsorted(epochs, best.epoch)))  # type: ignore[attr-defined]
    return np.array(sorted(keep))


def _best(run: DiagnosedRun, kind: str, scale: Scale) -> Iterator[Markup]:
    best = run.best
    if best is None:
        return
    x = scale.x(best.epoch)
    title = f"best epoch {best.epoch}: {100 * best.accuracy:.1f} ± {100 * best.standard_error:.1f} % validation accuracy"
    yield Markup(
        '<g class="best"><title>{}</title><line x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>'
    ).format(title, x, x, TOP, BOTTOM)
    column = run.history.columns.get(f"val/{kind}")
    at = int(np.searchsorted(run.history.epochs, best.epoch))
    if column is not None and math.isfinite(column[at]):
        yield Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(
            x, scale.y(float(column[at]))
        )
    anchor, dx = ("end", -5) if x > (LEFT + RIGHT) / 2 else ("start", 5)
    y = (
        BOTTOM - 6 if kind == "accuracy" else TOP + 10
    )  # accuracies end high, losses low: the curves leave room there
    yield Markup('<text x="{:.1f}" y="{}" text-anchor="{}">best</text></g>').format(
        x + dx, y, anchor
    )


def _shades(findings: Sequence[Finding], kind: str, scale: Scale) -> Iterator[Markup]:
    """The marked epochs of the first finding that concerns this chart; more than one would be mud."""
    by_code = {finding.code: finding for finding in findings if finding.marked}
    shown = next((by_code[code] for code in _SHADED[kind] if code in by_code), None)
    if shown is None:
        return
    half = (scale.x(scale.first + 1) - scale.x(scale.first)) / 2 if scale.last > scale.first else 8
    tone = _TONES[shown.severity]
    for i, (first, last) in enumerate(_stretches(shown.marked)):
        start, end = max(scale.x(first) - half, LEFT), min(scale.x(last) + half, RIGHT)
        epochs = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        title = f"{shown.code} {shown.name}, {epochs}: {RULES[shown.code].summary}"
        yield Markup(
            '<g class="shade {}"><title>{}</title><rect x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>'
        ).format(tone, title, start, TOP, max(end - start, 1), BOTTOM - TOP)
        if i == 0:
            x, anchor = (start + 4, "start") if start < RIGHT - 50 else (RIGHT - 2, "end")
            yield Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
                x, TOP - 4, anchor, shown.code
            )
        yield Markup("</g>")


def _stretches(epochs: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring epochs.

    Example:
        >>> _stretches([3, 4, 5, 9])
        [(3, 5), (9, 9)]
    """
    found: list[tuple[int, int]] = []
    for epoch in sorted(epochs):
        if found and epoch == found[-1][1] + 1:
            found[-1] = (found[-1][0], epoch)
        else:
            found.append((epoch, epoch))
    return found


def _lost(epochs: Sequence[int], scale: Scale) -> Iterator[Markup]:
    for first, last in _stretches(epochs):
        where = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        yield Markup('<g class="lost"><title>NaN or Infinity was logged at {}</title>').format(
            where
        )
        x, end = scale.x(first), scale.x(last)
        yield Markup(
            '<path d="M{:.1f},{}H{:.1f}"/><text x="{:.1f}" y="{}" text-anchor="middle">✕ NaN</text></g>'
        ).format(x, TOP + 6, end, min(max((x + end) / 2, LEFT + 20), RIGHT - 20), TOP + 20)


@dataclass(frozen=True)
class Interval:
    """Draws a best accuracy ± its standard error on a scale shared by all runs."""

    low: float
    high: float

    def draw(self, run: DiagnosedRun) -> Markup:
        """A dot with whiskers; empty markup without an accuracy."""
        if run.best is None:
            return Markup("")
        value, se = run.best.accuracy, run.best.standard_error
        x, start, end = (self._x(v) for v in (value, value - se, value + se))
        return Markup(
            '<svg class="interval" viewBox="0 0 100 12" aria-hidden="true"><line x1="{:.1f}" x2="{:.1f}" y1="6" y2="6"/>'
            '<circle cx="{:.1f}" cy="6" r="3.2"/></svg>'
        ).format(start, end, x)

    def _x(self, value: float) -> float:
        return 4 + 92 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)


def shared_interval(runs: Sequence[DiagnosedRun]) -> Interval:
    """The scale for ``Interval.draw``: up to the best run, whiskers included, and down to the weakest or 30 points below.

    What lies lower is drawn at the edge: one failed run must not push all good ones together.
    """
    best = [run.best for run in runs if run.best is not None]
    if not best:
        return Interval(0, 1)
    high = max(b.accuracy + b.standard_error for b in best)
    low = max(min(b.accuracy - b.standard_error for b in best), high - 0.30)
    return Interval(low, high if high > low else low + 0.01)


def legend(series: Sequence[Series], run: DiagnosedRun) -> Markup:
    """The line styles of the curves a run has."""
    items = [
        Markup(
            '<li><svg viewBox="0 0 28 8" aria-hidden="true"><path class="curve {}" d="M1,4H27"/></svg>{}</li>'
        ).format(s.css, escape(s.label))
        for s in series
        if run.history.has(s.column)
    ]
    return Markup('<ul class="legend">') + Markup("").join(items) + Markup("</ul>")
