"""Artifacts over HTTP, without wandb in between: what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import httpx
import pytest

from fer_sweep.server.embedded import LocalServer

MANIFEST = {"version": 1, "contents": {"x.txt": {"digest": "1B2M2Y8AsgTpgAmY7PhCfg==", "size": 0}}}


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (MANIFEST, "1 files were never uploaded (x.txt)"),
        ({"contents": {"../x": MANIFEST["contents"]}}, "not W&B's"),
        ({"contents": {"../x": {"digest": "a", "ref": "http://x"}}}, "wrong entry ('../x')"),
        ({"contents": {"/x": {"digest": "a", "ref": "http://x"}}}, "wrong entry ('/x')"),
        ({"contents": {"x": {"digest": "a", "size": -1}}}, "wrong entry ('x')"),
        ({"contents": {"x": 1}}, "not W&B's"),
        ([], "not W&B's"),
        (None, "has no manifest"),
    ],
    ids=["missing file", "no digest", "leads up", "absolute", "size", "entry", "list", "none"],
)
def test_a_version_whose_manifest_is_wrong_never_appears(
    local_server: LocalServer, manifest: Any, said: str
) -> None:
    def ask(query: str) -> Any:
        auth = ("api", local_server.api_key)
        return httpx.post(local_server.url + "/graphql", json={"query": query}, auth=auth).json()

    made = ask(
        'mutation { createArtifact(input: {projectName: "p", artifactTypeName: "model", '
        'artifactCollectionName: "m", digest: "d"}) { artifact { id } } }'
    )
    node_id = made["data"]["createArtifact"]["artifact"]["id"]
    content = json.dumps(manifest).encode()
    digest = base64.b64encode(hashlib.md5(content).digest()).decode()
    asked = "" if manifest is None else f'digest: "{digest}"'
    created = ask(
        f'mutation {{ createArtifactManifest(input: {{artifactID: "{node_id}" {asked}}}) '
        "{ artifactManifest { file { uploadUrl } } } }"
    )
    url = created["data"]["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]
    if manifest is not None:
        assert httpx.put(url, content=content).status_code == 200
    answer = ask(
        f'mutation {{ commitArtifact(input: {{artifactID: "{node_id}"}}) {{ artifact {{ id }} }} }}'
    )

    assert said in answer["errors"][0]["message"]
    assert ask('{ project(name: "p") { artifact(name: "m:v0") { id } } }')["data"] == {
        "project": {"artifact": None}
    }
