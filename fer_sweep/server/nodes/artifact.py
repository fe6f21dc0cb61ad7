"""W&B's ``Artifact`` and what is around it: collections, types, files."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from fer_sweep.server import artifacts, tables
from fer_sweep.server.blobs import BlobFolder
from fer_sweep.server.filters import parse_filters
from fer_sweep.server.nodes.context import Context, page, page_of, parse_cursor
from fer_sweep.server.nodes.run import RunNode
from fer_sweep.server.runs import select_runs
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, encode_id, format_time

if TYPE_CHECKING:
    from fer_sweep.server.nodes.project import ProjectNode

_KEEP_FOREVER = -1
"""W&B's time to live of an artifact that does not expire; ours never do."""


class ArtifactNode:
    """W&B's ``Artifact``."""

    ttl_duration_seconds = _KEEP_FOREVER
    ttl_is_inherited = True
    digest_algorithm = "MANIFEST_MD5"
    commit_hash = None

    def __init__(self, context: Context, project: ProjectNode, record: Record) -> None:
        self.record = record
        self.project = project
        self._context = context
        self.version_index = record.version
        self.artifact_type = TypeNode(context, project, record.type)

    def id(self) -> str:
        """The node id."""
        return artifacts.artifact_id(self.record)

    def created_at(self) -> str:
        """When it was logged."""
        return format_time(self.record.created_at)

    def updated_at(self) -> str:
        """When its description, metadata or tags were last changed."""
        return format_time(self.record.updated_at)

    def tags(self) -> list[Mapping[str, Any]]:
        """Its tags."""
        return [tag_node(name) for name in json.loads(self.record.tags)]

    def artifact_sequence(self) -> CollectionNode:
        """The collection that it is a version of."""
        collection = artifacts.find_collection(
            self._context.db, self.record.project_id, self.record.collection
        )
        assert collection is not None, "an artifact is deleted with its collection"
        return CollectionNode(self._context, self.project, collection)

    def aliases(self) -> list[Mapping[str, Any]]:
        """The names that it goes by now."""
        collection = self.artifact_sequence()
        return [
            alias_node(collection, name)
            for name in artifacts.list_aliases(self._context.db, self.record)
        ]

    def artifact_memberships(self) -> Mapping[str, Any]:
        """The collections that it is in: its own only, for there are no portfolios here."""
        return page_of([self.membership()], lambda node: node, None, None)

    def membership(self) -> MembershipNode:
        """Its place in its collection."""
        return MembershipNode(self)

    def created_by(self) -> RunNode | None:
        """The run that logged it."""
        query = select_runs().where(tables.runs.c.id == self.record.run_id)
        return self._run(self._context.db.execute(query).first())

    def used_by(self) -> Mapping[str, Any]:
        """The runs that used it."""
        uses = tables.artifact_uses.c
        query = select_runs().join(tables.artifact_uses, uses.run_id == tables.runs.c.id)
        query = query.where(uses.artifact_id == self.record.id).order_by(tables.runs.c.id)
        return page_of(self._context.db.execute(query).all(), self._run, None, None)

    def current_manifest(self) -> Mapping[str, Any] | None:
        """What is in it."""
        return self.manifest() if self.record.manifest_digest else None

    def manifest(self) -> Mapping[str, Any]:
        """What is in it, or the address to upload that to."""
        digest = self.record.manifest_digest
        node_id = encode_id("ArtifactManifest", str(self.record.id))
        url = self._url(digest) if digest else None
        file: dict[str, Any] = {
            "id": node_id,
            "directUrl": url,
            "uploadUrl": url,
            "uploadHeaders": [],
        }
        return {"id": node_id, "digest": digest, "file": file}

    def files(
        self,
        names: Sequence[str] | None = None,
        after: str | None = None,
        first: int | None = None,
    ) -> Mapping[str, Any]:
        """Its files, page by page."""
        db, offset = self._context.db, parse_cursor(after)
        if names:
            return page_of(
                artifacts.list_files(db, self.record, names=names), self.file, first, after
            )
        found = artifacts.list_files(db, self.record, offset=offset, limit=first)
        return page(found, self.file, offset=offset, total=self.record.file_count)

    def files_by_manifest_entries(
        self,
        entries: Sequence[Mapping[str, Any]] | None = None,
        storage_layout: str | None = None,
        manifest_version: str | None = None,
        storage_region: str | None = None,
        after: str | None = None,
        first: int | None = None,
    ) -> Mapping[str, Any]:
        """The files that some entries of its manifest stand for."""
        del storage_layout, manifest_version, storage_region  # there is only one of each here
        names = [str(entry["name"]) for entry in entries or [] if entry.get("name")]
        return self.files(names=names, after=after, first=first)

    def file(self, record: Record) -> Mapping[str, Any]:
        """W&B's ``File`` of one of its files."""
        url = record.reference or self._url(record.digest)
        return {
            "id": encode_id("ArtifactFile", str(self.record.id), record.path),
            "name": record.path,
            "displayName": record.path,
            "url": url,
            "directUrl": url,
            "sizeBytes": record.size,
            "storagePath": record.path,
            "mimetype": mimetypes.guess_type(record.path)[0] or "",
            "updatedAt": self.created_at(),
            "digest": record.digest,
            "md5": record.digest,
        }

    def upload(self, path: str, digest: str) -> Mapping[str, Any]:
        """Where to upload a file; no address if the content is here already."""
        url = None if self._blobs().has(digest) else self._url(digest)
        return {
            "id": encode_id("ArtifactFile", str(self.record.id), path),
            "name": path,
            "displayName": path,
            "storagePath": path,
            "uploadUrl": url,
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
            "artifact": self,
        }

    def _url(self, digest: str) -> str:
        return self._blobs().url(self._context.base_url, self._context.store.api_key, digest)

    def _blobs(self) -> BlobFolder:
        return BlobFolder(self._context.store.files, self.project.record.entity)

    def _run(self, record: Record | None) -> RunNode | None:
        return RunNode(self._context, self.project, record) if record else None


