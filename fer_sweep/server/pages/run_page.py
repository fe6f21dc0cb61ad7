"""What the page of a run shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from markupsafe import Markup

from fer_sweep.charts import (
    ACCURACY,
    LOSS,
    Line,
    accuracy_chart,
    legend,
    line_chart,
    loss_chart,
)
from fer_sweep.history import Floats
from fer_sweep.server import tables
from fer_sweep.server.files import RunFolder
from fer_sweep.server.pages.histories import Histories, RunView
from fer_sweep.server.pages.listing import is_accuracy, is_number
from fer_sweep.server.runs import ALIVE_STATES
from fer_sweep.server.streams import EVENTS, HISTORY, LOG, read_lines
from fer_sweep.server.tables import Record

PARTS = ("run_status", "run_curves", "run_system", "run_summary", "run_log")
"""The pieces of the page that change while the run is alive."""
LOG_TAIL, LOG_PAGE = 60, 5_000
FILES_SHOWN = 20
_SAMPLES = 1_000
_MAX_CHARTS = 40
_STAMP = re.compile(r"^(?:ERROR )?\d{4}-\d\d-\d\dT[\d:.]+Z? ?")
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|.)")
_SYSTEM_FIRST = ("gpu", "cpu", "memory", "proc.memory", "disk", "network")


@dataclass(frozen=True)
class Chart:
    """A chart with its heading and, if it has several lines, its legend."""

    title: str
    svg: Markup
    legend: Markup


@dataclass(frozen=True)
class StoredFile:
    """A file of the run."""

    name: str
    size: int


def run_content(
    db: sa.Connection,
    histories: Histories,
    run: Record,
    folder: RunFolder,
    *,
    view: str,
    now: float,
) -> dict[str, Any]:
    """Gather everything; parts that a view leaves out stay empty.

    Args:
        db: A transaction.
        histories: The curves read so far.
        run: The run.
        folder: Its files.
        view: ``workspace`` (all), ``overview``, ``logs`` or ``files``.
        now: The time.
    """
    shown = histories.view(db, [run], now=now)[0]
    everything = view == "workspace"
    known, others = _charts(db, run, shown) if everything else ([], [])
    names = folder.list_names() if view in ("workspace", "files") else []
    names_shown = names if view == "files" else names[:FILES_SHOWN]
    return {
        "run": shown,
        "tags": json.loads(run.tags),
        "view": view,
        "now": now,
        "version": version_of(run, shown.state),
        "alive": shown.state in ALIVE_STATES,
        "charts": known,
        "others": others,
        "system": _system_charts(db, run) if everything else [],
        "summary": summary_rows(shown.summary),
        "failure": _failure(shown),
        "log": log_lines(db, run, LOG_PAGE if view == "logs" else LOG_TAIL),
        "log_total": run.log_lines,
        "files": [_stored(folder, name) for name in names_shown],
        "files_total": len(names),
    }


def version_of(run: Record, state: str) -> str:
    """Changes whenever the page would."""
    counts = (run.history_lines, run.event_lines, run.log_lines)
    return f"{'.'.join(map(str, counts))}.{state}.{hash((run.summary, run.config)) & 0xFFFFFF:x}"


def summary_rows(summary: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The summary's entries by name, nested ones flattened, wandb's own left out."""
    rows: list[tuple[str, Any]] = []
    for name, value in sorted(summary.items()):
        if not prefix and name.startswith(("_", "failure/")):
            continue
        if isinstance(value, dict) and value and "_type" not in value and len(prefix) < 200:
            rows += summary_rows(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows


def log_lines(db: sa.Connection, run: Record, count: int) -> list[str]:
    """The last console lines as text: without times, colours, or what a progress bar wrote over."""
    columns = tables.lines.c
    query = (
        sa.select(columns.body)
        .where(columns.run_id == run.id, columns.stream == LOG)
        .order_by(columns.number.desc())
        .limit(count)
    )
    return [plain_line(line) for line in reversed(list(db.scalars(query)))]


def plain_line(line: str) -> str:
    r"""One console line as a terminal would leave it.

    Example:
        >>> plain_line("ERROR 2026-01-01T00:00:00.1 \x1b[31m10 %\r20 %\x1b[0m\n")
        '20 %'
    """
    text = _ESCAPES.sub("", _STAMP.sub("", line)).rstrip("\r\n")
    return text.rpartition("\r")[2]


def _charts(db: sa.Connection, run: Record, shown: RunView) -> tuple[list[Chart], list[Chart]]:
    """Accuracy and loss if they are recognised, and every other number that was logged."""
    known = [
        Chart(title, svg, legend(series, shown))
        for title, svg, series in (
            ("Accuracy", accuracy_chart(shown), ACCURACY),
            ("Loss", loss_chart(shown), LOSS),
        )
        if svg
    ]
    rows = _rows(db, run, HISTORY)
    axis = "epoch" if rows and all("epoch" in row for row in rows) else "step"
    at = [row.get("epoch" if axis == "epoch" else "_step", i) for i, row in enumerate(rows)]
    drawn = {s.column for s in (*ACCURACY, *LOSS)} if known else set()
    names = [n for n in _names(rows) if not n.startswith("_") and n not in drawn and n != "epoch"]
    others = [_chart(name, rows, at, axis) for name in names[:_MAX_CHARTS]]
    return known, [chart for chart in others if chart.svg]


def _system_charts(db: sa.Connection, run: Record) -> list[Chart]:
    """What wandb measured of the machine, over minutes."""
    rows = _rows(db, run, EVENTS)
    start = next((t for row in rows if is_number(t := row.get("_timestamp"))), run.created_at)
    at = [
        (row["_timestamp"] - start) / 60 if is_number(row.get("_timestamp")) else float(i)
        for i, row in enumerate(rows)
    ]
    names = [n for n in _names(rows) if not n.startswith("_")]
    names.sort(key=lambda n: (_system_rank(n), n))
    charts = [
        _chart(name, rows, at, "minutes", label=name.removeprefix("system."))
        for name in names[:_MAX_CHARTS]
    ]
    return [chart for chart in charts if chart.svg]


def _system_rank(name: str) -> int:
    plain = name.removeprefix("system.")
    return next((i for i, p in enumerate(_SYSTEM_FIRST) if plain.startswith(p)), len(_SYSTEM_FIRST))


def _chart(
    name: str, rows: Sequence[Mapping[str, Any]], at: Sequence[Any], axis: str, *, label: str = ""
) -> Chart:
    title = label or name
    found = [
        (x, row[name])
        for x, row in zip(at, rows, strict=True)
        if is_number(row.get(name)) and is_number(x)
    ]
    x, y = _array(x for x, _ in found), _array(y for _, y in found)
    percent = is_accuracy(name, y.tolist())
    return Chart(
        title, line_chart(title, [Line(title, x, y)], axis=axis, percent=percent), Markup("")
    )


def _rows(db: sa.Connection, run: Record, stream: str) -> list[dict[str, Any]]:
    lines = read_lines(db, run, stream, samples=_SAMPLES)
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # system events are stored as they come
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({name for row in rows for name, value in row.items() if is_number(value)})


def _array(values: Iterable[Any]) -> Floats:
    return np.array([float(v) for v in values], dtype=float)


def _failure(shown: RunView) -> dict[str, str] | None:
    cause = shown.summary.get("failure/cause")
    if not cause:
        return None
    return {
        "cause": str(cause),
        "message": str(shown.summary.get("failure/message") or ""),
        "traceback": str(shown.summary.get("failure/traceback") or ""),
    }


def _stored(folder: RunFolder, name: str) -> StoredFile:
    try:
        return StoredFile(name, folder.locate(name).stat().st_size)
    except OSError:  # deleted a moment ago
        return StoredFile(name, 0)
