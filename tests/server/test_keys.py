"""Keys from `fersweep keys`: each opens one entity, and nothing opens without one."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fer_sweep.errors import ConfigError, ServerError
from fer_sweep.server.embedded import LocalServer, start_server
from fer_sweep.server.keys import KeyRing, create_key, list_keys, revoke_key
from fer_sweep.server.limits import Limits
from fer_sweep.server.store import Store

INIT = """mutation M($e: String, $n: String) {
  upsertBucket(input: {name: $n, entityName: $e, modelName: "p", host: "h"}) { bucket { id } }
}"""
FILES = """mutation F($e: String) {
  createRunFiles(input: {entityName: $e, projectName: "p", runName: "r", files: ["a.txt"]}) {
    files { id uploadUrl }
  }
}"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "db" / "server.sqlite"


@pytest.fixture
def keys(database: Path) -> dict[str, str]:
    """A key of alice and one of bob."""
    store = Store(database)
    made = {name: create_key(store, name, name, now=0)[1] for name in ("alice", "bob")}
    store.close()
    return made


@pytest.fixture
def server(database: Path, keys: dict[str, str]) -> Iterator[LocalServer]:
    with start_server(database, port=0, host="0.0.0.0") as server:
        yield server


class Client:
    """Somebody with a key."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.Client(base_url=url, auth=("api", key), timeout=30)

    def ask(self, query: str, **variables: Any) -> httpx.Response:
        return self.http.post("/graphql", json={"query": query, "variables": variables})


@pytest.fixture
def alice(server: LocalServer, keys: dict[str, str]) -> Iterator[Client]:
    client = Client(server.url, keys["alice"])
    yield client
    client.http.close()


@pytest.fixture
def bob(server: LocalServer, keys: dict[str, str]) -> Iterator[Client]:
    client = Client(server.url, keys["bob"])
    yield client
    client.http.close()


def test_a_key_is_stored_hashed_and_shown_once(database: Path, run_cli: Callable[..., Any]) -> None:
    made = run_cli("keys", "create", "--entity", "alice", "--home", str(database.parent), "--json")
    key = json.loads(made.out)["key"]

    assert len(key) == 40
    assert key.isalnum()
    assert all(key.encode() not in path.read_bytes() for path in database.parent.glob("server*"))
    listed = run_cli("keys", "list", "--home", str(database.parent))
    assert "alice" in listed.out
    assert key not in listed.out


def test_the_viewer_of_a_key_is_its_entity(alice: Client) -> None:
    answer = alice.ask("{ viewer { entity username teams { edges { node { name } } } } }")

    assert answer.json()["data"]["viewer"]["entity"] == "alice"
    assert answer.json()["data"]["viewer"]["teams"]["edges"] == [{"node": {"name": "alice"}}]


def test_what_names_no_entity_goes_to_the_keys_own(alice: Client, bob: Client) -> None:
    assert alice.ask(INIT, n="r").status_code == 200

    query = '{ project(name: "p") { entityName runs { totalCount } } }'
    found = alice.ask(query).json()["data"]["project"]
    assert found == {"entityName": "alice", "runs": {"totalCount": 1}}
    assert bob.ask(query).json()["data"]["project"] is None


def test_one_entity_can_neither_read_nor_write_another(alice: Client, bob: Client) -> None:
    run_id = alice.ask(INIT, n="r").json()["data"]["upsertBucket"]["bucket"]["id"]
    file = alice.ask(FILES).json()["data"]["createRunFiles"]["files"][0]
    assert httpx.put(file["uploadUrl"], content=b"secret").status_code == 200
    sweep = """mutation { upsertSweep(input: {projectName: "p",
      config: "{method: random, parameters: {a: {min: 0.0, max: 1.0}}}"}) { sweep { id name } } }"""
    made = alice.ask(sweep).json()["data"]["upsertSweep"]["sweep"]
    agent = alice.ask(
        'mutation($s: String) { createAgent(input: {sweep: $s, projectName: "p"}) { agent { id } } }',
        s=made["name"],
    ).json()["data"]["createAgent"]["agent"]["id"]
    artifact = alice.ask(
        """mutation { createArtifact(input: {projectName: "p", artifactTypeName: "t", digest: "d",
        artifactCollectionName: "c", clientID: "x"}) { artifact { id artifactSequence { id } } } }"""
    ).json()["data"]["createArtifact"]["artifact"]
    view = alice.ask(
        'mutation { upsertView(input: {projectName: "p", name: "v", spec: "{}"}) { view { id } } }'
    ).json()["data"]["upsertView"]["view"]["id"]
    plain = file["uploadUrl"].partition("?")[0]
    tries = [
        bob.ask('query($e: String) { project(name: "p", entityName: $e) { id } }', e="alice"),
        bob.ask('{ models(entityName: "alice") { totalCount } }'),
        bob.ask(INIT, e="alice", n="mine"),
        bob.ask("mutation($i: ID!) { deleteRun(input: {id: $i}) { success } }", i=run_id),
        bob.ask("mutation($i: ID!) { stopRun(input: {id: $i}) { success } }", i=run_id),
        bob.ask('mutation($i: ID!) { upsertBucket(input: {id: $i, notes: "x"}) { inserted } }', i=run_id),
        bob.ask(FILES, e="alice"),
        bob.ask("mutation($f: [ID!]) { deleteFiles(input: {files: $f}) { success } }", f=[file["id"]]),
        bob.ask('mutation($i: ID!) { upsertSweep(input: {id: $i, state: "CANCELED"}) { sweep { id } } }', i=made["id"]),
        bob.ask("mutation($i: ID!) { agentHeartbeat(input: {id: $i}) { commands } }", i=agent),
        bob.ask('mutation($i: ID!) { enqueueSweepRun(input: {id: $i, config: "{}"}) { id } }', i=made["id"]),
        bob.ask("query($i: ID!) { artifact(id: $i) { digest } }", i=artifact["id"]),
        bob.ask("query($i: ID!) { artifactCollection(id: $i) { name } }", i=artifact["artifactSequence"]["id"]),
        bob.ask('{ clientIDMapping(clientID: "x") { serverID } }'),
        bob.ask("mutation($i: ID!) { commitArtifact(input: {artifactID: $i}) { artifact { id } } }", i=artifact["id"]),
        bob.ask('mutation($i: ID!) { updateArtifact(input: {artifactID: $i, description: "x"}) { artifact { id } } }', i=artifact["id"]),
        bob.ask("mutation($i: ID!) { deleteArtifact(input: {artifactID: $i}) { artifact { id } } }", i=artifact["id"]),
        bob.ask("mutation($i: ID!) { deleteArtifactSequence(input: {artifactSequenceID: $i}) { artifactCollection { state } } }", i=artifact["artifactSequence"]["id"]),
        bob.ask("query($i: ID!) { view(id: $i) { name } }", i=view),
        bob.ask('mutation($i: ID!) { upsertView(input: {id: $i, spec: "x"}) { inserted } }', i=view),
        bob.ask("mutation($i: ID!) { deleteView(input: {id: $i}) { success } }", i=view),
        bob.http.post("/files/alice/p/r/file_stream", json={"complete": True, "exitcode": 0}),
        bob.http.put(plain, content=b"mine"),
        bob.http.get(plain),
    ]  # fmt: skip

    for number, answer in enumerate(tries):
        assert answer.status_code == 403, (number, answer.text)
        assert "opens only bob" in answer.text, number
    assert alice.http.get(plain).content == b"secret"
    state = alice.ask(
        '{ project(name: "p") { run(name: "r") { state notes } runs { totalCount } } }'
    )
    assert state.json()["data"]["project"] == {
        "run": {"state": "running", "notes": None},
        "runs": {"totalCount": 1},
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/graphql"),
        ("POST", "/files/alice/p/r/file_stream"),
        ("PUT", "/storage/alice/p/r/a.txt"),
        ("PUT", "/storage/alice/p/r/a.txt?signature=" + "0" * 32),
        ("GET", "/storage/alice/p/r/a.txt"),
    ],
)
@pytest.mark.parametrize(
    "key", [None, "", "x" * 40, "é" * 40], ids=["none", "empty", "wrong", "odd"]
)
def test_nothing_opens_without_a_key(
    server: LocalServer, method: str, path: str, key: str | None
) -> None:
    auth = None if key is None else ("api", key)
    answer = httpx.request(method, server.url + path, content=b"{}", auth=auth)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_a_revoked_key_no_longer_works(database: Path, keys: dict[str, str]) -> None:
    store = Store(database)
    now = [0.0]
    ring = KeyRing(store, lambda: now[0])
    assert ring.entity_of(keys["alice"]) == "alice"

    revoke_key(store, "alice", now=5)
    now[0] += 3.0

    assert ring.entity_of(keys["alice"]) is None
    assert ring.entity_of(keys["bob"]) == "bob"
    assert [key.revoked_at for key in list_keys(store)] == [5, None]
    with pytest.raises(ConfigError, match=r"no such key.*2 \(bob, bob\)"):
        revoke_key(store, "alice", now=6)
    store.close()


def test_the_databases_own_key_works_only_on_this_machine(server: LocalServer) -> None:
    """A proxy on this machine forwards other machines' requests; it says so."""
    body = {"query": "{ viewer { entity } }"}
    auth = ("api", server.api_key)
    assert httpx.post(server.url + "/graphql", json=body, auth=auth).status_code == 200

    for header in ("x-forwarded-for", "forwarded", "x-real-ip"):
        answer = httpx.post(
            server.url + "/graphql", json=body, auth=auth, headers={header: "192.0.2.7"}
        )
        assert answer.status_code == 401, header


