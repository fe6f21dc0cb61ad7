"""Runs: created, updated, stopped, finished, and what state they are in.

States are W&B's words. A crash is never written down: a run that claims to be running and has been silent
for too long *reads* as crashed, and is running again as soon as it is heard of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.projects import ensure_project, find_project
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, check_name, decode_id, random_name

CRASH_AFTER_S = 300.0
"""Silence after which a plain run counts as crashed; W&B's own 5 minutes."""
LEASE_S = 60.0
"""The same for a run that a sweep handed out: wandb reports every 30 s, its agent every 5 s."""
MAX_OFFERS = 3
"""A trial that never started is offered to this many agents; then it counts as crashed."""
INTERRUPTED = 255
"""The exit code wandb reports for Ctrl-C."""
STATES = (
    "pending",
    "running",
    "preempting",
    "preempted",
    "finished",
    "failed",
    "crashed",
    "killed",
)
ALIVE_STATES = ("pending", "running", "preempting")

_TEXT_FIELDS = {
    "displayName": "display_name",
    "description": "notes",  # an older name for the same thing
    "notes": "notes",
    "groupName": "group_name",
    "jobType": "job_type",
    "host": "host",
    "jobProgram": "program",
    "commit": "git_commit",
}


@cache  # building it takes longer than running it
def select_runs() -> sa.Select[*tuple[Any, ...]]:
    """The query for runs as the functions here want them: with the name and state of their sweep."""
    return sa.select(
        tables.runs,
        tables.sweeps.c.name.label("sweep_name"),
        tables.sweeps.c.state.label("sweep_state"),
        tables.sweeps.c.metric,
        tables.sweeps.c.maximize,
    ).outerjoin_from(tables.runs, tables.sweeps, tables.runs.c.sweep_id == tables.sweeps.c.id)


def find_run(db: sa.Connection, project_id: int, name: str) -> Record | None:
    """Look a run up by its id within a project."""
    query = select_runs().where(tables.runs.c.project_id == project_id, tables.runs.c.name == name)
    return db.execute(query).first()


def fetch_run(db: sa.Connection, node_id: str) -> Record:
    """Look a run up by its node id.

    Raises:
        RequestError: If there is none.
    """
    parts = decode_id(node_id)
    if len(parts) == 5 and parts[0] == "Run":
        project = find_project(db, parts[4], parts[3])
        run = project and find_run(db, project.id, parts[2])
        if run:
            return run
    raise RequestError(f"run {':'.join(parts[2:])}: no such run. It may have been deleted.")


def current_state(run: Record, *, now: float) -> str:
    """The state a run is in now, given when it was last heard of."""
    silence_s = now - run.heartbeat_at
    if run.state == "running":
        if silence_s > (CRASH_AFTER_S if run.agent_id is None else LEASE_S):
            return _silent_end(run)
        return "preempting" if run.preempting else "running"
    if run.state == "pending" and run.agent_id is not None and silence_s > LEASE_S:
        if run.stop_requested:
            return "killed"
        given_up = run.offers >= MAX_OFFERS or run.sweep_state in ("FINISHED", "CANCELED")
        return "crashed" if given_up else "pending"
    return str(run.state)


def _silent_end(run: Record) -> str:
    """What a run that has fallen silent ended as; a machine that was preempted may not get to say so."""
    if run.stop_requested:
        return "killed"
    return "preempted" if run.preempting else "crashed"


def upsert_run(db: sa.Connection, given: Mapping[str, Any], *, now: float) -> tuple[Record, bool]:
    """Create a run, or change the one that is there.

    Args:
        db: A write transaction.
        given: The fields of W&B's ``UpsertBucketInput`` that the client set.
        now: The time.

    Returns:
        The run, and whether it is new (also true for a trial that now starts).

    Raises:
        RequestError: If the run, its sweep or its name is wrong.
    """
    if given.get("id"):
        run = fetch_run(db, given["id"])
        _update(db, run, given, now=now)
        return fetch_run(db, given["id"]), False
    project = ensure_project(db, given.get("entityName"), given.get("modelName"), now=now)
    name = check_name("run", given.get("name") or random_name())
    found = find_run(db, project.id, name)
    run = found or insert_run(
        db, project.id, name, now=now, display_name=_next_name(db, project.id)
    )
    starts = found is None or (run.state == "pending" and bool(given.get("host")))
    if given.get("host") and (
        run.state == "pending" or current_state(run, now=now) not in ALIVE_STATES
    ):
        run = _forget_lines(db, run)
    _update(db, run, given, now=now, merge_config=starts)
    changed = find_run(db, project.id, name)
    assert changed is not None, "written in this very transaction"
    return changed, starts


def insert_run(
    db: sa.Connection, project_id: int, name: str, *, now: float, **values: Any
) -> Record:
    """Create a run; ``values`` are columns that differ from a plain running run's."""
    row = {
        "project_id": project_id,
        "name": name,
        "display_name": name,
        "state": "running",
        "config": "{}",
        "summary": "{}",
        "tags": "[]",
        "created_at": now,
        "heartbeat_at": now,
        "offers": 0,
        "stop_requested": False,
        "preempting": False,
        "requeues": 0,
        "history_lines": 0,
        "event_lines": 0,
        "log_lines": 0,
        "last_step": -1,
        "history_keys": "{}",
    }
    db.execute(sa.insert(tables.runs).values(row | values))
    run = find_run(db, project_id, name)
    assert run is not None, "inserted in this very transaction"
    return run


def update_run(db: sa.Connection, run: Record, **values: Any) -> None:
    """Write columns of one run."""
    db.execute(sa.update(tables.runs).where(tables.runs.c.id == run.id).values(values))


