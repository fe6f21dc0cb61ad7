"""What the page of a sweep shows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import sqlalchemy as sa
from markupsafe import Markup

from fer_sweep.charts import Axis, Line, line_chart, parallel_chart
from fer_sweep.diagnosis import VERDICTS, Importance, Verdict, rank_parameters
from fer_sweep.server.pages.histories import Histories, RunView
from fer_sweep.server.pages.listing import (
    MAX_CONFIG_COLUMNS,
    Column,
    Query,
    build_listing,
    is_accuracy,
    varying,
)
from fer_sweep.server.runs import ALIVE_STATES
from fer_sweep.server.sweeps import current_sweep_state, runs_of_sweep
from fer_sweep.server.tables import Record

PARTS = ("sweep_status", "sweep_verdicts", "sweep_charts", "listing")
MAX_LINES = 400
"""Runs drawn as parallel coordinates: the best ones, and the others thinned."""
_MAX_AXES = 9
BUDGET_S = 0.2
"""Time to read and diagnose what is new; of a large sweep, the first look does not wait for all, and the
agents, which this process serves as well, do not wait for the page."""


@dataclass(frozen=True)
class Result:
    """A run with what the sweep optimises."""

    run: RunView
    value: float | None


def sweep_content(
    db: sa.Connection, histories: Histories, sweep: Record, query: Query, *, now: float
) -> dict[str, Any]:
    """Gather everything.

    Args:
        db: A transaction.
        histories: The curves read so far.
        sweep: The sweep.
        query: Which rows of its table, in which order.
        now: The time.
    """
    runs = histories.view(db, runs_of_sweep(db, sweep), now=now, budget_s=BUDGET_S)
    unread = sum(run.diagnosis is None for run in runs)
    config = json.loads(sweep.config)
    metric = sweep.metric or "best/val_accuracy"
    results = [Result(run, result_of(run)) for run in runs]
    names = varying([run.config for run in runs], first=parameter_names(config))
    percent = is_accuracy(metric, [result.value for result in results])
    state = current_sweep_state(db, sweep, now=now)
    columns = _columns(names, metric, percent=percent)
    if not query.sort:
        query = Query(
            f"{'-' if sweep.maximize or not sweep.metric else ''}result",
            query.words,
            query.state,
            query.verdict,
            query.page,
        )
    return {
        "sweep": sweep,
        "state": state,
        "config": config,
        "metric": metric,
        "percent": percent,
        "goal": "maximize" if sweep.maximize or not sweep.metric else "minimize",
        "runs": runs,
        "now": now,
        "unread": unread,
        "alive": unread > 0
        or state in ("PENDING", "RUNNING")
        or any(r.state in ALIVE_STATES for r in runs),
        "version": version_of(sweep, runs, state),
        "best": _best(results, maximize=sweep.maximize or not sweep.metric),
        "verdicts": _count_verdicts(runs),
        "best_so_far": _best_so_far(
            results, metric, maximize=sweep.maximize or not sweep.metric, percent=percent
        ),
        "parallel": _parallel(results, names, metric, maximize=sweep.maximize or not sweep.metric),
        "parallel_note": len([r for r in results if r.value is not None]) > MAX_LINES,
        "importance": _importance(results, names),
        "listing": build_listing(
            results,
            columns,
            query,
            text=_text,
            state=lambda result: result.run.state,
            verdict=lambda result: verdict_of(result.run),
        ),
    }


def version_of(sweep: Record, runs: Sequence[RunView], state: str) -> str:
    """Changes whenever the page would."""
    seen = tuple(
        (r.record.id, r.record.history_lines, r.state, r.record.summary, r.diagnosis is None)
        for r in runs
    )
    return f"{state}.{len(runs)}.{hash((seen, sweep.updated_at)) & 0xFFFFFFFF:x}"


def parameter_names(config: Mapping[str, Any]) -> list[str]:
    """Dotted names of a sweep's parameters, in its order."""
    return _names(config.get("parameters"), "")


