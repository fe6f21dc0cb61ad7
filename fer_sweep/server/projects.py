"""Projects: they come into being when somebody first writes to them, as with W&B."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import check_name

DEFAULT_ENTITY = "local"
DEFAULT_PROJECT = "uncategorized"


def find_project(db: sa.Connection, entity: str | None, name: str | None) -> Record | None:
    """Look a project up; missing names mean W&B's defaults."""
    query = sa.select(tables.projects).where(
        tables.projects.c.entity == (entity or DEFAULT_ENTITY),
        tables.projects.c.name == (name or DEFAULT_PROJECT),
    )
    return db.execute(query).first()


def ensure_project(
    db: sa.Connection, entity: str | None, name: str | None, *, now: float
) -> Record:
    """Look a project up, or create it.

    Raises:
        RequestError: If a name cannot be part of a URL.
    """
    project = find_project(db, entity, name)
    if project is None:
        values = {
            "entity": check_name("entity", entity or DEFAULT_ENTITY),
            "name": check_name("project", name or DEFAULT_PROJECT),
            "created_at": now,
        }
        db.execute(sa.insert(tables.projects).values(values))
        project = find_project(db, entity, name)
    assert project is not None, "inserted in this very transaction"
    return project


def list_projects(db: sa.Connection, entity: str | None) -> Sequence[Record]:
    """All projects of an entity, newest first."""
    query = sa.select(tables.projects).where(tables.projects.c.entity == (entity or DEFAULT_ENTITY))
    return db.execute(query.order_by(tables.projects.c.created_at.desc())).all()