def request_stop(db: sa.Connection, run: Record) -> None:
    """Ask a run to stop; its client and its agent hear of it when they next report."""
    if run.state in ("pending", "running"):
        update_run(db, run, stop_requested=True)


def complete_run(
    db: sa.Connection, run: Record, exit_code: int | None, *, preempting: bool
) -> None:
    """Record how a run ended."""
    state = end_state(exit_code, stop_requested=run.stop_requested, preempting=preempting)
    update_run(db, run, state=state, exit_code=exit_code)


def end_state(exit_code: int | None, *, stop_requested: bool, preempting: bool) -> str:
    """The state a run ends in; an unknown exit code counts as a failure.

    Example:
        >>> end_state(-9, stop_requested=False, preempting=False)
        'failed'
    """
    if exit_code == 0:
        return "finished"
    if stop_requested or exit_code == INTERRUPTED:
        return "killed"
    return "preempted" if preempting else "failed"


def delete_run(db: sa.Connection, run: Record) -> None:
    """Forget a run and its history."""
    db.execute(sa.delete(tables.runs).where(tables.runs.c.id == run.id))


def summary_columns(run: Record, summary: str) -> dict[str, Any]:
    """The columns that a new summary document sets."""
    value = metric_value(json.loads(summary), run.metric)
    return {
        "summary": summary,
        "metric_summary": value if value is not None and math.isfinite(value) else None,
    }


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of a config document as W&B wraps them, without wandb's own ``_wandb`` section.

    Example:
        >>> plain_config({"lr": {"value": 0.1}, "_wandb": {"value": {}}})
        {'lr': 0.1}
    """
    return {
        key: item["value"] if isinstance(item, Mapping) and "value" in item else item
        for key, item in config.items()
        if key != "_wandb"
    }


def metric_value(row: Mapping[str, Any], metric: str | None) -> float | None:
    """A sweep's metric in one row or summary; a dotted name also reaches into nested dicts.

    Example:
        >>> metric_value({"val": {"accuracy": 0.5}}, "val.accuracy")
        0.5
    """
    value: Any = row.get(metric) if metric else None
    if metric and value is None and "." in metric:
        value = row
        for part in metric.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_number else None
    except OverflowError:  # an integer of over 300 digits
        return math.inf if value > 0 else -math.inf


def _update(
    db: sa.Connection,
    run: Record,
    given: Mapping[str, Any],
    *,
    now: float,
    merge_config: bool = False,
) -> None:
    values: dict[str, Any] = {
        column: given[field]
        for field, column in _TEXT_FIELDS.items()
        if given.get(field) is not None
    }
    if given.get("tags") is not None:
        values["tags"] = json.dumps(list(dict.fromkeys(given["tags"])))
    if given.get("config") is not None:
        config = _parse_config(run, given["config"])
        values["config"] = json.dumps(json.loads(run.config) | config if merge_config else config)
    if given.get("sweep"):
        values["sweep_id"] = _sweep_id(db, run, given["sweep"])
    if given.get("summaryMetrics") is not None:
        values |= summary_columns(run, given["summaryMetrics"])
    if given.get("host"):  # only the process that runs it sends its host: it lives
        values |= {"state": "running", "heartbeat_at": now}
        if current_state(run, now=now) not in ALIVE_STATES:  # resumed: its end no longer holds
            values |= {"exit_code": None, "stop_requested": False, "preempting": False}
    if given.get("state"):
        if given["state"] not in STATES:
            known = ", ".join(STATES)
            raise RequestError(
                f"run {run.name}: no such state (got {given['state']!r}). Known: {known}."
            )
        values |= {"state": given["state"], "heartbeat_at": now}
    if values:
        update_run(db, run, **values)


def _forget_lines(db: sa.Connection, run: Record) -> Record:
    """Begin a run anew that ended before: W&B overwrites what has the same id, unless it is resumed.

    A process that resumes names the run by its node id, one that starts by its name.
    """
    if not (run.history_lines or run.event_lines or run.log_lines):
        return run
    for table in (tables.lines, tables.metric_values):
        db.execute(sa.delete(table).where(table.c.run_id == run.id))
    counters = {"history_lines": 0, "event_lines": 0, "log_lines": 0, "last_step": -1}
    summary = {"history_keys": "{}", "metric_best": None, "summary": "{}", "metric_summary": None}
    update_run(db, run, **counters, **summary)
    return db.execute(select_runs().where(tables.runs.c.id == run.id)).one()


def _next_name(db: sa.Connection, project_id: int) -> str:
    """What a run is called if its user does not say."""
    query = sa.select(sa.func.count()).where(tables.runs.c.project_id == project_id)
    return f"run-{(db.scalar(query) or 0) + 1}"


def _parse_config(run: Record, text: str) -> dict[str, Any]:
    """Read a config document; plain values are wrapped as W&B does."""
    config = json.loads(text)
    if not isinstance(config, dict):
        raise RequestError(
            f"run {run.name}: config must be a mapping (got {type(config).__name__})."
        )
    return {
        key: value if isinstance(value, dict) and "value" in value else {"value": value}
        for key, value in config.items()
    }


def _sweep_id(db: sa.Connection, run: Record, sweep_name: str) -> int:
    query = sa.select(tables.sweeps.c.id).where(
        tables.sweeps.c.project_id == run.project_id, tables.sweeps.c.name == sweep_name
    )
    sweep_id: int | None = db.scalar(query)
    if sweep_id is None:
        raise RequestError(
            f"run {run.name}: no sweep {sweep_name!r} in its project. "
            "Check WANDB_SWEEP_ID and WANDB_PROJECT, or unset WANDB_SWEEP_ID."
        )
    return sweep_id