def _names(parameters: Any, prefix: str) -> list[str]:
    found: list[str] = []
    for name, item in parameters.items() if isinstance(parameters, dict) else ():
        if isinstance(item, dict) and isinstance(item.get("parameters"), dict):
            found += _names(item["parameters"], f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def result_of(run: RunView) -> float | None:
    """The sweep's metric of a run: the best of its history, else of its summary; our accuracy if the sweep names none."""
    for value in (run.record.metric_best, run.record.metric_summary):
        if value is not None and math.isfinite(value):
            return float(value)
    return run.best.accuracy if run.best and not run.record.metric else None


def verdict_of(run: RunView) -> str:
    """The verdict as text; empty where it would say nothing."""
    return run.diagnosis.verdict.value if run.diagnosis and run.is_judged else ""


def _columns(names: Sequence[str], metric: str, *, percent: bool) -> list[Column[Result]]:
    return [
        Column("name", "run", lambda r: r.run.record.display_name, kind="name"),
        Column("state", "state", lambda r: r.run.state, kind="state"),
        Column("verdict", "diagnosis", lambda r: verdict_of(r.run), kind="verdict"),
        Column("result", metric, lambda r: r.value, is_number=True, percent=percent, kind="value"),
        Column(
            "epochs",
            "epochs",
            lambda r: r.run.history.epochs_done or None,
            is_number=True,
            kind="value",
        ),
        *(
            Column(f"config.{name}", name, partial(_config, name), kind="value")
            for name in names[:MAX_CONFIG_COLUMNS]
        ),
        Column(
            "created", "created", lambda r: r.run.record.created_at, is_number=True, kind="created"
        ),
    ]


def _config(name: str, result: Result) -> Any:
    return result.run.config.get(name)


def _text(result: Result) -> str:
    run = result.run
    values = " ".join(f"{name}={value}" for name, value in run.config.items())
    return f"{run.record.display_name} {run.record.name} {run.state} {run.record.tags} {verdict_of(run)} {values}".lower()


def _count_verdicts(runs: Sequence[RunView]) -> list[tuple[Verdict, int]]:
    found = [run.diagnosis.verdict for run in runs if run.diagnosis and run.is_judged]
    return [(verdict, found.count(verdict)) for verdict in VERDICTS if verdict in found]


def _best(results: Sequence[Result], *, maximize: bool) -> Result | None:
    ranked = [(result.value, result) for result in results if result.value is not None]
    if not ranked:
        return None
    return (max if maximize else min)(ranked, key=lambda item: item[0])[1]


def _best_so_far(
    results: Sequence[Result], metric: str, *, maximize: bool, percent: bool
) -> Markup:
    """Every run's result, and the best until then, in the order the runs were made."""
    found = [(i, r.value) for i, r in enumerate(results, start=1) if r.value is not None]
    if not found:
        return Markup("")
    x = np.array([i for i, _ in found], dtype=float)
    y = np.array([value for _, value in found], dtype=float)
    best = (np.maximum if maximize else np.minimum).accumulate(y)
    lines = [
        Line("each run", x, y, css="clean", points=True),
        Line("best so far", x, best, css="val"),
    ]
    return line_chart(
        f"{metric} of each run, and the best so far", lines, axis="run", percent=percent
    )


def _parallel(
    results: Sequence[Result], names: Sequence[str], metric: str, *, maximize: bool
) -> Markup:
    having = [(r.value, r) for r in results if r.value is not None]
    names = names[:_MAX_AXES]
    if len(having) < 2 or not names:
        return Markup("")
    having.sort(key=lambda item: item[0], reverse=maximize)
    if len(having) > MAX_LINES:
        keep = np.unique(
            np.r_[0 : MAX_LINES // 2, np.linspace(0, len(having) - 1, MAX_LINES // 2).astype(int)]
        )
        having = [having[i] for i in keep]
    axes = [
        Axis.of(name, [v for _, r in having if (v := r.run.config.get(name)) is not None])
        for name in names
    ]
    label = metric if metric not in names else f"{metric} (result)"
    axes.append(Axis.of(label, [value for value, _ in having], log=False))
    lines = [(r.run.record.display_name, {**r.run.config, label: value}) for value, r in having]
    return parallel_chart(axes, lines, maximize=maximize)


def _importance(results: Sequence[Result], names: Sequence[str]) -> list[Importance]:
    runs = [(r.run.config, r.value) for r in results if r.value is not None]
    return rank_parameters(runs, names)
