"""Artifacts over HTTP, without wandb in between: what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from fer_sweep.server.embedded import LocalServer, start_server
from fer_sweep.server.keys import create_key
from fer_sweep.server.store import Store

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


CREATE = """mutation C($e: String) { createArtifact(input: {entityName: $e, projectName: "p",
  artifactTypeName: "model", artifactCollectionName: "m", clientID: "c", digest: "d"}) { artifact { id } } }"""
MANIFEST_OF = """mutation C($id: ID) { createArtifactManifest(input: {artifactID: $id,
  digest: "1B2M2Y8AsgTpgAmY7PhCfg=="}) { artifactManifest { file { uploadUrl } } } }"""
REPORT = """mutation V($e: String, $id: ID) { upsertView(input: {entityName: $e, projectName: "p", id: $id,
  spec: "{}"}) { view { id } } }"""


def test_a_key_opens_no_artifact_or_report_of_another_entity(tmp_path: Path) -> None:
    database = tmp_path / "server.sqlite"
    store = Store(database)
    keys = {name: create_key(store, name, name, now=0)[1] for name in ("alice", "bob")}
    store.close()
    with start_server(database, port=0) as server:

        def ask(who: str, query: str, **variables: Any) -> Any:
            body = {"query": query, "variables": variables}
            return httpx.post(server.url + "/graphql", json=body, auth=("api", keys[who])).json()

        artifact = ask("alice", CREATE, e="alice")["data"]["createArtifact"]["artifact"]["id"]
        manifest = ask("alice", MANIFEST_OF, id=artifact)["data"]["createArtifactManifest"]
        url = manifest["artifactManifest"]["file"]["uploadUrl"]
        assert httpx.put(url, content=b"").status_code == 200
        view = ask("alice", REPORT, e="alice")["data"]["upsertView"]["view"]["id"]

        for answer in (
            ask("bob", CREATE, e="alice"),
            ask("bob", MANIFEST_OF, id=artifact),
            ask("bob", "query Q($id: ID) { artifact(id: $id) { digest } }", id=artifact),
            ask("bob", 'query Q { clientIDMapping(clientID: "c") { serverID } }'),
            ask("bob", "query Q($id: ID) { view(id: $id) { spec } }", id=view),
            ask("bob", REPORT, id=view),
            ask("bob", "mutation D($id: ID) { deleteView(input: {id: $id}) { success } }", id=view),
        ):
            assert "this API key opens only bob" in answer["errors"][0]["message"]
        path = url.partition("?")[0]
        assert httpx.get(path, auth=("api", keys["alice"])).status_code == 200
        assert httpx.get(path, auth=("api", keys["bob"])).status_code == 403
        assert (
            httpx.get(path.replace("/alice/", "/bob/"), auth=("api", keys["bob"])).status_code
            == 404
        )
