"""How artifacts come about, change and go.

An artifact is created, gets a manifest (what is in it) and files, and is committed: only then does it get
a version number and its aliases. Content that a collection already has is not a new version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.artifacts import (
    COMMITTED,
    DELETED,
    LATEST,
    PENDING,
    VERSION,
    find_by_client_id,
    find_collection,
    list_aliases,
    list_files,
    select_artifacts,
)
from fer_sweep.server.blobs import BlobFolder
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, check_name

_MAX_SIZE = 1 << 53


def create_artifact(
    db: sa.Connection, project: Record, run: Record | None, given: Mapping[str, Any], *, now: float
) -> Record:
    """Begin a version, or find the one that has the same content already.

    Args:
        db: A write transaction.
        project: Where it goes.
        run: The run that logs it.
        given: The fields of W&B's ``CreateArtifactInput`` that the client set.
        now: The time.

    Raises:
        RequestError: If the collection has another type, or a name is not valid.
    """
    client_id = given.get("clientID")
    if client_id and (again := find_by_client_id(db, client_id)):
        return again  # the answer to the first try was lost
    collection = _ensure_collection(db, project, given, now=now)
    aliases = [str(alias.get("alias") or "") for alias in given.get("aliases") or []]
    artifact = _find_same(db, collection, given) or _insert(
        db, collection, run, given, aliases, now=now
    )
    if artifact.state == COMMITTED:
        set_aliases(db, artifact, aliases)
    if client_id:
        values = {"client_id": client_id, "artifact_id": artifact.id}
        db.execute(sa.insert(tables.artifact_clients).values(values))
    return artifact


def update_artifact(db: sa.Connection, artifact: Record, *, now: float, **values: Any) -> None:
    """Write columns of one artifact."""
    change = sa.update(tables.artifacts).where(tables.artifacts.c.id == artifact.id)
    db.execute(change.values(values | {"updated_at": now}))


def commit_artifact(db: sa.Connection, artifact: Record, blobs: BlobFolder, *, now: float) -> None:
    """Make an artifact a version of its collection: from now on it can be found and is not changed.

    Raises:
        RequestError: If its manifest or one of its files was never uploaded.
    """
    if artifact.state != PENDING:
        return  # the answer to the first try was lost
    entries = _read_manifest(artifact, blobs)
    missing = [
        path
        for path, entry in entries.items()
        if not entry.get("ref") and not blobs.has(entry["digest"])
    ]
    if missing:
        some = ", ".join(missing[:5])
        raise RequestError(
            f"artifact {artifact.collection}: {len(missing)} files were never uploaded ({some}). Log it again."
        )
    columns = tables.artifact_files.c
    db.execute(sa.delete(tables.artifact_files).where(columns.artifact_id == artifact.id))
    rows = [_file_row(artifact, path, entry) for path, entry in entries.items()]
    if rows:
        db.execute(sa.insert(tables.artifact_files), rows)
    newest = db.scalar(
        sa.select(sa.func.max(tables.artifacts.c.version)).where(
            tables.artifacts.c.artifact_collection_id == artifact.artifact_collection_id
        )
    )
    update_artifact(
        db,
        artifact,
        now=now,
        state=COMMITTED,
        version=0 if newest is None else newest + 1,
        size=sum(row["size"] for row in rows),
        file_count=len(rows),
    )
    set_aliases(db, artifact, [LATEST, *json.loads(artifact.wanted_aliases)])


def announce_file(db: sa.Connection, artifact: Record, path: str, digest: str) -> None:
    """Note that a file is about to be uploaded, so that nobody deletes the same content meanwhile."""
    columns = tables.artifact_files.c
    here = (columns.artifact_id == artifact.id) & (columns.path == path)
    db.execute(sa.delete(tables.artifact_files).where(here))
    values = {"artifact_id": artifact.id, "path": path, "digest": digest, "size": 0}
    db.execute(sa.insert(tables.artifact_files).values(values))


def set_aliases(db: sa.Connection, artifact: Record, aliases: Iterable[str]) -> None:
    """Call a version by these names too; no other version of its collection keeps them.

    Raises:
        RequestError: If a name looks like a version number.
    """
    for alias in dict.fromkeys(aliases):
        if VERSION.fullmatch(alias):
            raise RequestError(f"alias {alias!r}: reserved for version numbers. Choose another.")
        _forget_alias(db, artifact, check_name("alias", alias))
        values = {
            "artifact_collection_id": artifact.artifact_collection_id,
            "alias": alias,
            "artifact_id": artifact.id,
        }
        db.execute(sa.insert(tables.artifact_aliases).values(values))


def delete_aliases(db: sa.Connection, artifact: Record, aliases: Iterable[str]) -> None:
    """No longer call a version by these names."""
    kept = set(list_aliases(db, artifact))
    for alias in aliases:
        if alias in kept:
            _forget_alias(db, artifact, alias)


def delete_artifact(
    db: sa.Connection, artifact: Record, *, and_aliases: bool, now: float
) -> list[str]:
    """Delete a version.

    Returns:
        The digests of content that no artifact of the entity has any more.

    Raises:
        RequestError: If it still has aliases and those are not to be deleted with it.
    """
    aliases = list_aliases(db, artifact)
    if aliases and not and_aliases:
        names = ", ".join(aliases)
        raise RequestError(
            f"artifact {artifact.collection}:v{artifact.version}: still has aliases ({names}). "
            "Delete with delete_aliases=True."
        )
    digests = {file.digest for file in list_files(db, artifact) if not file.reference}
    if artifact.manifest_digest:
        digests.add(artifact.manifest_digest)
    for table in (tables.artifact_files, tables.artifact_aliases, tables.artifact_clients):
        db.execute(sa.delete(table).where(table.c.artifact_id == artifact.id))
    update_artifact(db, artifact, now=now, state=DELETED, manifest_digest=None)
    return [digest for digest in sorted(digests) if not _is_used(db, artifact, digest)]


def update_collection(db: sa.Connection, collection: Record, given: Mapping[str, Any]) -> None:
    """Rename or describe a collection.

    Raises:
        RequestError: If another collection of the project has that name.
    """
    values = {}
    if given.get("description") is not None:
        values["description"] = given["description"]
    if given.get("name") not in (None, collection.name):
        name = check_name("artifact", given["name"])
        if find_collection(db, collection.project_id, name):
            raise RequestError(f"artifact {name}: there is one already. Use another name.")
        values["name"] = name
    if values:
        columns = tables.artifact_collections.c
        change = sa.update(tables.artifact_collections).where(columns.id == collection.id)
        db.execute(change.values(values))


def delete_collection(db: sa.Connection, collection: Record, *, now: float) -> list[str]:
    """Delete a collection with all its versions; returns the digests of content that is now unused."""
    columns = tables.artifacts.c
    query = select_artifacts().where(columns.artifact_collection_id == collection.id)
    unused = [
        digest
        for artifact in db.execute(query).all()
        if artifact.state != DELETED
        for digest in delete_artifact(db, artifact, and_aliases=True, now=now)
    ]
    collections = tables.artifact_collections
    db.execute(sa.delete(collections).where(collections.c.id == collection.id))
    return unused


def note_use(db: sa.Connection, run: Record, artifact: Record) -> None:
    """Remember that a run used an artifact."""
    columns = tables.artifact_uses.c
    here = (columns.run_id == run.id) & (columns.artifact_id == artifact.id)
    if db.execute(sa.select(tables.artifact_uses).where(here)).first() is None:
        values = {"run_id": run.id, "artifact_id": artifact.id}
        db.execute(sa.insert(tables.artifact_uses).values(values))


def _ensure_collection(
    db: sa.Connection, project: Record, given: Mapping[str, Any], *, now: float
) -> Record:
    names = given.get("artifactCollectionNames") or [given.get("artifactCollectionName")]
    name = check_name("artifact", str(names[0] or ""))
    kind = check_name("artifact type", str(given.get("artifactTypeName") or ""))
    collection = find_collection(db, project.id, name)
    if collection is None:
        values = {"project_id": project.id, "name": name, "type": kind, "created_at": now}
        db.execute(sa.insert(tables.artifact_collections).values(values))
        collection = find_collection(db, project.id, name)
    assert collection is not None, "inserted in this very transaction"
    if collection.type != kind:
        raise RequestError(
            f"artifact {name}: has type {collection.type!r} (got {kind!r}). Use another name."
        )
    return collection


def _find_same(db: sa.Connection, collection: Record, given: Mapping[str, Any]) -> Record | None:
    if not given.get("enableDigestDeduplication") or not given.get("digest"):
        return None
    columns = tables.artifacts.c
    query = select_artifacts().where(
        columns.artifact_collection_id == collection.id,
        columns.state == COMMITTED,
        columns.digest == given["digest"],
    )
    return db.execute(query.order_by(columns.version.desc())).first()


def _insert(
    db: sa.Connection,
    collection: Record,
    run: Record | None,
    given: Mapping[str, Any],
    aliases: list[str],
    *,
    now: float,
) -> Record:
    values = {
        "artifact_collection_id": collection.id,
        "run_id": run.id if run else None,
        "state": PENDING,
        "digest": given.get("digest") or "",
        "description": given.get("description"),
        "metadata": given.get("metadata"),
        "tags": json.dumps([tag.get("tagName") or "" for tag in given.get("tags") or []]),
        "wanted_aliases": json.dumps(aliases),
        "history_step": given.get("historyStep"),
        "size": 0,
        "file_count": 0,
        "created_at": now,
        "updated_at": now,
    }
    inserted = db.execute(sa.insert(tables.artifacts).values(values)).inserted_primary_key
    assert inserted is not None
    return db.execute(select_artifacts().where(tables.artifacts.c.id == inserted[0])).one()


def _read_manifest(artifact: Record, blobs: BlobFolder) -> dict[str, dict[str, Any]]:
    where = f"artifact {artifact.collection}"
    if not artifact.manifest_digest:
        raise RequestError(f"{where}: has no manifest. Log it again.")
    try:
        entries = json.loads(blobs.read(artifact.manifest_digest))["contents"].items()
        problems = [path for path, entry in entries if not _is_entry(path, entry)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RequestError(
            f"{where}: its manifest is not W&B's ({error!r}).", status=400
        ) from error
    if problems:
        raise RequestError(
            f"{where}: its manifest has a wrong entry ({problems[0]!r}).", status=400
        )
    return dict(entries)


def _is_entry(path: str, entry: Mapping[str, Any]) -> bool:
    """Whether this is a file with a digest; clients write it to ``path`` in a folder of theirs."""
    path.encode()
    size, reference = entry.get("size") or 0, entry.get("ref")
    return (
        isinstance(entry["digest"], str)
        and isinstance(size, int)
        and 0 <= size <= _MAX_SIZE
        and (reference is None or isinstance(reference, str))
        and not PurePosixPath(path).is_absolute()
        and ".." not in PurePosixPath(path).parts
    )


def _file_row(artifact: Record, path: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "artifact_id": artifact.id,
        "path": path,
        "digest": entry["digest"],
        "size": int(entry.get("size") or 0),
        "reference": entry.get("ref"),
    }


def _forget_alias(db: sa.Connection, artifact: Record, alias: str) -> None:
    columns = tables.artifact_aliases.c
    here = (columns.artifact_collection_id == artifact.artifact_collection_id) & (
        columns.alias == alias
    )
    db.execute(sa.delete(tables.artifact_aliases).where(here))


def _is_used(db: sa.Connection, artifact: Record, digest: str) -> bool:
    """Whether any artifact of the same entity has this content."""
    projects = tables.projects
    entity = sa.select(projects.c.entity).where(projects.c.id == artifact.project_id)
    of_entity = (
        sa.select(tables.artifacts.c.id)
        .join_from(tables.artifacts, tables.artifact_collections)
        .join(projects, projects.c.id == tables.artifact_collections.c.project_id)
        .where(projects.c.entity == entity.scalar_subquery())
    )
    files = sa.select(tables.artifact_files.c.path).where(
        tables.artifact_files.c.digest == digest,
        tables.artifact_files.c.reference.is_(None),
        tables.artifact_files.c.artifact_id.in_(of_entity),
    )
    manifests = of_entity.where(tables.artifacts.c.manifest_digest == digest)
    return db.execute(files).first() is not None or db.execute(manifests).first() is not None
