"""Which run of a sweep an agent gets: one that waits to be trained, or a new one that the search proposes.

Called inside the write transaction that also writes the decision down: two agents never get the same
cell, whichever process they talk to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.prior_runs import prior_trials
from fer_sweep.server.runs import (
    LEASE_S,
    MAX_OFFERS,
    current_state,
    insert_run,
    plain_config,
    select_runs,
    update_run,
)
from fer_sweep.server.search import PriorTrial, propose
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, random_name

_OPEN_STATES = ("pending", "preempting", "preempted")
_IS_QUEUED = (tables.runs.c.state == "pending") & tables.runs.c.agent_id.is_(None)
"""Enqueued, and never handed out."""


def hand_out(db: sa.Connection, sweep: Record, agent_id: int, *, now: float) -> Record | None:
    """Give an agent its next run: one that waits to be trained, or a new one.

    A run waits if somebody enqueued it, if its machine was preempted (it resumes, under its own id), or
    if it was handed out and never started. With an external scheduler nothing else is handed out.

    Returns:
        The pending run; None if the sweep has nothing for the agent.
    """
    config = json.loads(sweep.config)
    if _is_full(
        db, sweep, config
    ):  # schedulers keep the queue filled; nobody will run what is left
        db.execute(sa.delete(tables.runs).where(tables.runs.c.sweep_id == sweep.id, _IS_QUEUED))
    waiting = next(
        (run for run in _unfinished(db, sweep) if _is_waiting(run, agent_id, now=now)), None
    )
    if waiting is not None:
        return _offer(db, waiting, agent_id, now=now)
    if has_scheduler(config):
        return None
    trials = _trials(db, sweep, now=now)
    priors = prior_trials(db, sweep, now=now)
    parameters = propose(config, trials, seed=sweep.seed, priors=priors)
    if parameters is None:
        return None
    return _insert_trial(db, sweep, parameters, len(trials), now=now, agent_id=agent_id, offers=1)


def enqueue(
    db: sa.Connection, sweep: Record, config: str, name: str | None, *, now: float
) -> Record:
    """Add a run of the caller's choice, which the next agent that asks gets.

    Args:
        db: A write transaction.
        sweep: The sweep.
        config: The run's parameters as JSON, plain or as W&B wraps them: ``{"lr": {"value": 0.1}}``.
        name: What to call the run; by default its number.
        now: The time.

    Raises:
        RequestError: If the sweep hands out no more runs, or the config is not a JSON object.
    """
    parameters = _parse_object(config)
    if sweep.state in ("FINISHED", "CANCELED"):
        raise RequestError(
            f"sweep {sweep.name}: takes no more runs (it is {sweep.state}). Resume it, or create a new one."
        )
    count = db.scalar(sa.select(sa.func.count()).where(tables.runs.c.sweep_id == sweep.id)) or 0
    names = {"display_name": name} if name else {}
    return _insert_trial(db, sweep, plain_config(parameters), count, now=now, **names)


def may_yet_offer(db: sa.Connection, sweep: Record, *, now: float) -> bool:
    """Whether an agent that got nothing should wait: a run may have to be offered again.

    So it is while a trial has not started, or a machine is about to be preempted, and always with an
    external scheduler, which says itself when the sweep is over, until ``run_cap`` says so.
    """
    config = json.loads(sweep.config)
    may_grow = has_scheduler(config) and not _is_full(db, sweep, config)
    return may_grow or any(
        current_state(run, now=now) in _OPEN_STATES for run in _unfinished(db, sweep)
    )


def has_scheduler(config: Mapping[str, Any]) -> bool:
    """Whether ``wandb sweep-scheduler`` chooses the runs, so that the server only queues them."""
    return bool(config.get("scheduler"))


def _unfinished(db: sa.Connection, sweep: Record) -> Sequence[Record]:
    """Runs of a sweep that are not known to be over, oldest first; few, however long the sweep."""
    query = select_runs().where(
        tables.runs.c.sweep_id == sweep.id,
        tables.runs.c.state.in_(("pending", "running", "preempted")),
    )
    return db.execute(query.order_by(tables.runs.c.created_at, tables.runs.c.id)).all()


def _is_waiting(run: Record, agent_id: int, *, now: float) -> bool:
    """Whether a run waits for an agent.

    An agent has one run at a time. If it asks for work while its last run has not started, the answer
    that named the run never reached it, or the program died before ``wandb.init``.
    """
    if run.stop_requested or run.parameters is None:
        return False
    if current_state(run, now=now) == "preempted":
        return True
    if run.state != "pending" or run.offers >= MAX_OFFERS:
        return False
    silent = now - run.heartbeat_at > LEASE_S
    return bool(run.agent_id is None or run.agent_id == agent_id or silent)


def _offer(db: sa.Connection, run: Record, agent_id: int, *, now: float) -> Record:
    values: dict[str, Any] = {"agent_id": agent_id, "heartbeat_at": now, "offers": run.offers + 1}
    if run.state != "pending":  # preempted: from here on it waits for its new machine
        values |= {
            "state": "pending",
            "offers": 1,
            "requeues": run.requeues + 1,
            "preempting": False,
            "exit_code": None,
        }
    update_run(db, run, **values)
    return db.execute(select_runs().where(tables.runs.c.id == run.id)).one()


def _insert_trial(
    db: sa.Connection,
    sweep: Record,
    parameters: Mapping[str, Any],
    count: int,
    *,
    now: float,
    **values: Any,
) -> Record:
    trial = {
        "display_name": f"trial-{count + 1}",
        "state": "pending",
        "sweep_id": sweep.id,
        "parameters": json.dumps(parameters),
        "config": json.dumps({key: {"value": value} for key, value in parameters.items()}),
    }
    return insert_run(db, sweep.project_id, random_name(), now=now, **(trial | values))


def _is_full(db: sa.Connection, sweep: Record, config: Mapping[str, Any]) -> bool:
    """Whether as many runs as ``run_cap`` allows were handed out; those still in the queue do not count."""
    cap = config.get("run_cap")
    if cap is None:
        return False
    query = sa.select(sa.func.count()).where(tables.runs.c.sweep_id == sweep.id, ~_IS_QUEUED)
    return bool((db.scalar(query) or 0) >= cap)


def _parse_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RequestError(f"enqueue_run: config is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise RequestError(f"enqueue_run: config must be a mapping (got {type(value).__name__}).")
    return value


def _trials(db: sa.Connection, sweep: Record, *, now: float) -> list[PriorTrial]:
    """What the search needs to know of a sweep's runs; no documents that it does not read."""
    run = tables.runs.c
    joined = sa.case((run.parameters.is_(None), run.config))  # through WANDB_SWEEP_ID, by itself
    query = sa.select(
        run.id, run.state, run.parameters, joined.label("config"), run.agent_id, run.heartbeat_at,
        run.offers, run.stop_requested, run.preempting, run.metric_best, run.metric_summary,
        sa.literal(sweep.state).label("sweep_state"),
    ).where(run.sweep_id == sweep.id)  # fmt: skip
    return [
        PriorTrial(
            json.loads(row.parameters) if row.parameters else plain_config(json.loads(row.config)),
            current_state(row, now=now),
            row.metric_summary if row.metric_best is None else row.metric_best,
        )
        for row in db.execute(query.order_by(run.created_at, run.id))
    ]
