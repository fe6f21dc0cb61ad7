"""The report: what is known about a sweep's runs, built once and shown in every form."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fer_sweep.diagnosis import VERDICTS, Change, Diagnosis, Verdict, diagnose
from fer_sweep.history import Best, History, best_epoch, window
from fer_sweep.report.summary import RankedRun, summarise

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Failure:
    """Why a trial did not finish."""

    cause: str
    message: str
    traceback: str


@dataclass(frozen=True)
class RunReport:
    """One run: its history, its diagnosis, and the numbers of its row in the table.

    Attributes:
        history: The run.
        diagnosis: What was found.
        config: Hyperparameters, nested ones flattened to dotted names, the client's own left out.
        best: The best validation epoch, or None without validation accuracy.
        gap: Running training minus validation accuracy at the end (median of the last epochs), or None.
        clean_gap: Clean training minus validation accuracy at the end, or None where not logged.
        failure: Why it did not finish, or None.
    """

    history: History
    diagnosis: Diagnosis
    config: Mapping[str, Any]
    best: Best | None
    gap: float | None
    clean_gap: float | None
    failure: Failure | None

    @property
    def flags(self) -> tuple[str, ...]:
        """Codes of the findings, worst first."""
        return tuple(finding.code for finding in self.diagnosis.findings)

    @property
    def remedies(self) -> tuple[Change, ...]:
        """What to change next, each hyperparameter once: the worst finding's advice wins."""
        chosen: dict[str, Change] = {}
        for change in (
            change for finding in self.diagnosis.findings for change in finding.remedies
        ):
            chosen.setdefault(change.parameter or change.why, change)
        return tuple(chosen.values())


@dataclass(frozen=True)
class Report:
    """Everything a report shows.

    Attributes:
        title: Names the sweep or project.
        url: Its page, or empty.
        state: The sweep's state, or empty.
        sweep_config: The sweep's definition.
        created_at: ISO 8601, UTC.
        runs: Best first; those without validation accuracy last.
        varying: Hyperparameters that differ between runs, in the sweep's order.
        summary: Sentences, most important first.
    """

    title: str
    url: str
    state: str
    sweep_config: Mapping[str, Any]
    created_at: str
    runs: tuple[RunReport, ...]
    varying: tuple[str, ...]
    summary: tuple[str, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def counts(self) -> dict[Verdict, int]:
        """Runs per verdict, in order of precedence, without zeros."""
        verdicts = [run.diagnosis.verdict for run in self.runs]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}

    @property
    def failures(self) -> tuple[RunReport, ...]:
        """The runs that did not finish."""
        return tuple(run for run in self.runs if run.failure is not None)


def build_report(
    histories: Sequence[History],
    *,
    sweep: Mapping[str, Any],
    now: datetime | None = None,
) -> Report:
    """Diagnose runs and gather what a report shows about them.

    Args:
        histories: The runs, from ``pull``.
        sweep: ``title``, ``url``, ``state`` and ``config`` of the sweep; any of them may be missing.
        now: When the report was made; the present by default.
    """
    histories = _named_apart(histories)
    runs = [
        _run_report(history, diagnosis)
        for history, diagnosis in zip(histories, diagnose(histories), strict=True)
    ]
    runs.sort(key=lambda run: (-run.best.accuracy if run.best else math.inf, run.history.run_name))
    config = sweep.get("config") or {}
    return Report(
        title=str(sweep.get("title") or "Runs"),
        url=str(sweep.get("url") or ""),
        state=str(sweep.get("state") or ""),
        sweep_config=config,
        created_at=(now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds"),
        runs=tuple(runs),
        varying=_varying(runs, config),
        summary=tuple(summarise([_ranked(run) for run in runs])),
    )


def _named_apart(histories: Sequence[History]) -> list[History]:
    """Runs that share a name, as those of several sweeps do, get their id added."""
    names = Counter(history.run_name for history in histories)
    return [
        replace(history, run_name=f"{history.run_name} ({history.run_id})")
        if names[history.run_name] > 1
        else history
        for history in histories
    ]


def _run_report(history: History, diagnosis: Diagnosis) -> RunReport:
    return RunReport(
        history=history,
        diagnosis=diagnosis,
        config=flatten(history.config),
        best=best_epoch(history),
        gap=_end_gap(history, "train/accuracy"),
        clean_gap=_end_gap(history, "train_eval/accuracy"),
        failure=_failure(history),
    )


def _ranked(run: RunReport) -> RankedRun:
    accuracy = run.history.align("val/accuracy")[1][0]
    return RankedRun(
        name=run.history.run_name,
        diagnosis=run.diagnosis,
        best=run.best,
        last=float(accuracy[-1]) if len(accuracy) else None,
        epochs=run.history.epochs_done,
        failure_cause=run.failure.cause if run.failure else None,
    )


def _end_gap(history: History, name: str) -> float | None:
    epochs, (train, val) = history.align(name, "val/accuracy")
    return float(np.median((train - val)[-window(len(epochs)) :])) if len(epochs) else None


def _failure(history: History) -> Failure | None:
    cause = history.summary.get("failure/cause")
    if not cause and history.state not in ("failed", "crashed"):
        return None
    lost = (
        "its heartbeat stopped: the process or its machine died"
        if history.state == "crashed"
        else "no cause was recorded"
    )
    return Failure(
        cause=str(cause or history.state),
        message=str(history.summary.get("failure/message") or lost),
        traceback=str(history.summary.get("failure/traceback") or ""),
    )


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested hyperparameters as dotted names, without W&B's own.

    Example:
        >>> flatten({"lr": 0.1, "opt": {"name": "adam"}, "_wandb": {}})
        {'lr': 0.1, 'opt.name': 'adam'}
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if str(name).startswith(("_", "wandb")):
            continue
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _varying(runs: Sequence[RunReport], sweep_config: Mapping[str, Any]) -> tuple[str, ...]:
    values: dict[str, set[str]] = {}
    for run in runs:
        for name in run.config:
            values.setdefault(name, set())
    for name, seen in values.items():
        seen.update(repr(run.config.get(name)) for run in runs)
    differing = [name for name, seen in values.items() if len(seen) > 1]
    parameters = sweep_config.get("parameters")
    order = list(parameters) if isinstance(parameters, Mapping) else []
    return tuple(
        sorted(
            differing, key=lambda name: (order.index(name) if name in order else len(order), name)
        )
    )
