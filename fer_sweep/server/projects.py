"""Projects: they come into being when somebody first writes to them, as with W&B.

Every object belongs to a project, and every look-up of a project passes `resolve_entity`: a transaction
that was begun for one entity (`Store.reading`, `Store.writing`) cannot reach another's.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, check_name

DEFAULT_ENTITY = "local"
DEFAULT_PROJECT = "uncategorized"
_FORBIDDEN = 403


def resolve_entity(db: sa.Connection, entity: str | None) -> str:
    """The entity that is meant: the one named, else the caller's own.

    Raises:
        RequestError: If the caller's key does not open it.
    """
    own: str | None = db.get_execution_options().get("entity")
    wanted = entity or own or DEFAULT_ENTITY
    if own is not None and wanted != own:
        raise RequestError(
            f"entity {wanted}: this API key opens only {own}. "
            f"Use a key of {wanted}, or WANDB_ENTITY={own}.",
            status=_FORBIDDEN,
        )
    return wanted


def project_by_id(db: sa.Connection, project_id: int) -> Record:
    """The project that an object belongs to.

    Raises:
        RequestError: If the caller's key does not open its entity.
    """
    project = db.execute(sa.select(tables.projects).where(tables.projects.c.id == project_id)).one()
    resolve_entity(db, project.entity)
    return project


def find_project(db: sa.Connection, entity: str | None, name: str | None) -> Record | None:
    """Look a project up; missing names mean W&B's defaults."""
    query = sa.select(tables.projects).where(
        tables.projects.c.entity == resolve_entity(db, entity),
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
            "entity": check_name("entity", resolve_entity(db, entity)),
            "name": check_name("project", name or DEFAULT_PROJECT),
            "created_at": now,
        }
        db.execute(sa.insert(tables.projects).values(values))
        project = find_project(db, entity, name)
    assert project is not None, "inserted in this very transaction"
    return project


def list_projects(db: sa.Connection, entity: str | None) -> Sequence[Record]:
    """All projects of an entity, newest first."""
    query = sa.select(tables.projects).where(tables.projects.c.entity == resolve_entity(db, entity))
    return db.execute(query.order_by(tables.projects.c.created_at.desc())).all()
