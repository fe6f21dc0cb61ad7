"""Sweeps: created, changed, paused, finished. `fer_sweep.server.handout` says which run an agent gets.

Everything that decides something is called inside one write transaction, together with writing the
decision down.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
import yaml

from fer_sweep.errors import ConfigError
from fer_sweep.server import tables
from fer_sweep.server.curves import read_curves
from fer_sweep.server.handout import has_scheduler
from fer_sweep.server.limits import check_size
from fer_sweep.server.prior_runs import attach_prior_runs
from fer_sweep.server.projects import ensure_project, find_project
from fer_sweep.server.runs import (
    ALIVE_STATES,
    current_state,
    request_stop,
    select_runs,
    update_run,
)
from fer_sweep.server.search import propose
from fer_sweep.server.stopping import runs_to_stop
from fer_sweep.server.streams import recompute_metric
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, decode_id, random_name
from fer_sweep.space import count_cells, parse_hyperband

STATES = ("PENDING", "RUNNING", "PAUSED", "FINISHED", "CANCELED")


def find_sweep(db: sa.Connection, project_id: int, name: str) -> Record | None:
    """Look a sweep up by its id within a project."""
    query = sa.select(tables.sweeps).where(
        tables.sweeps.c.project_id == project_id, tables.sweeps.c.name == name
    )
    return db.execute(query).first()


def list_sweeps(db: sa.Connection, project_id: int) -> Sequence[Record]:
    """All sweeps of a project, newest first."""
    query = sa.select(tables.sweeps).where(tables.sweeps.c.project_id == project_id)
    return db.execute(query.order_by(tables.sweeps.c.created_at.desc())).all()


def runs_of_sweep(db: sa.Connection, sweep: Record) -> Sequence[Record]:
    """All runs of a sweep, oldest first."""
    query = select_runs().where(tables.runs.c.sweep_id == sweep.id)
    return db.execute(query.order_by(tables.runs.c.created_at, tables.runs.c.id)).all()


def count_runs(db: sa.Connection, sweep: Record) -> int:
    """How many runs a sweep has, in whatever state."""
    query = sa.select(sa.func.count()).where(tables.runs.c.sweep_id == sweep.id)
    return db.scalar(query) or 0


def current_sweep_state(db: sa.Connection, sweep: Record, *, now: float) -> str:
    """The state of a sweep now: it reads as finished once all its runs exist and none is alive.

    An agent that asks for more work writes the same down; but with ``--count`` nobody asks again.
    """
    exhausted = sweep.runs_expected is not None and count_runs(db, sweep) >= sweep.runs_expected
    if sweep.state == "RUNNING" and exhausted and not has_runs_alive(db, sweep, now=now):
        return "FINISHED"
    return str(sweep.state)


def has_runs_alive(db: sa.Connection, sweep: Record, *, now: float) -> bool:
    """Whether any run of the sweep is pending, running or preempting, or preempted and to be resumed."""
    query = select_runs().where(
        tables.runs.c.sweep_id == sweep.id,
        tables.runs.c.state.in_(("pending", "running", "preempted")),
    )
    states = {current_state(run, now=now) for run in db.execute(query)}
    return not states.isdisjoint((*ALIVE_STATES, "preempted"))


def upsert_sweep(db: sa.Connection, given: Mapping[str, Any], *, now: float) -> Record:
    """Create a sweep, or change one's config or state.

    Args:
        db: A write transaction.
        given: The fields of W&B's ``UpsertSweepInput`` that the client set.
        now: The time.

    Raises:
        RequestError: If there is no such sweep, or the change is impossible.
        ConfigError: If the sweep config cannot be searched; all its problems at once.
    """
    if given.get("id"):
        sweep = fetch_sweep(db, given["id"])
        _change_sweep(db, sweep, given, now=now)
    else:
        sweep = _create_sweep(db, given, now=now)
    if given.get("priorRunsFilters"):
        attach_prior_runs(db, sweep, given["priorRunsFilters"], now=now)
    return _reload(db, sweep)


def fetch_sweep(db: sa.Connection, node_id: str) -> Record:
    """Look a sweep up by its node id.

    Raises:
        RequestError: If there is none.
    """
    parts = decode_id(node_id)
    if len(parts) == 5 and parts[0] == "Sweep":
        project = find_project(db, parts[4], parts[3])
        sweep = project and find_sweep(db, project.id, parts[2])
        if sweep:
            return sweep
    raise RequestError(f"sweep {':'.join(parts[2:])}: no such sweep. It may have been deleted.")


def mark_running(db: sa.Connection, sweep: Record, *, now: float) -> None:
    """Note that a sweep has handed out its first run."""
    if sweep.state == "PENDING":
        set_state(db, sweep, "RUNNING", now=now)


def finish_if_over(db: sa.Connection, sweep: Record, *, now: float) -> None:
    """Mark a sweep that has nothing left to hand out as finished, unless a run is still alive."""
    if sweep.state == "RUNNING" and not has_runs_alive(db, sweep, now=now):
        set_state(db, sweep, "FINISHED", now=now)


def request_early_stops(db: sa.Connection, sweep: Record, *, now: float) -> None:
    """Ask the runs to stop that early termination has given up on."""
    config = json.loads(sweep.config)
    if not config.get("early_terminate"):
        return
    query = select_runs().where(
        tables.runs.c.sweep_id == sweep.id,
        tables.runs.c.state == "running",
        tables.runs.c.stop_requested.is_(False),
        tables.runs.c.metric_best.is_not(None),
    )
    running = {
        run.name: run for run in db.execute(query).all() if current_state(run, now=now) == "running"
    }
    if running:
        for name in runs_to_stop(config, read_curves(db, sweep), set(running)):
            request_stop(db, running[name])


def _create_sweep(db: sa.Connection, given: Mapping[str, Any], *, now: float) -> Record:
    if not given.get("config"):
        raise RequestError(
            "sweep: no config. Pass a sweep configuration with method and parameters."
        )
    columns = _config_columns(given)
    project = ensure_project(db, given.get("entityName"), given.get("projectName"), now=now)
    name = random_name()
    row = {
        "project_id": project.id,
        "name": name,
        "state": "PENDING",
        "seed": secrets.randbits(31),
        "created_at": now,
        "updated_at": now,
    }
    db.execute(sa.insert(tables.sweeps).values(row | columns))
    sweep = find_sweep(db, project.id, name)
    assert sweep is not None, "inserted in this very transaction"
    return sweep


def _change_sweep(
    db: sa.Connection, sweep: Record, given: Mapping[str, Any], *, now: float
) -> None:
    if given.get("config"):
        if sweep.state != "PENDING":
            raise RequestError(
                f"sweep {sweep.name}: cannot be updated (it is {sweep.state}). "
                "Only a sweep that has handed out no run can; create a new one."
            )
        _write(db, sweep, _config_columns(given) | {"updated_at": now})
        for run in runs_of_sweep(db, sweep):
            recompute_metric(db, run)
    else:
        names = {"display_name": given.get("displayName"), "description": given.get("description")}
        changed = {column: text for column, text in names.items() if text is not None}
        if changed:
            _write(db, sweep, changed | {"updated_at": now})
    if given.get("state"):
        set_state(db, sweep, given["state"], now=now)


def set_state(db: sa.Connection, sweep: Record, state: str, *, now: float) -> None:
    """Pause, resume, finish or cancel a sweep; cancelling asks its runs to stop.

    Raises:
        RequestError: If there is no such state.
    """
    if state not in STATES:
        raise RequestError(
            f"sweep {sweep.name}: no such state (got {state!r}). Known: {', '.join(STATES)}."
        )
    _write(db, sweep, {"state": state, "updated_at": now})
    if state == "CANCELED":
        for run in runs_of_sweep(db, sweep):
            request_stop(db, run)
            if run.state == "pending":
                update_run(db, run, state="killed")


def _config_columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that follows from a sweep's config.

    Raises:
        ConfigError: If it cannot be searched.
    """
    config = _parse_config(given["config"])
    try:
        cells = None
        if not has_scheduler(config):
            propose(config, [], seed=0)
            cells = count_cells(config)
        parse_hyperband(config)
        cap = config.get("run_cap")
    except ConfigError as error:
        raise ConfigError([f"sweep config: {problem}" for problem in error.problems]) from error
    metric = config.get("metric") or {}
    return {
        "config_yaml": given["config"],
        "config": json.dumps(config),
        "display_name": given.get("displayName") or config.get("name"),
        "description": given.get("description") or config.get("description"),
        "metric": metric.get("name"),
        "maximize": metric.get("goal") == "maximize",
        "runs_expected": min((count for count in (cells, cap) if count is not None), default=None),
    }


def _parse_config(text: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(text)
        check_size(config, "sweep config")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"sweep config: not valid YAML ({error}).") from error
    if not isinstance(config, dict):
        raise ConfigError(f"sweep config: must be a mapping (got {type(config).__name__}).")
    return config


def _write(db: sa.Connection, sweep: Record, values: Mapping[str, Any]) -> None:
    db.execute(sa.update(tables.sweeps).where(tables.sweeps.c.id == sweep.id).values(**values))


def _reload(db: sa.Connection, sweep: Record) -> Record:
    return db.execute(sa.select(tables.sweeps).where(tables.sweeps.c.id == sweep.id)).one()
