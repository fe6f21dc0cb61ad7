"""What the newest wandb client was recorded asking for (`clients/record.py`) is served, and documented."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fer_sweep.server import graphql
from fer_sweep.server.embedded import LocalServer, start_server

ROOT = Path(__file__).parents[2]
RECORDED = sorted((ROOT / "tests" / "fixtures" / "graphql").glob("*.json"))


def load(path: Path) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(path.read_text())
    return recorded


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with start_server(tmp_path_factory.mktemp("recorded") / "server.sqlite", port=0) as server:
        yield server


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_request_is_served(server: LocalServer, path: Path) -> None:
    recorded = load(path)
    # As wandb.Api sends it: without a name. What its ids stand for is not in this database.
    body = {"query": recorded["query"], "variables": recorded["variables"], "operationName": ""}
    answer = httpx.post(server.url + "/graphql", json=body, auth=("api", server.api_key))

    assert answer.status_code in (200, 404), answer.text
    for error in answer.json().get("errors", []):
        for ours in ("not served", "internal error", "graphql:"):
            assert ours not in error["message"]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_fields_answered_with_null_are_those_known(path: Path) -> None:
    recorded = load(path)

    assert list(graphql.unserved_fields(recorded["query"])) == recorded["null"]


def test_the_recorded_requests_cover_what_a_study_does() -> None:
    known = {path.stem for path in RECORDED}

    assert len(known) >= 55
    assert {
        "UpsertBucket",
        "UpsertSweep",
        "Heartbeat",
        "Runs",
        "CommitArtifact",
        "upsertView",
    } <= known
    for path in RECORDED:
        assert load(path)["client"].startswith("wandb 0.31.")


def test_the_table_of_operations_is_not_stale() -> None:
    command = [sys.executable, str(ROOT / "docs" / "wandb_operations.py"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 0, done.stdout + done.stderr
