"""The operations of the schema: its queries and mutations, one method each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fer_sweep.server import agents, clients, handout, runs, sweeps
from fer_sweep.server.artifact_operations import ArtifactMutations, ArtifactQueries
from fer_sweep.server.files import RunFolder, parse_file_id
from fer_sweep.server.nodes import (
    AgentNode,
    ProjectNode,
    RunNode,
    SweepNode,
    entity_node,
    page_of,
    user_node,
)
from fer_sweep.server.projects import (
    ensure_project,
    find_project,
    list_projects,
    project_by_id,
    resolve_entity,
)
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, encode_id

Input = Mapping[str, Any]
_NEWEST_CLIENT = "9.9.9"  # clients compare it with their own version and would nag their user
_FEATURES = ("SWEEPS_LOCAL_SCHEDULER",)  # Sweep.enqueue_run, `wandb sweep-scheduler`
_SUCCESS = {"success": True, "clientMutationId": None}


class Queries(ArtifactQueries):
    """What can be read."""

    def viewer(self) -> Mapping[str, Any]:
        """Whoever asks."""
        return user_node(resolve_entity(self._context.db, None))

    def server_info(self) -> Mapping[str, Any]:
        """Few optional features are on, so that clients take their simplest paths."""
        return {
            "cliVersionInfo": {"max_cli_version": _NEWEST_CLIENT, "min_cli_version": "0.1.0"},
            "latestLocalVersionInfo": {
                "outOfDate": False,
                "latestVersionString": _NEWEST_CLIENT,
                "versionOnThisInstanceString": _NEWEST_CLIENT,
            },
            "features": [{"name": name, "isEnabled": True} for name in _FEATURES],
        }

    def entity(self, name: str | None = None) -> Mapping[str, Any]:
        """A user or team; there is only one user, who may call himself anything."""
        return entity_node(name or resolve_entity(self._context.db, None))

    def organization(self, name: str | None = None) -> Mapping[str, Any]:
        """Asked for by telemetry."""
        return {
            "id": encode_id("Organization", name or resolve_entity(self._context.db, None)),
            "name": name,
        }

    def project(
        self, name: str | None = None, entity_name: str | None = None
    ) -> ProjectNode | None:
        """One project."""
        record = find_project(self._context.db, entity_name, name)
        return ProjectNode(self._context, record) if record else None

    model = project

    def models(
        self, entity_name: str | None = None, after: str | None = None, first: int | None = None
    ) -> Mapping[str, Any]:
        """The projects of an entity."""
        records = list_projects(self._context.db, entity_name)
        return page_of(records, lambda record: ProjectNode(self._context, record), first, after)


class Mutations(ArtifactMutations):
    """What can be changed; each runs in a write transaction that an error undoes."""

    def upsert_bucket(self, given: Input) -> Mapping[str, Any]:
        """Create or change a run."""
        clients.check_config(given.get("config"))
        run, inserted = runs.upsert_run(self._db, given, now=self._now)
        return {"bucket": self._run_node(run), "inserted": inserted}

    def upsert_model(self, given: Input) -> Mapping[str, Any]:
        """Create a project."""
        inserted = find_project(self._db, given.get("entityName"), given.get("name")) is None
        record = ensure_project(self._db, given.get("entityName"), given.get("name"), now=self._now)
        project = ProjectNode(self._context, record)
        return {"project": project, "model": project, "inserted": inserted}

    def upsert_sweep(self, given: Input) -> Mapping[str, Any]:
        """Create or change a sweep."""
        sweep = sweeps.upsert_sweep(self._db, given, now=self._now)
        project = self._project_node(sweep)
        return {"sweep": SweepNode(self._context, project, sweep), "configValidationWarnings": []}

    def enqueue_sweep_run(self, given: Input) -> Mapping[str, Any]:
        """Queue a run of the caller's choice; its id, which is also that of its place in the queue."""
        sweep = sweeps.fetch_sweep(self._db, str(given.get("id")))
        config, name = str(given.get("config")), given.get("displayName")
        run = handout.enqueue(self._db, sweep, config, name, now=self._now)
        return {"id": run.name, "runQueueItemId": encode_id("RunQueueItem", run.name)}

    def create_agent(self, given: Input) -> Mapping[str, Any]:
        """Register an agent of a sweep."""
        agent = agents.create_agent(self._db, given, now=self._now)
        return {"agent": AgentNode(self._context, None, agent)}

    def agent_heartbeat(self, given: Input) -> Mapping[str, Any]:
        """Hear which runs live, answer what to do next."""
        states: dict[str, Any] = json.loads(given.get("runState") or "{}")
        alive = [name for name, lives in states.items() if lives]
        agent, commands = agents.heartbeat(self._db, str(given.get("id")), alive, now=self._now)
        return {"agent": AgentNode(self._context, None, agent), "commands": json.dumps(commands)}

    def create_run_files(self, given: Input) -> Mapping[str, Any]:
        """Give out the addresses to upload a run's files to."""
        node = self._run_by_name(
            given.get("entityName"), given.get("projectName"), given.get("runName")
        )
        files = [node.file(name) for name in given.get("files") or []]
        return {"runID": node.id(), "uploadHeaders": [], "files": files}

    def mark_run_files_uploaded(self, given: Input) -> Mapping[str, Any]:
        """Nothing to do: a file is there once it is uploaded."""
        del given
        return _SUCCESS

    def delete_files(self, given: Input) -> Mapping[str, Any]:
        """Delete files of runs."""
        for node_id in given.get("files") or []:
            folder, name = parse_file_id(self._context.store.files, node_id)
            resolve_entity(self._db, folder.entity)
            folder.locate(name).unlink(missing_ok=True)
        return _SUCCESS

    def stop_run(self, given: Input) -> Mapping[str, Any]:
        """Ask a run to stop."""
        runs.request_stop(self._db, runs.fetch_run(self._db, str(given.get("id"))))
        return _SUCCESS

    def delete_run(self, given: Input) -> Mapping[str, Any]:
        """Delete a run with its history and files; a grid sweep may hand out its cell again."""
        run = runs.fetch_run(self._db, str(given.get("id")))
        project = self._project_node(run).record
        if given.get("deleteArtifacts"):
            self.delete_logged_artifacts(run)
        RunFolder(self._context.store.files, project.entity, project.name, run.name).delete()
        runs.delete_run(self._db, run)
        return _SUCCESS

    def _run_by_name(
        self, entity: str | None, project_name: str | None, run_name: str | None
    ) -> RunNode:
        record = find_project(self._db, entity, project_name)
        run = ProjectNode(self._context, record).run(run_name) if record else None
        if run is None:
            raise RequestError(
                f"run {entity}/{project_name}/{run_name}: no such run. It may have been deleted."
            )
        return run

    def _run_node(self, run: Record) -> RunNode:
        return RunNode(self._context, self._project_node(run), run)

    def _project_node(self, child: Record) -> ProjectNode:
        return ProjectNode(self._context, project_by_id(self._db, child.project_id))
