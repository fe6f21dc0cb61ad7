"""Runs on a W&B server: read them whole, and record what happened to one whose process is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fer_sweep.errors import TrackingError
from fer_sweep.tracking.connection import READ_PATIENCE_S, Connection
from fer_sweep.tracking.sweeps import SweepRef, app_url, plain_config

_RUNS_PER_PAGE = 200
_STEPS_PER_PAGE = 10_000
_MAX_PAGES = 20
"""Beyond this many steps the runs are somebody else's, logged per batch: the real client reads those."""

_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass(frozen=True)
class RunInfo:
    """One run as the server knows it.

    Attributes:
        entity: Owner.
        project: Its project.
        run_id: The id that never changes.
        name: The display name.
        state: W&B's word: pending, running, finished, failed, crashed, killed, …
        config: Plain values by name.
        summary: Last (or explicitly set) value of each metric; NaN and infinity kept.
        tags: In the server's order.
        notes: Free text, empty when there is none.
        history_rows: Rows the history has on the server.
        created_at: ISO time, UTC.
        heartbeat_at: ISO time of the last sign of life; empty when there was none.
        sweep_id: Empty for a run outside any sweep.
        url: Its page.
        metadata: Where it ran: host, commit, group, job_type; absent keys are unknown.
    """

    entity: str
    project: str
    run_id: str
    name: str
    state: str
    config: dict[str, Any]
    summary: dict[str, Any]
    tags: tuple[str, ...]
    notes: str
    history_rows: int
    created_at: str
    heartbeat_at: str
    sweep_id: str
    url: str
    metadata: dict[str, Any]

    @property
    def path(self) -> str:
        """``entity/project/run_id``, as W&B prints it."""
        return f"{self.entity}/{self.project}/{self.run_id}"


_RUN_FIELDS = """
  name displayName state config summaryMetrics tags notes historyLineCount createdAt heartbeatAt
  sweepName host commit group jobType
"""

_RUNS = f"""
query Runs($project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $order: String, $filters: JSONString) {{
  project(name: $project, entityName: $entity) {{
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {{
      edges {{ node {{ {_RUN_FIELDS} }} cursor }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }}
}}"""


def fetch_runs(
    conn: Connection, *, sweep: SweepRef | None = None, filters: Mapping[str, Any] | None = None
) -> list[RunInfo]:
    """Read all runs of a sweep, or of the connection's project, oldest first.

    Args:
        conn: The server; its project is used when ``sweep`` is None.
        sweep: Only its runs.
        filters: W&B's Mongo-like filters, such as ``{"state": "failed"}``.

    Raises:
        TrackingError: If the project does not exist or cannot be read.
    """
    entity = sweep.entity if sweep else conn.entity
    project = sweep.project if sweep else conn.project
    wanted = [part for part in (filters, sweep and {"sweep": sweep.sweep_id}) if part]
    variables = {
        "entity": entity,
        "project": project,
        "filters": json.dumps({"$and": wanted} if wanted else {}),
        "order": "+created_at",
        "perPage": _RUNS_PER_PAGE,
    }
    return [_run_info(conn, entity, project, node) for node in _run_nodes(conn, variables)]


