"""From the rows a run logged to one row per epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from fer_sweep.history.names import choose_names
from fer_sweep.history.statistics import Floats
from fer_sweep.history.table import History, number


def build_history(
    rows: Sequence[Mapping[str, Any]],
    *,
    run_id: str,
    run_name: str = "",
    state: str = "finished",
    config: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    rows_expected: int | None = None,
    url: str = "",
    tags: Sequence[str] = (),
    metric_map: Mapping[str, str] | None = None,
) -> History:
    """Turn the rows a run logged into one row per epoch.

    Rows of one epoch are joined by their ``epoch``; without one, by order. Several training values within an epoch are
    averaged, as a running average would; of anything else the last counts.

    Args:
        rows: Oldest first, as logged: any names, any gaps. None is missing; NaN and Infinity are data.
        run_id: W&B's run id.
        run_name: Shown name; the id if empty.
        state: Run state.
        config: Hyperparameters.
        summary: Summary values.
        rows_expected: Rows the server has; None when it did not say.
        url: The run's page.
        tags: The run's tags.
        metric_map: Canonical name to the run's name, from ``parse_metric_map``.
    """
    numeric = [{k: n for k, v in row.items() if (n := number(v)) is not None} for row in rows]
    names, notes = choose_names({name for row in numeric for name in row}, metric_map or {})
    translated = [{names[k]: v for k, v in row.items() if k in names} for row in numeric]
    translated = [row for row in translated if row]
    grouped, more = _group(translated)
    columns, not_finite = _columns(grouped)
    notes += more + _rescale_percent(columns)
    return History(
        run_id=run_id,
        run_name=run_name or run_id,
        state=state,
        config=dict(config or {}),
        summary=dict(summary or {}),
        columns=columns,
        rows_expected=len(rows) if rows_expected is None else rows_expected,
        url=url,
        tags=tuple(tags),
        rows_read=len(rows),
        not_finite=not_finite,
        notes=tuple(notes),
    )


Row = dict[str, float]


def _group(rows: list[Row]) -> tuple[list[tuple[int, list[Row]]], list[str]]:
    """Rows by epoch number, in order, with notes."""
    if any(_is_epoch(row.get("epoch")) for row in rows):
        return _group_by_epoch(rows)
    groups = _group_by_order(rows)
    notes = ["rows were joined by order: no epoch was logged"] if len(groups) < len(rows) else []
    return list(enumerate(groups, start=1)), notes


def _is_epoch(value: float | None) -> TypeGuard[float]:
    return value is not None and abs(value) < 1e9  # NaN is not below anything


def _group_by_epoch(rows: list[Row]) -> tuple[list[tuple[int, list[Row]]], list[str]]:
    first = next(row["epoch"] for row in rows if _is_epoch(row.get("epoch")))
    groups: dict[int, list[Row]] = {}
    current = math.ceil(first)
    for row in rows:
        value = row.get("epoch")
        current = math.ceil(value) if _is_epoch(value) else current
        metrics = {name: v for name, v in row.items() if name != "epoch"}
        if metrics:
            groups.setdefault(current, []).append(metrics)
    numbers = sorted(groups)
    if not numbers or numbers[0] > 0:
        return [(number, groups[number]) for number in numbers], []
    trained = any(name.startswith("train") for row in groups[numbers[0]] for name in row)
    if numbers[0] == 0 and len(numbers) > 1 and not trained:
        return [(n, groups[n]) for n in numbers[1:]], [
            "epoch 0 was evaluated before training: left out"
        ]
    shift = 1 - numbers[0]
    return [(n + shift, groups[n]) for n in numbers], [
        f"epochs were counted from {numbers[0]}: shown from 1"
    ]


def _group_by_order(rows: list[Row]) -> list[list[Row]]:
    """Epochs of rows that carry no epoch number.

    Training logged per step ends an epoch with its validation row; otherwise an epoch is complete when a metric comes
    round again.
    """
    training = sum(any(name.startswith("train/") for name in row) for row in rows)
    validated = sum(map(_is_validated, rows))
    per_step = validated > 0 and training > 1.5 * validated
    groups: list[list[Row]] = [[]]
    seen: set[str] = set()
    for row in rows:
        was_validated = _is_validated(seen)
        if (
            was_validated and not row.keys().isdisjoint({"train/loss", "train/accuracy"})
            if per_step
            else seen & row.keys()
        ):
            groups.append([])
            seen = set()
        groups[-1].append(row)
        seen |= row.keys()
    return [group for group in groups if group]


def _is_validated(names: Iterable[str]) -> bool:
    return any(name.startswith("val/") for name in names)


def _columns(
    grouped: list[tuple[int, list[Row]]],
) -> tuple[dict[str, Floats], dict[str, tuple[int, ...]]]:
    names = sorted({name for _, rows in grouped for row in rows for name in row})
    columns = {name: np.full(len(grouped), np.nan) for name in names}
    not_finite: dict[str, list[int]] = {}
    for i, (epoch, rows) in enumerate(grouped):
        per_step = not any(
            _is_validated(row) for row in rows if any(name.startswith("train/") for name in row)
        )
        for name in names:
            values = [row[name] for row in rows if name in row]
            if not values:
                continue
            columns[name][i] = (
                _mean(values) if per_step and name.startswith("train/") else values[-1]
            )
            if not all(map(math.isfinite, values)):
                not_finite.setdefault(name, []).append(epoch)
    if grouped:
        columns["epoch"] = np.array([float(epoch) for epoch, _ in grouped])
    return columns, {name: tuple(epochs) for name, epochs in not_finite.items()}


def _mean(values: list[float]) -> float:
    if len(values) == 1:
        return values[0]
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan


def _rescale_percent(columns: dict[str, Floats]) -> list[str]:
    """Bring accuracies given in percent to fractions; drop what cannot be an accuracy."""
    notes = []
    for name in [n for n in columns if n.endswith(("/accuracy", "/macro_f1"))]:
        finite = columns[name][np.isfinite(columns[name])]
        top = float(finite.max()) if finite.size else 0.0
        if top > 100.5 or (finite.size and float(finite.min()) < 0):
            del columns[name]
            notes.append(
                f"{name} goes from {finite.min():g} to {top:g}, which is no accuracy: left out"
            )
        elif top > 1.5:
            columns[name] = columns[name] / 100
            notes.append(f"{name} was in percent: divided by 100")
    return notes
