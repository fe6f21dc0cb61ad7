"""Reports and saved workspaces, which W&B calls views: documents that only clients and pages understand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.projects import ensure_project, project_by_id
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, decode_id, encode_id

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_FIELDS = {
    "type": "type",
    "name": "name",
    "displayName": "display_name",
    "description": "description",
    "spec": "spec",
}


def find_view(db: sa.Connection, node_id: str) -> Record | None:
    """Look a view up by its node id."""
    parts = decode_id(node_id)
    if len(parts) != 2 or parts[0] != "View" or not _NUMBER.fullmatch(parts[1]):
        raise RequestError(f"report {node_id!r}: not the id of a report of this server.")
    query = sa.select(tables.views).where(tables.views.c.id == int(parts[1]))
    view = db.execute(query).first()
    if view is not None:
        project_by_id(db, view.project_id)
    return view


def fetch_view(db: sa.Connection, node_id: str) -> Record:
    """Look a view up by its node id.

    Raises:
        RequestError: If there is none.
    """
    view = find_view(db, node_id)
    if view is None:
        raise RequestError(f"report {node_id}: no such report. It may have been deleted.")
    return view


def list_views(
    db: sa.Connection, project_id: int, *, kind: str | None = None, name: str | None = None
) -> Sequence[Record]:
    """The views of a project, newest first.

    Args:
        db: A transaction.
        project_id: The project.
        kind: Only those of this type; W&B calls reports ``runs``.
        name: Only those of this name.
    """
    columns = tables.views.c
    query = sa.select(tables.views).where(columns.project_id == project_id)
    if kind:
        query = query.where(columns.type == kind)
    if name:
        query = query.where(columns.name == name)
    return db.execute(query.order_by(columns.updated_at.desc(), columns.id.desc())).all()


def upsert_view(db: sa.Connection, given: Mapping[str, Any], *, now: float) -> tuple[Record, bool]:
    """Create a view, or change the one that is there; returns it and whether it is new."""
    values = {
        column: str(given[field])
        for field, column in _FIELDS.items()
        if given.get(field) is not None
    } | {"updated_at": now}
    if given.get("id"):
        view = fetch_view(db, given["id"])
        db.execute(sa.update(tables.views).where(tables.views.c.id == view.id).values(values))
        return fetch_view(db, given["id"]), False
    project = ensure_project(db, given.get("entityName"), given.get("projectName"), now=now)
    row = {"project_id": project.id, "type": "runs", "spec": "{}", "created_at": now} | values
    inserted = db.execute(sa.insert(tables.views).values(row)).inserted_primary_key
    assert inserted is not None
    return fetch_view(db, encode_id("View", str(inserted[0]))), True


def delete_view(db: sa.Connection, view: Record) -> None:
    """Forget a view."""
    db.execute(sa.delete(tables.views).where(tables.views.c.id == view.id))