def _run_nodes(conn: Connection, variables: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        found = conn.execute(_RUNS, {**variables, "cursor": cursor}).get("project")
        if found is None:
            raise TrackingError(
                f"{variables['entity']}/{variables['project']}: no such project, or your key may not see it. "
                "Check --entity and --project."
            )
        yield from (edge["node"] for edge in found["runs"]["edges"])
        page = found["runs"]["pageInfo"]
        # The cloud has been seen to answer hasNextPage with no cursor; asking again would never end.
        if not page["hasNextPage"] or page["endCursor"] in (None, cursor):
            return
        cursor = page["endCursor"]


def _run_info(conn: Connection, entity: str, project: str, node: Mapping[str, Any]) -> RunInfo:
    where = {"host": "host", "commit": "commit", "group": "group", "jobType": "job_type"}
    run_id = node["name"]
    return RunInfo(
        entity=entity,
        project=project,
        run_id=run_id,
        name=node.get("displayName") or run_id,
        state=str(node.get("state") or ""),
        config=plain_config(node.get("config")),
        summary=_finite_names(json.loads(node.get("summaryMetrics") or "{}")),
        tags=tuple(node.get("tags") or ()),
        notes=node.get("notes") or "",
        history_rows=int(node.get("historyLineCount") or 0),
        created_at=node.get("createdAt") or "",
        heartbeat_at=node.get("heartbeatAt") or "",
        sweep_id=node.get("sweepName") or "",
        url=f"{app_url(conn.base_url)}/{quote(entity)}/{quote(project)}/runs/{quote(run_id)}",
        metadata={ours: node[theirs] for theirs, ours in where.items() if node.get(theirs)},
    )


def _finite_names(row: dict[str, Any]) -> dict[str, Any]:
    """W&B's cloud writes NaN and infinity as text, since JSON has no such numbers."""
    return {
        key: _NOT_FINITE.get(value, value) if isinstance(value, str) else value
        for key, value in row.items()
    }


_LAST_STEP = """
query RunHistoryKeys($entity: String!, $project: String!, $run: String!) {
  project(name: $project, entityName: $entity) { run(name: $run) { historyKeys } }
}"""

_HISTORY = """
query HistoryPage($entity: String!, $project: String!, $run: String!, $minStep: Int64!, $maxStep: Int64!, $pageSize: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize) }
  }
}"""


def fetch_history(conn: Connection, run: RunInfo) -> list[dict[str, Any]]:
    """Read every history row of a run, oldest first, NaN and infinity kept.

    Never sampled: a window of n steps holds at most n rows, and n samples of it are asked for. Rows are
    counted against the server's own line count; where they differ (W&B moves old histories to parquet
    files), the real client reads the run instead.

    Raises:
        TrackingError: If the run does not exist any more.
    """
    names = {"entity": run.entity, "project": run.project, "run": run.run_id}
    last_step = _last_step(conn, run, names)
    pages = last_step // _STEPS_PER_PAGE + 1
    if pages > _MAX_PAGES:
        return _scan_with_client(conn, run)
    rows: list[dict[str, Any]] = []
    for page in range(pages):
        window = {"minStep": page * _STEPS_PER_PAGE, "maxStep": (page + 1) * _STEPS_PER_PAGE}
        found = _run_of(
            conn.execute(_HISTORY, {**names, **window, "pageSize": _STEPS_PER_PAGE}), run
        )
        rows += [_finite_names(json.loads(line)) for line in found["history"] or []]
    if len(rows) < run.history_rows:
        return _scan_with_client(conn, run)
    return rows


def _last_step(conn: Connection, run: RunInfo, names: Mapping[str, Any]) -> int:
    keys = _run_of(conn.execute(_LAST_STEP, names), run).get("historyKeys") or {}
    keys = json.loads(keys) if isinstance(keys, str) else keys
    return max(int(keys.get("lastStep") or 0), 0)


def _run_of(data: Mapping[str, Any], run: RunInfo) -> dict[str, Any]:
    found = (data.get("project") or {}).get("run")
    if not isinstance(found, dict):
        raise TrackingError(f"{run.path}: this run does not exist any more. Read the sweep again.")
    return found


_STOP_STATUS = """
query RunStoppedStatus($projectName: String, $entityName: String, $runId: String!) {
  project(name: $projectName, entityName: $entityName) { run(name: $runId) { stopped } }
}"""


def is_asked_to_stop(conn: Connection, run_id: str) -> bool:
    """Whether the sweep's early stopping, or a user on a page, asked this run to stop.

    Args:
        conn: The run's server, entity and project. Asked once, as the answer is needed at once.
        run_id: The run.

    Raises:
        TrackingError: If the server does not answer.
    """
    variables = {"projectName": conn.project, "entityName": conn.entity, "runId": run_id}
    found = conn.execute(_STOP_STATUS, variables, patience_s=0).get("project") or {}
    return bool((found.get("run") or {}).get("stopped"))


def _scan_with_client(conn: Connection, run: RunInfo) -> list[dict[str, Any]]:
    from fer_sweep.tracking.trial_run import scan_history

    return [_finite_names(row) for row in scan_history(conn, run.path)]


def record_failure(
    conn: Connection,
    ref: SweepRef,
    run_id: str,
    *,
    exit_code: int,
    failure: Mapping[str, Any],
    patience_s: float = READ_PATIENCE_S,
) -> None:
    """Close a run whose process is gone, as its own client would have done.

    Args:
        conn: The server.
        ref: The run's sweep.
        run_id: The run.
        exit_code: Not 0; 255 makes the state killed, anything else failed.
        failure: ``failure/cause``, ``failure/message``, … added to the run's summary.
        patience_s: Seconds to keep trying.

    Raises:
        TrackingError: If the server stays unreachable.
    """
    here = SweepRef(ref.entity, ref.project, ref.sweep_id)
    known = [
        run
        for run in fetch_runs(conn, sweep=here, filters={"name": run_id})
        if run.run_id == run_id
    ]
    # The file stream replaces the summary as a whole, so what the run logged before it died goes along.
    summary = {**(known[0].summary if known else {}), **failure}
    path = f"/files/{quote(ref.entity)}/{quote(ref.project)}/{quote(run_id)}/file_stream"
    content = {"wandb-summary.json": {"offset": 0, "content": [json.dumps(summary)]}}
    body = {"files": content, "complete": True, "exitcode": exit_code}
    conn.post(path, body, patience_s=patience_s)
