"""What the pages of a project, and the list of projects, show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.pages.histories import flat_config, parse
from fer_sweep.server.pages.listing import (
    MAX_CONFIG_COLUMNS,
    Column,
    Query,
    build_listing,
    is_accuracy,
    summary_names,
    varying,
)
from fer_sweep.server.runs import ALIVE_STATES, current_state, select_runs
from fer_sweep.server.sweeps import current_sweep_state, list_sweeps
from fer_sweep.server.tables import Record

PARTS = ("project_sweeps", "listing")


@dataclass(frozen=True)
class Row:
    """A run without its curves."""

    record: Record
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What people call it; never empty, as it is what links say."""
        return str(self.record.display_name.strip() or self.record.name)


@dataclass(frozen=True)
class SweepRow:
    """A sweep in the project's list."""

    record: Record
    state: str
    method: str
    runs: int
    best: float | None
    percent: bool


@dataclass(frozen=True)
class ProjectRow:
    """A project in the list of projects."""

    record: Record
    runs: int
    sweeps: int
    active_at: float


def list_rows(db: sa.Connection, entity: str | None) -> list[ProjectRow]:
    """Projects that the reader may see, last active first.

    Args:
        db: A transaction.
        entity: Only this entity's; None for all.
    """
    runs, projects = tables.runs.c, tables.projects.c
    counted = (
        sa.select(
            runs.project_id,
            sa.func.count().label("runs"),
            sa.func.max(runs.heartbeat_at).label("at"),
        )
        .group_by(runs.project_id)
        .subquery()
    )
    sweeps = (
        sa.select(tables.sweeps.c.project_id, sa.func.count().label("sweeps"))
        .group_by(tables.sweeps.c.project_id)
        .subquery()
    )
    query = (
        sa.select(tables.projects, counted.c.runs, counted.c.at, sweeps.c.sweeps)
        .outerjoin(counted, counted.c.project_id == projects.id)
        .outerjoin(sweeps, sweeps.c.project_id == projects.id)
    )
    if entity is not None:
        query = query.where(projects.entity == entity)
    rows = [
        ProjectRow(row, row.runs or 0, row.sweeps or 0, row.at or row.created_at)
        for row in db.execute(query)
    ]
    return sorted(rows, key=lambda row: (-row.active_at, row.record.name))


def project_content(
    db: sa.Connection, project: Record, query: Query, *, now: float
) -> dict[str, Any]:
    """Gather everything.

    Args:
        db: A transaction.
        project: The project.
        query: Which runs, in which order.
        now: The time.
    """
    found = db.execute(
        select_runs()
        .where(tables.runs.c.project_id == project.id)
        .order_by(tables.runs.c.created_at.desc(), tables.runs.c.id.desc())
    ).all()
    rows = [
        Row(run, current_state(run, now=now), flat_config(run.config), parse(run.summary))
        for run in found
    ]
    sweeps = _sweeps(db, project, rows, now=now)
    columns = _columns(rows, sweeps)
    return {
        "sweeps": sweeps,
        "states": sorted({row.state for row in rows}),
        "now": now,
        "alive": any(row.state in ALIVE_STATES for row in rows),
        "version": _version(rows, sweeps),
        "listing": build_listing(rows, columns, query, text=_text, state=lambda row: row.state),
    }


def _sweeps(
    db: sa.Connection, project: Record, rows: Sequence[Row], *, now: float
) -> list[SweepRow]:
    runs: dict[int, list[Row]] = {}
    for row in rows:
        if row.record.sweep_id is not None:
            runs.setdefault(row.record.sweep_id, []).append(row)
    found = []
    for sweep in list_sweeps(db, project.id):
        own = runs.get(sweep.id, [])
        values = [
            value
            for row in own
            for value in (row.record.metric_best, row.record.metric_summary)
            if value is not None
        ]
        best = (max if sweep.maximize else min)(values, default=None)
        found.append(
            SweepRow(
                sweep,
                current_sweep_state(db, sweep, now=now),
                str(parse(sweep.config).get("method", "grid")),
                len(own),
                best,
                is_accuracy(sweep.metric or "", values),
            )
        )
    return found


def _columns(rows: Sequence[Row], sweeps: Sequence[SweepRow]) -> list[Column[Row]]:
    metrics = [sweep.record.metric for sweep in sweeps if sweep.record.metric]
    configs = varying([row.config for row in rows]) if len(rows) > 1 else []
    columns: list[Column[Row]] = [
        Column("name", "run", lambda row: row.record.display_name, kind="name"),
        Column("state", "state", lambda row: row.state, kind="state"),
    ]
    for name in summary_names([row.summary for row in rows], first=metrics):
        percent = is_accuracy(name, [row.summary.get(name) for row in rows])
        value = partial(_summary, name)
        columns.append(
            Column(f"summary.{name}", name, value, is_number=True, percent=percent, kind="value")
        )
    columns += [
        Column(f"config.{name}", name, partial(_config, name), kind="value")
        for name in configs[:MAX_CONFIG_COLUMNS]
    ]
    if sweeps:
        columns.append(Column("sweep", "sweep", lambda row: row.record.sweep_name, kind="sweep"))
    columns.append(
        Column(
            "created", "created", lambda row: row.record.created_at, is_number=True, kind="created"
        )
    )
    return columns


def _summary(name: str, row: Row) -> Any:
    return row.summary.get(name)


def _config(name: str, row: Row) -> Any:
    return row.config.get(name)


def _text(row: Row) -> str:
    run = row.record
    values = " ".join(f"{name}={value}" for name, value in row.config.items())
    return f"{run.display_name} {run.name} {row.state} {run.tags} {run.sweep_name or ''} {run.group_name or ''} {values}".lower()


def _version(rows: Sequence[Row], sweeps: Sequence[SweepRow]) -> str:
    seen = tuple(
        (row.record.id, row.record.summary, row.record.display_name, row.state) for row in rows
    )
    return f"{hash((seen, tuple((s.record.id, s.state) for s in sweeps))) & 0xFFFFFFFF:x}"
