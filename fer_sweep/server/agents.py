"""Agents, and the conversation with them: a heartbeat names the runs alive, the answer is one command."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from fer_sweep.server import handout, sweeps, tables
from fer_sweep.server.projects import find_project, project_by_id
from fer_sweep.server.runs import LEASE_S, select_runs, update_run
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, encode_id, random_name

Command = dict[str, Any]
EXIT: Command = {"type": "exit"}


def create_agent(db: sa.Connection, given: Mapping[str, Any], *, now: float) -> Record:
    """Register an agent of a sweep.

    Args:
        db: A write transaction.
        given: The fields of W&B's ``CreateAgentInput`` that the client set.
        now: The time.

    Raises:
        RequestError: If there is no such sweep.
    """
    project = find_project(db, given.get("entityName"), given.get("projectName"))
    sweep = project and sweeps.find_sweep(db, project.id, str(given.get("sweep")))
    if not sweep:
        where = (
            f"{given.get('entityName') or 'local'}/{given.get('projectName')}/{given.get('sweep')}"
        )
        raise RequestError(
            f"sweep {where}: no such sweep on this server. Check entity, project and id."
        )
    name = encode_id("Agent", "v1", random_name())
    row = {
        "sweep_id": sweep.id,
        "name": name,
        "host": str(given.get("host") or ""),
        "created_at": now,
        "heartbeat_at": now,
        "exited": False,
    }
    db.execute(sa.insert(tables.agents).values(row))
    return _find_agent(db, name)


def list_agents(db: sa.Connection, sweep: Record) -> Sequence[Record]:
    """All agents a sweep ever had, oldest first."""
    query = sa.select(tables.agents).where(tables.agents.c.sweep_id == sweep.id)
    return db.execute(query.order_by(tables.agents.c.id)).all()


def runs_of_agent(db: sa.Connection, agent: Record) -> Sequence[Record]:
    """The runs that were handed to an agent, oldest first."""
    query = select_runs().where(tables.runs.c.agent_id == agent.id)
    return db.execute(query.order_by(tables.runs.c.id)).all()


def agent_state(agent: Record, *, now: float) -> str:
    """The state of an agent now, in W&B's words."""
    if agent.exited:
        return "FINISHED"
    return "CRASHED" if now - agent.heartbeat_at > LEASE_S else "RUNNING"


def heartbeat(
    db: sa.Connection, agent_name: str, alive: Collection[str], *, now: float
) -> tuple[Record, list[Command]]:
    """Note that an agent and its runs live, and tell the agent what to do next.

    At most one command: wandb's function agent obeys only the first. Stopping a run wins; while a run
    is alive nothing else is asked; a paused sweep asks nothing. An agent exits once its sweep has
    nothing left, and not before: wandb's agent kills its children on exit.

    Args:
        db: A write transaction.
        agent_name: The id that `create_agent` gave.
        alive: Ids of the agent's runs that are alive.
        now: The time.

    Raises:
        RequestError: If the agent or its sweep is gone; HTTP 404, which agents understand.
    """
    agent = _find_agent(db, agent_name)
    sweep = db.execute(sa.select(tables.sweeps).where(tables.sweeps.c.id == agent.sweep_id)).one()
    project_by_id(db, sweep.project_id)
    _note_alive(db, agent, alive, now=now)
    if alive and sweep.state in ("RUNNING", "PAUSED"):
        sweeps.request_early_stops(db, sweep, now=now)
    command = _next_command(db, agent, sweep, alive, now=now)
    values = {"heartbeat_at": now, "exited": command == EXIT}
    db.execute(sa.update(tables.agents).where(tables.agents.c.id == agent.id).values(values))
    return agent, [command] if command else []


def _next_command(
    db: sa.Connection, agent: Record, sweep: Record, alive: Collection[str], *, now: float
) -> Command | None:
    stop = _next_stop(db, sweep, alive)
    if stop is not None:
        update_run(db, stop, stop_sent_at=now)
        return {"type": "stop", "run_id": stop.name}
    if sweep.state == "CANCELED":
        return EXIT
    if alive:
        return None
    if sweep.state == "FINISHED":
        return EXIT
    if sweep.state == "PAUSED":
        return None
    run = handout.hand_out(db, sweep, agent.id, now=now)
    if run is not None:
        sweeps.mark_running(db, sweep, now=now)
        return {
            "type": "resume" if run.requeues else "run",
            "run_id": run.name,
            # What the sweep chose, never the run's config: a resumed run has more in it by now.
            "args": {key: {"value": value} for key, value in json.loads(run.parameters).items()},
            "program": json.loads(sweep.config).get("program"),
        }
    if handout.may_yet_offer(db, sweep, now=now):
        return None  # somebody else's trial has not started: if it never does, this agent gets it
    sweeps.finish_if_over(db, sweep, now=now)
    return EXIT


def _note_alive(db: sa.Connection, agent: Record, alive: Collection[str], *, now: float) -> None:
    """Renew the leases of the runs named; stopped ones that are no longer named are over.

    A trial that its agent ends with SIGTERM cannot report its own end.
    """
    query = select_runs().where(tables.runs.c.agent_id == agent.id)
    for run in db.execute(query.where(tables.runs.c.state.in_(("pending", "running")))).all():
        if run.name in alive:
            update_run(db, run, heartbeat_at=now)
        elif run.stop_requested:
            update_run(db, run, state="killed")


def _next_stop(db: sa.Connection, sweep: Record, alive: Collection[str]) -> Record | None:
    """The run to stop; the one that was told longest ago, so that no run waits for a deaf one."""
    if not alive:
        return None
    query = (
        sa.select(tables.runs)
        .where(tables.runs.c.sweep_id == sweep.id, tables.runs.c.name.in_(alive))
        .where(tables.runs.c.stop_requested)
        .order_by(sa.func.coalesce(tables.runs.c.stop_sent_at, 0))
    )
    return db.execute(query).first()


def _find_agent(db: sa.Connection, name: str) -> Record:
    agent = db.execute(sa.select(tables.agents).where(tables.agents.c.name == name)).first()
    if agent is None:
        raise RequestError(
            f"agent {name}: unknown here, or its sweep was deleted. Start it again.", status=404
        )
    return agent