def test_beyond_this_machine_a_key_must_exist(tmp_path: Path) -> None:
    for options in ({"host": "0.0.0.0"}, {"public_url": "https://lab.example"}):
        with pytest.raises(ServerError, match="fersweep keys create --entity NAME"):
            start_server(tmp_path / "new.sqlite", port=0, **options)  # type: ignore[arg-type]


def test_guessing_keys_is_slowed_down_and_nobody_else_is(
    server: LocalServer, alice: Client
) -> None:
    with httpx.Client(base_url=server.url) as stranger:
        answers = [stranger.post("/graphql", auth=("api", f"{i:040}")) for i in range(200)]

    codes = [answer.status_code for answer in answers]
    assert codes[0] == 401
    assert codes[-1] == 429
    assert answers[-1].headers["retry-after"] == "1"
    assert alice.ask("{ viewer { id } }").status_code == 200


def test_one_key_cannot_take_all_the_servers_time(database: Path, keys: dict[str, str]) -> None:
    with start_server(database, port=0, limits=Limits(requests_per_s=1.0)) as server:
        alice, bob = Client(server.url, keys["alice"]), Client(server.url, keys["bob"])
        codes = [alice.ask("{ viewer { id } }").status_code for _ in range(30)]

        assert codes[:5] == [200] * 5
        assert codes[-1] == 429  # which wandb repeats later
        assert bob.ask("{ viewer { id } }").status_code == 200
        local = Client(server.url, server.api_key)
        assert [local.ask("{ viewer { id } }").status_code for _ in range(30)] == [200] * 30
        for client in (alice, bob, local):
            client.http.close()


@pytest.mark.slow
@pytest.mark.wandb_client
def test_the_real_client_logs_with_a_key_of_its_own(
    server: LocalServer, keys: dict[str, str], tmp_path: Path
) -> None:
    script = """
import wandb
with wandb.init(project="p") as run:
    run.log({"loss": 0.5})
    (open("note.txt", "w")).write("hello")
    run.save("note.txt")
print(run.entity, wandb.Api().run(run.path).summary["loss"])
"""
    env = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": keys["alice"]}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=tmp_path, text=True, capture_output=True, check=True,
        timeout=60,
    )  # fmt: skip

    assert done.stdout.split()[-2:] == ["alice", "0.5"]
    database = tmp_path / "db" / "server.sqlite"
    rows = sqlite3.connect(database).execute("SELECT entity, name FROM projects").fetchall()
    assert rows == [("alice", "p")]
