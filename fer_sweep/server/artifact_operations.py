"""The operations on artifacts, reports and alerts: a part of `fer_sweep.server.operations`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fer_sweep.server import alerts, artifact_changes, artifacts, reports
from fer_sweep.server.blobs import BlobFolder
from fer_sweep.server.nodes import ArtifactNode, CollectionNode, Context, ProjectNode, ViewNode
from fer_sweep.server.projects import ensure_project, find_project, project_by_id
from fer_sweep.server.runs import find_run
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, decode_id, encode_id

Input = Mapping[str, Any]
_WHOLE = "FULL"
_SUCCESS = {"success": True, "clientMutationId": None}


class ArtifactQueries:
    """What can be read of artifacts and reports by id."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def artifact(self, id: str | None = None) -> ArtifactNode | None:
        """One artifact."""
        record = artifacts.find_artifact(self._context.db, id or "")
        return artifact_node(self._context, record) if record else None

    def artifact_collection(self, id: str | None = None) -> CollectionNode:
        """One artifact with all its versions."""
        record = artifacts.fetch_collection(self._context.db, id or "")
        return CollectionNode(self._context, project_node(self._context, record), record)

    def client_id_mapping(self, client_id: str | None = None) -> Mapping[str, Any] | None:
        """What an artifact is called here that a client names by an id of its own."""
        record = artifacts.find_by_client_id(self._context.db, client_id or "")
        return {"serverID": artifact_node(self._context, record).id()} if record else None

    def view(self, id: str | None = None) -> ViewNode | None:
        """One report."""
        record = reports.find_view(self._context.db, id or "")
        return ViewNode(project_node(self._context, record), record) if record else None


