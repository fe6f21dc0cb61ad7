"""W&B's ``Sweep`` and ``Agent``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from fer_sweep.server import agents, prior_runs, sweeps, tables
from fer_sweep.server.nodes.context import Context, page_of
from fer_sweep.server.nodes.run import RunNode
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, encode_id, format_time

if TYPE_CHECKING:
    from fer_sweep.server.nodes.project import ProjectNode


class SweepNode:
    """W&B's ``Sweep``."""

    early_stop_job_running = False
    controller = None
    scheduler = None

    def __init__(self, context: Context, project: ProjectNode, record: Record) -> None:
        self.record = record
        self.project = project
        self._context = context
        self.config = record.config_yaml
        self.run_count_expected = record.runs_expected

    def id(self) -> str:
        """The node id."""
        project = self.project.record
        return encode_id("Sweep", "v1", self.record.name, project.name, project.entity)

    def method(self) -> Any:
        """The search method."""
        return json.loads(self.record.config).get("method")

    def state(self) -> str:
        """The state it is in now."""
        return sweeps.current_sweep_state(self._context.db, self.record, now=self._context.now)

    def controller_run_name(self) -> str:
        """The id of the run that `wandb sweep-scheduler` writes its console output to."""
        return f"{self.record.name}-scheduler"

    def prior_runs(self) -> Mapping[str, Any]:
        """The runs that were attached to it as tried before."""
        names = prior_runs.prior_run_names(self._context.db, self.record)
        return self.project.runs(filters=json.dumps({"name": {"$in": names}}))

    def best_loss(self) -> float | None:
        """The best value of its metric so far."""
        best = sa.func.max if self.record.maximize else sa.func.min
        query = sa.select(best(tables.runs.c.metric_best)).where(
            tables.runs.c.sweep_id == self.record.id
        )
        value: float | None = self._context.db.scalar(query)
        return value

    def created_at(self) -> str:
        """When it was created."""
        return format_time(self.record.created_at)

    def updated_at(self) -> str:
        """When its config or state last changed."""
        return format_time(self.record.updated_at)

    def heartbeat_at(self) -> str:
        """When one of its agents was last heard of."""
        times = [agent.heartbeat_at for agent in self._agents()]
        return format_time(max([self.record.updated_at, *times]))

    def run_count(self) -> int:
        """How many runs it has, in whatever state."""
        return sweeps.count_runs(self._context.db, self.record)

    def runs(self, first: int | None = None, after: str | None = None) -> Mapping[str, Any]:
        """Its runs, oldest first."""
        filters = json.dumps({"sweep": self.record.name})
        return self.project.runs(filters=filters, first=first, after=after)

    def agents(self) -> Mapping[str, Any]:
        """All agents it ever had."""
        return page_of(self._agents(), self._agent_node, None, None)

    def agent(self, agent_name: str | None = None) -> AgentNode | None:
        """One agent by its id."""
        found = [agent for agent in self._agents() if agent.name == agent_name]
        return self._agent_node(found[0]) if found else None

    def _agents(self) -> Sequence[Record]:
        return agents.list_agents(self._context.db, self.record)

    def _agent_node(self, record: Record) -> AgentNode:
        return AgentNode(self._context, self.project, record)


class AgentNode:
    """W&B's ``Agent``."""

    def __init__(self, context: Context, project: ProjectNode | None, record: Record) -> None:
        self.record = record
        self.id = record.name
        self._project = project
        self._context = context

    def state(self) -> str:
        """The state it is in now."""
        return agents.agent_state(self.record, now=self._context.now)

    def total_runs(self) -> int:
        """How many runs were handed to it."""
        return len(agents.runs_of_agent(self._context.db, self.record))

    def created_at(self) -> str:
        """When it registered."""
        return format_time(self.record.created_at)

    def heartbeat_at(self) -> str:
        """When it was last heard of."""
        return format_time(self.record.heartbeat_at)

    def runs(
        self,
        after: str | None = None,
        before: str | None = None,
        first: int | None = None,
        last: int | None = None,
        order: str | None = None,
    ) -> Mapping[str, Any]:
        """The runs that were handed to it, oldest first."""
        del before, last, order
        project = self._project
        if project is None:
            raise RequestError(
                "agent: its runs are served through its sweep. Ask the sweep for the agent."
            )
        records = agents.runs_of_agent(self._context.db, self.record)
        return page_of(
            records, lambda record: RunNode(self._context, project, record), first, after
        )
