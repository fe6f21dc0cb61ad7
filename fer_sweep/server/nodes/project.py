"""W&B's ``Project`` and the queries that start from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from fer_sweep.server import artifacts, reports, sweeps, tables
from fer_sweep.server.filters import RunFields, matches, parse_filters, sort_runs, split_sweep
from fer_sweep.server.nodes.artifact import (
    ArtifactNode,
    CollectionNode,
    MembershipNode,
    TypeNode,
    collections_page,
)
from fer_sweep.server.nodes.context import (
    Context,
    entity_node,
    page,
    page_of,
    parse_cursor,
    user_node,
)
from fer_sweep.server.nodes.report import ViewNode
from fer_sweep.server.nodes.run import RunNode
from fer_sweep.server.nodes.sweep import SweepNode
from fer_sweep.server.projects import project_by_id
from fer_sweep.server.runs import find_run, select_runs
from fer_sweep.server.streams import LastEvents
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, encode_id, format_time

_ORDERS_BY_AGE = {
    None: False, "": False, "created_at": False, "+created_at": False, "-created_at": True,
    "createdAt": False, "+createdAt": False, "-createdAt": True,
}  # fmt: skip


class ProjectNode:
    """W&B's ``Project``."""

    is_benchmark = False
    read_only = False
    access = "PRIVATE"
    description = ""
    views = "{}"

    def __init__(self, context: Context, record: Record) -> None:
        self.record = record
        self._context = context
        self.entity_name = record.entity
        self.user = user_node(record.entity)

    def id(self) -> str:
        """The node id."""
        return encode_id("Project", "v1", self.record.name, self.record.entity)

    def internal_id(self) -> str:
        """The id that clients compare with a run's ``projectId``."""
        return encode_id("ProjectInternalId", str(self.record.id))

    def entity(self) -> Mapping[str, Any]:
        """Whom it belongs to."""
        return entity_node(self.record.entity)

    def created_at(self) -> str:
        """When it came into being."""
        return format_time(self.record.created_at)

    def run_count(self, filters: str | None = None) -> int:
        """How many runs pass a filter."""
        total: int = self.runs(filters=filters, first=0)["totalCount"]
        return total

    def runs(
        self,
        filters: str | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
        before: str | None = None,
        last: int | None = None,
    ) -> Mapping[str, Any]:
        """Runs that pass a filter, in order, page by page."""
        del before, last  # in the schema, never used by a client
        sweep_name, rest = split_sweep(parse_filters(filters))
        where = [tables.runs.c.project_id == self.record.id]
        if sweep_name is not None:
            sweep = sweeps.find_sweep(self._context.db, self.record.id, sweep_name)
            where.append(tables.runs.c.sweep_id == (sweep.id if sweep else -1))
        if not rest and order in _ORDERS_BY_AGE:
            return self._page_by_age(
                where, newest_first=_ORDERS_BY_AGE[order], first=first, after=after
            )
        return self._page_by_filter(where, rest, order=order, first=first, after=after)

    def run(self, name: str | None = None) -> RunNode | None:
        """One run by its id."""
        record = find_run(self._context.db, self.record.id, name or "")
        return RunNode(self._context, self, record) if record else None

    def bucket(self, name: str | None = None, missing_ok: bool = False) -> RunNode | None:
        """The older name of `run`; what a process that would like to resume asks for.

        A trial that was handed out and never started is nothing to resume: with W&B no such run exists.
        """
        run = self.run(name)
        is_fresh = run is not None and run.record.state == "pending" and not run.record.requeues
        return None if missing_ok and is_fresh else run

    def total_sweeps(self) -> int:
        """How many sweeps it has."""
        return len(sweeps.list_sweeps(self._context.db, self.record.id))

    def sweeps(
        self, after: str | None = None, first: int | None = None, filters: str | None = None
    ) -> Mapping[str, Any]:
        """Its sweeps, newest first."""
        if parse_filters(filters):
            raise RequestError(
                "sweeps: filters are not supported by fersweep's local server. Leave them out."
            )
        records = sweeps.list_sweeps(self._context.db, self.record.id)
        return page_of(records, lambda record: SweepNode(self._context, self, record), first, after)

    def sweep(self, sweep_name: str | None = None) -> SweepNode | None:
        """One sweep by its id."""
        record = sweeps.find_sweep(self._context.db, self.record.id, sweep_name or "")
        return SweepNode(self._context, self, record) if record else None

    def artifact_types(
        self, after: str | None = None, first: int | None = None
    ) -> Mapping[str, Any]:
        """The types of its artifacts."""
        names = artifacts.list_types(self._context.db, self.record.id)
        return page_of(names, lambda name: TypeNode(self._context, self, name), first, after)

    def artifact_type(self, name: str | None = None) -> TypeNode | None:
        """One type of its artifacts."""
        known = artifacts.list_types(self._context.db, self.record.id)
        return TypeNode(self._context, self, name) if name in known else None

    def artifact_collections(
        self,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
        filters: str | None = None,
    ) -> Mapping[str, Any]:
        """Its artifacts of every type."""
        return collections_page(self._context, self, None, first, after, order, filters)

    def artifact_collection(self, name: str | None = None) -> CollectionNode | None:
        """One artifact with all its versions."""
        record = artifacts.find_collection(self._context.db, self.record.id, name or "")
        return CollectionNode(self._context, self, record) if record else None

    def artifact(self, name: str | None = None) -> ArtifactNode | None:
        """One version of an artifact, by ``collection:alias``."""
        record = artifacts.find_by_name(self._context.db, self.record.id, name or "")
        return ArtifactNode(self._context, self, record) if record else None

    def artifact_node(self, record: Record) -> ArtifactNode:
        """An artifact of it, or one that a run of it used."""
        owner = project_by_id(self._context.db, record.project_id)
        project = self if owner.id == self.record.id else ProjectNode(self._context, owner)
        return ArtifactNode(self._context, project, record)

    def artifact_collection_membership(self, name: str | None = None) -> MembershipNode | None:
        """The same, as the place in its collection."""
        found = self.artifact(name)
        return found.membership() if found else None

    def all_views(
        self,
        view_type: str | None = None,
        view_name: str | None = None,
        after: str | None = None,
        first: int | None = None,
    ) -> Mapping[str, Any]:
        """Its reports and saved workspaces."""
        records = reports.list_views(
            self._context.db, self.record.id, kind=view_type, name=view_name
        )
        return page_of(records, lambda record: ViewNode(self, record), first, after)

    def _nodes(self, records: Sequence[Record]) -> Callable[[Record], RunNode]:
        last_events = LastEvents(self._context.db, records)
        return lambda record: RunNode(self._context, self, record, last_events)

    def _page_by_age(
        self,
        where: Sequence[sa.ColumnElement[bool]],
        *,
        newest_first: bool,
        first: int | None,
        after: str | None,
    ) -> Mapping[str, Any]:
        """The usual case, which the database answers from an index."""
        db, offset = self._context.db, parse_cursor(after)
        order = [tables.runs.c.created_at, tables.runs.c.id]
        query = (
            select_runs().where(*where).order_by(*(c.desc() if newest_first else c for c in order))
        )
        total = db.scalar(sa.select(sa.func.count()).select_from(tables.runs).where(*where)) or 0
        records = db.execute(query.offset(offset).limit(total if first is None else first)).all()
        return page(records, self._nodes(records), offset=offset, total=total)

    def _page_by_filter(
        self,
        where: Sequence[sa.ColumnElement[bool]],
        filters: Mapping[str, Any],
        *,
        order: str | None,
        first: int | None,
        after: str | None,
    ) -> Mapping[str, Any]:
        """Filters may name anything in config and summary, so each run is looked at."""
        query = select_runs().where(*where).order_by(tables.runs.c.created_at, tables.runs.c.id)
        every = [
            RunFields(record, now=self._context.now) for record in self._context.db.execute(query)
        ]
        passing = sort_runs([run for run in every if matches(run, filters)], order)
        records = [run.run for run in passing]
        return page_of(records, self._nodes(records), first, after)
