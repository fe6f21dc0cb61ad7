"""Artifacts: versions of named collections of files, with aliases that move from version to version.

Here they are looked up; `fer_sweep.server.artifact_changes` is how they come about and go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, decode_id, encode_id

PENDING, COMMITTED, DELETED = "PENDING", "COMMITTED", "DELETED"
LATEST = "latest"
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
VERSION = re.compile(r"v(\d{1,9})")


def select_artifacts() -> sa.Select[*tuple[Any, ...]]:
    """The query for artifacts as the functions here want them: with their collection."""
    return sa.select(
        tables.artifacts,
        tables.artifact_collections.c.name.label("collection"),
        tables.artifact_collections.c.type,
        tables.artifact_collections.c.project_id,
    ).join_from(tables.artifacts, tables.artifact_collections)


def find_collection(db: sa.Connection, project_id: int, name: str) -> Record | None:
    """Look a collection up by its name within a project."""
    columns = tables.artifact_collections.c
    query = sa.select(tables.artifact_collections).where(
        columns.project_id == project_id, columns.name == name
    )
    return db.execute(query).first()


def fetch_collection(db: sa.Connection, node_id: str) -> Record:
    """Look a collection up by its node id.

    Raises:
        RequestError: If there is none.
    """
    number = _parse_id(node_id, "ArtifactCollection")
    query = sa.select(tables.artifact_collections).where(tables.artifact_collections.c.id == number)
    collection = db.execute(query).first()
    if collection is None:
        raise RequestError(f"artifact collection {number}: no such collection.")
    return collection


def list_collections(
    db: sa.Connection, project_id: int, *, kind: str | None = None
) -> Sequence[Record]:
    """The collections of a project, oldest first; those of one type only, if given."""
    columns = tables.artifact_collections.c
    query = sa.select(tables.artifact_collections).where(columns.project_id == project_id)
    if kind is not None:
        query = query.where(columns.type == kind)
    return db.execute(query.order_by(columns.id)).all()


def list_types(db: sa.Connection, project_id: int) -> list[str]:
    """The types of artifacts that a project has."""
    return sorted({record.type for record in list_collections(db, project_id)})


def list_versions(db: sa.Connection, collection: Record) -> Sequence[Record]:
    """The versions of a collection, newest first."""
    columns = tables.artifacts.c
    query = select_artifacts().where(
        columns.artifact_collection_id == collection.id, columns.state == COMMITTED
    )
    return db.execute(query.order_by(columns.version.desc())).all()


def find_version(db: sa.Connection, collection: Record, alias: str) -> Record | None:
    """Look a version up by its number (``v3``) or an alias (``latest``)."""
    columns = tables.artifacts.c
    query = select_artifacts().where(
        columns.artifact_collection_id == collection.id, columns.state == COMMITTED
    )
    if version := VERSION.fullmatch(alias):
        return db.execute(query.where(columns.version == int(version[1]))).first()
    aliased = tables.artifact_aliases.c
    query = query.join(tables.artifact_aliases, aliased.artifact_id == columns.id)
    return db.execute(query.where(aliased.alias == alias)).first()


def find_by_name(db: sa.Connection, project_id: int, name: str) -> Record | None:
    """Look a version up by ``collection:alias``; without an alias it is the latest."""
    collection_name, _, alias = name.partition(":")
    collection = find_collection(db, project_id, collection_name)
    return find_version(db, collection, alias or LATEST) if collection else None


def find_artifact(db: sa.Connection, node_id: str) -> Record | None:
    """Look an artifact up by its node id, in any state."""
    number = _parse_id(node_id, "Artifact")
    return db.execute(select_artifacts().where(tables.artifacts.c.id == number)).first()


def fetch_artifact(db: sa.Connection, node_id: str) -> Record:
    """Look an artifact up by its node id.

    Raises:
        RequestError: If there is none, or it was deleted.
    """
    artifact = find_artifact(db, node_id)
    if artifact is None or artifact.state == DELETED:
        raise RequestError(f"artifact {node_id}: no such artifact. It may have been deleted.")
    return artifact


def find_by_client_id(db: sa.Connection, client_id: str) -> Record | None:
    """Look an artifact up by the id that the client which logs it made up."""
    clients = tables.artifact_clients.c
    query = select_artifacts().join(
        tables.artifact_clients, clients.artifact_id == tables.artifacts.c.id
    )
    return db.execute(query.where(clients.client_id == client_id)).first()


def list_aliases(db: sa.Connection, artifact: Record) -> list[str]:
    """The aliases of a version; its number is not one."""
    columns = tables.artifact_aliases.c
    query = sa.select(columns.alias).where(columns.artifact_id == artifact.id)
    return list(db.scalars(query.order_by(columns.alias)))


def list_files(
    db: sa.Connection,
    artifact: Record,
    *,
    names: Iterable[str] = (),
    offset: int = 0,
    limit: int | None = None,
) -> Sequence[Record]:
    """The files of an artifact in order of their paths; only these, if names are given."""
    columns = tables.artifact_files.c
    query = sa.select(tables.artifact_files).where(columns.artifact_id == artifact.id)
    query = query.order_by(columns.path).offset(offset)
    found = db.execute(query if limit is None else query.limit(limit)).all()
    wanted = set(names)  # may be more than SQL takes in one query
    return [file for file in found if file.path in wanted] if wanted else found


def list_used(db: sa.Connection, run: Record) -> Sequence[Record]:
    """The artifacts that a run used."""
    uses = tables.artifact_uses.c
    query = select_artifacts().join(tables.artifact_uses, uses.artifact_id == tables.artifacts.c.id)
    query = query.where(uses.run_id == run.id, tables.artifacts.c.state == COMMITTED)
    return db.execute(query.order_by(tables.artifacts.c.id)).all()


def list_logged(db: sa.Connection, run: Record) -> Sequence[Record]:
    """The artifacts that a run logged."""
    columns = tables.artifacts.c
    query = select_artifacts().where(columns.run_id == run.id, columns.state == COMMITTED)
    return db.execute(query.order_by(columns.id)).all()


def artifact_id(artifact: Record) -> str:
    """The node id of an artifact."""
    return encode_id("Artifact", str(artifact.id))


def collection_id(collection: Record) -> str:
    """The node id of a collection."""
    return encode_id("ArtifactCollection", str(collection.id))


def _parse_id(node_id: str, kind: str) -> int:
    parts = decode_id(node_id)
    if len(parts) != 2 or parts[0] != kind or not _NUMBER.fullmatch(parts[1]):
        raise RequestError(f"id {node_id!r}: not the id of an {kind} of this server.")
    return int(parts[1])