class ArtifactMutations:
    """What can be changed of artifacts and reports."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.db
        self._now = context.now

    def create_artifact(self, given: Input) -> Mapping[str, Any]:
        """Begin a version of an artifact."""
        if given.get("distributedID"):
            raise RequestError(
                "artifact: versions that several runs write together (Run.upsert_artifact) are not "
                "supported by fersweep's local server. Let one run log it with Run.log_artifact."
            )
        project = ensure_project(
            self._db, given.get("entityName"), given.get("projectName"), now=self._now
        )
        run = find_run(self._db, project.id, given["runName"]) if given.get("runName") else None
        record = artifact_changes.create_artifact(self._db, project, run, given, now=self._now)
        return {"artifact": artifact_node(self._context, record)}

    def create_artifact_manifest(self, given: Input) -> Mapping[str, Any]:
        """Say what will be in a version."""
        if given.get("type") not in (None, _WHOLE):
            raise RequestError(
                f"artifact: a manifest of type {given['type']} is not supported by fersweep's local "
                "server. Log the artifact as a whole, with incremental=False."
            )
        return self._set_manifest(str(given.get("artifactID")), given)

    def update_artifact_manifest(self, given: Input) -> Mapping[str, Any]:
        """Say what is in a version, now that its files are uploaded."""
        kind, number = _manifest_id(str(given.get("artifactManifestID")))
        return self._set_manifest(encode_id(kind, number), given)

    def create_artifact_files(self, given: Input) -> Mapping[str, Any]:
        """Give out the addresses to upload a version's files to."""
        edges = []
        for file in given.get("artifactFiles") or []:
            node = self._artifact(file.get("artifactID"))
            name, digest = str(file.get("name") or ""), str(file.get("md5") or "")
            _check_pending(node.record)
            artifact_changes.announce_file(self._db, node.record, name, digest)
            edges.append({"node": node.upload(name, digest)})
        return {"files": {"edges": edges}}

    def commit_artifact(self, given: Input) -> Mapping[str, Any]:
        """Make a version findable."""
        node = self._artifact(given.get("artifactID"))
        artifact_changes.commit_artifact(
            self._db, node.record, self._blobs(node.project), now=self._now
        )
        return {"artifact": self._artifact(given.get("artifactID"))}

    def use_artifact(self, given: Input) -> Mapping[str, Any]:
        """Remember that a run used a version."""
        node = self._artifact(given.get("artifactID"))
        artifact_changes.note_use(self._db, self._run(given), node.record)
        return {"artifact": node}

    def update_artifact(self, given: Input) -> Mapping[str, Any]:
        """Change the description, metadata, tags or aliases of a version."""
        node = self._artifact(given.get("artifactID"))
        texts = ("description", "metadata")
        values = {name: given[name] for name in texts if given.get(name) is not None}
        gone = _tag_names(given.get("tagsToDelete"))
        tags = [tag for tag in json.loads(node.record.tags) if tag not in gone]
        tags = list(dict.fromkeys(tags + _tag_names(given.get("tagsToAdd"))))
        artifact_changes.update_artifact(
            self._db, node.record, now=self._now, tags=json.dumps(tags), **values
        )
        if given.get("aliases") is not None:
            _replace_aliases(self._context, node, _alias_names(given))
        return {"artifact": self._artifact(given.get("artifactID"))}

    def add_aliases(self, given: Input) -> Mapping[str, Any]:
        """Call a version by more names."""
        node = self._artifact(given.get("artifactID"))
        artifact_changes.set_aliases(self._db, node.record, _alias_names(given))
        return _SUCCESS

    def delete_aliases(self, given: Input) -> Mapping[str, Any]:
        """No longer call a version by some names."""
        node = self._artifact(given.get("artifactID"))
        artifact_changes.delete_aliases(self._db, node.record, _alias_names(given))
        return _SUCCESS

    def delete_artifact(self, given: Input) -> Mapping[str, Any]:
        """Delete a version, and content that no other has."""
        node = self._artifact(given.get("artifactID"))
        unused = artifact_changes.delete_artifact(
            self._db, node.record, and_aliases=bool(given.get("deleteAliases")), now=self._now
        )
        self._delete_blobs(node.project, unused)
        return {"artifact": node, "success": True}

    def update_artifact_sequence(self, given: Input) -> Mapping[str, Any]:
        """Rename or describe an artifact with all its versions."""
        node_id = str(given.get("artifactSequenceID"))
        artifact_changes.update_collection(
            self._db, artifacts.fetch_collection(self._db, node_id), given
        )
        record = artifacts.fetch_collection(self._db, node_id)
        project = project_node(self._context, record)
        return {"artifactCollection": CollectionNode(self._context, project, record)}

    def delete_artifact_sequence(self, given: Input) -> Mapping[str, Any]:
        """Delete an artifact with all its versions."""
        record = artifacts.fetch_collection(self._db, str(given.get("artifactSequenceID")))
        project = project_node(self._context, record)
        unused = artifact_changes.delete_collection(self._db, record, now=self._now)
        self._delete_blobs(project, unused)
        gone = {"__typename": "ArtifactSequence", "state": artifacts.DELETED}
        return {"artifactCollection": gone}

    def delete_logged_artifacts(self, run: Record) -> None:
        """Delete every version that a run logged."""
        for record in artifacts.list_logged(self._db, run):
            node = artifact_node(self._context, record)
            unused = artifact_changes.delete_artifact(
                self._db, record, and_aliases=True, now=self._now
            )
            self._delete_blobs(node.project, unused)

    def upsert_view(self, given: Input) -> Mapping[str, Any]:
        """Save a report."""
        view, inserted = reports.upsert_view(self._db, given, now=self._now)
        return {"view": ViewNode(project_node(self._context, view), view), "inserted": inserted}

    def delete_view(self, given: Input) -> Mapping[str, Any]:
        """Delete a report."""
        reports.delete_view(self._db, reports.fetch_view(self._db, str(given.get("id"))))
        return _SUCCESS | {"pendingDrafts": []}

    def notify_scriptable_run_alert(self, given: Input) -> Mapping[str, Any]:
        """Keep an alert of a run."""
        return {"success": alerts.add_alert(self._db, self._run(given), given, now=self._now)}

    def _artifact(self, node_id: Any) -> ArtifactNode:
        return artifact_node(self._context, artifacts.fetch_artifact(self._db, str(node_id)))

    def _run(self, given: Input) -> Record:
        names = given.get("entityName"), given.get("projectName"), given.get("runName")
        project = find_project(self._db, names[0], names[1])
        run = project and find_run(self._db, project.id, str(names[2]))
        if not run:
            path = "/".join(str(name) for name in names)
            raise RequestError(f"run {path}: no such run. It may have been deleted.")
        return run

    def _set_manifest(self, node_id: str, given: Input) -> Mapping[str, Any]:
        node = self._artifact(node_id)
        _check_pending(node.record)
        artifact_changes.update_artifact(
            self._db, node.record, now=self._now, manifest_digest=given.get("digest") or None
        )
        return {"artifactManifest": self._artifact(node_id).manifest()}

    def _blobs(self, project: ProjectNode) -> BlobFolder:
        return BlobFolder(self._context.store.files, project.record.entity)

    def _delete_blobs(self, project: ProjectNode, digests: Sequence[str]) -> None:
        for digest in digests:
            self._blobs(project).delete(digest)


def artifact_node(context: Context, record: Record) -> ArtifactNode:
    """An artifact as clients see it; refused if the caller's key does not open its entity."""
    return ArtifactNode(context, project_node(context, record), record)


def project_node(context: Context, child: Record) -> ProjectNode:
    """The project that something belongs to; refused if the caller's key does not open its entity."""
    return ProjectNode(context, project_by_id(context.db, child.project_id))


def _manifest_id(node_id: str) -> tuple[str, str]:
    parts = decode_id(node_id)
    if len(parts) != 2 or parts[0] != "ArtifactManifest":
        raise RequestError(f"id {node_id!r}: not the id of a manifest of this server.")
    return "Artifact", parts[1]


def _check_pending(artifact: Record) -> None:
    if artifact.state != artifacts.PENDING:
        raise RequestError(
            f"artifact {artifact.collection}:v{artifact.version}: is committed and cannot change. "
            "Log a new version."
        )


def _tag_names(tags: Sequence[Input] | None) -> list[str]:
    return [str(tag.get("tagName") or "") for tag in tags or []]


def _alias_names(given: Input) -> list[str]:
    return [str(alias.get("alias") or "") for alias in given.get("aliases") or []]


def _replace_aliases(context: Context, node: ArtifactNode, names: Sequence[str]) -> None:
    old = artifacts.list_aliases(context.db, node.record)
    gone = [name for name in old if name not in names]
    artifact_changes.delete_aliases(context.db, node.record, gone)
    artifact_changes.set_aliases(context.db, node.record, names)