class MembershipNode:
    """W&B's ``ArtifactCollectionMembership``: an artifact's place in its collection."""

    def __init__(self, artifact: ArtifactNode) -> None:
        self.artifact = artifact
        self.version_index = artifact.version_index
        self.created_at = artifact.created_at
        self.aliases = artifact.aliases
        self.artifact_collection = artifact.artifact_sequence
        self.files = artifact.files

    def id(self) -> str:
        """The node id."""
        return encode_id("ArtifactCollectionMembership", str(self.artifact.record.id))


class CollectionNode:
    """W&B's ``ArtifactSequence``: the versions of one artifact."""

    __typename = "ArtifactSequence"  # which W&B's interface ArtifactCollection is here
    state = "READY"
    digest_algorithm = "MANIFEST_MD5"

    def __init__(self, context: Context, project: ProjectNode, record: Record) -> None:
        self.record = record
        self.project = project
        self._context = context
        self.default_artifact_type = TypeNode(context, project, record.type)

    def id(self) -> str:
        """The node id."""
        return artifacts.collection_id(self.record)

    def created_at(self) -> str:
        """When its first version was begun."""
        return format_time(self.record.created_at)

    updated_at = created_at

    def tags(self) -> Mapping[str, Any]:
        """Collections have no tags here."""
        return {"edges": []}

    def latest_artifact(self) -> ArtifactNode | None:
        """The newest version."""
        return self._artifact(artifacts.find_version(self._context.db, self.record, "latest"))

    def aliases(self, after: str | None = None, first: int | None = None) -> Mapping[str, Any]:
        """All aliases of all its versions."""
        columns = tables.artifact_aliases.c
        query = sa.select(columns.alias).where(columns.artifact_collection_id == self.record.id)
        names = self._context.db.scalars(query.order_by(columns.alias)).all()
        return page_of(names, lambda name: alias_node(self, name), first, after)

    def artifact_membership(self, alias_name: str | None = None) -> MembershipNode | None:
        """One version."""
        found = artifacts.find_version(self._context.db, self.record, alias_name or "latest")
        return ArtifactNode(self._context, self.project, found).membership() if found else None

    def artifacts(
        self,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
        filters: str | None = None,
    ) -> Mapping[str, Any]:
        """Its versions, newest first."""
        wanted = parse_filters(filters)
        if set(wanted) - {"state"} or wanted.get("state") not in (None, artifacts.COMMITTED):
            raise RequestError(
                f"artifact {self.record.name}: filters {filters} are not supported by fersweep's local "
                "server. Leave them out."
            )
        found = list(artifacts.list_versions(self._context.db, self.record))
        if order and not order.startswith("-"):
            found.reverse()
        paged = page_of(found, self._artifact, first, after)
        for edge in paged["edges"]:
            edge["version"] = f"v{edge['node'].record.version}"
        return paged

    def _artifact(self, record: Record | None) -> ArtifactNode | None:
        return ArtifactNode(self._context, self.project, record) if record else None


class TypeNode:
    """W&B's ``ArtifactType``: what the collections of a project have in common."""

    description = ""

    def __init__(self, context: Context, project: ProjectNode, name: str) -> None:
        self.name = name
        self._context = context
        self._project = project

    def id(self) -> str:
        """The node id."""
        return encode_id("ArtifactType", self.name)

    def created_at(self) -> str:
        """When the project was created."""
        return self._project.created_at()

    def artifact_collections(
        self,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
        filters: str | None = None,
    ) -> Mapping[str, Any]:
        """The collections of this type."""
        return collections_page(
            self._context, self._project, self.name, first, after, order, filters
        )

    def artifact_collection(self, name: str | None = None) -> CollectionNode | None:
        """One collection of this type."""
        collection = self._project.artifact_collection(name)
        return collection if collection and collection.record.type == self.name else None

    def artifact(self, name: str | None = None) -> ArtifactNode | None:
        """One version of an artifact of this type, by ``collection:alias``."""
        found = self._project.artifact(name)
        return found if found and found.record.type == self.name else None


def collections_page(
    context: Context,
    project: ProjectNode,
    kind: str | None,
    first: int | None,
    after: str | None,
    order: str | None,
    filters: str | None,
) -> Mapping[str, Any]:
    """One page of the collections of a project, or of one type of it."""
    if parse_filters(filters):
        raise RequestError(
            f"artifact collections: filters {filters} are not supported by fersweep's local server. "
            "Leave them out."
        )
    found = list(artifacts.list_collections(context.db, project.record.id, kind=kind))
    if order and order.startswith("-"):
        found.reverse()
    return page_of(found, lambda record: CollectionNode(context, project, record), first, after)


def alias_node(collection: CollectionNode, name: str) -> Mapping[str, Any]:
    """W&B's ``ArtifactAlias``."""
    return {
        "id": encode_id("ArtifactAlias", collection.record.name, name),
        "alias": name,
        "artifactCollection": collection,
    }


def tag_node(name: str) -> Mapping[str, Any]:
    """W&B's ``Tag``."""
    return {"id": encode_id("Tag", name), "name": name}
