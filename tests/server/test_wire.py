"""What goes over HTTP, without wandb in between: keys, refusals, the run stream, run files."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from fer_sweep.server.embedded import LocalServer, start_server
from fer_sweep.tracking import Connection, RunInfo, connect, fetch_history, fetch_runs

INIT = """mutation UpsertBucket($name: String, $host: String, $config: JSONString) {
  upsertBucket(input: {name: $name, modelName: "p", host: $host, config: $config}) {
    bucket { id name historyLineCount } inserted
  }
}"""
STATE = """query Run($name: String!) {
  project(name: "p") { run(name: $name) { state exitcode shouldStop historyKeys } }
}"""


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Iterator[LocalServer]:
    with start_server(tmp_path / "db" / "server.sqlite", clock=clock) as server:
        yield server


@pytest.fixture
def http(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, auth=("api", server.api_key), timeout=30) as client:
        yield client


@pytest.fixture
def conn(server: LocalServer) -> Connection:
    connection = connect(server.url, server.api_key, "local", "p")
    connection.execute(INIT, {"name": "ab12", "host": "here"})
    return connection


def stream(http: httpx.Client, body: dict[str, Any], run: str = "ab12") -> httpx.Response:
    return http.post(f"/files/local/p/{run}/file_stream", content=json.dumps(body))


def history(offset: int, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    lines = [json.dumps(row) for row in rows]
    return {"files": {"wandb-history.jsonl": {"offset": offset, "content": lines}}}


def run_of(conn: Connection) -> RunInfo:
    (run,) = fetch_runs(conn)
    return run


def state_of(conn: Connection, name: str = "ab12") -> str:
    return str(conn.execute(STATE, {"name": name})["project"]["run"]["state"])


@pytest.mark.parametrize("path", ["/graphql", "/files/local/p/ab12/file_stream"])
@pytest.mark.parametrize(
    "auth", [None, ("api", "0" * 40), ("api", "")], ids=["none", "wrong", "empty"]
)
def test_a_request_without_the_key_is_refused(
    server: LocalServer, path: str, auth: tuple[str, str] | None
) -> None:
    answer = httpx.post(server.url + path, json={"query": "{ viewer { id } }"}, auth=auth)

    assert answer.status_code == 401
    assert "wrong API key" in answer.json()["errors"][0]["message"]


def test_health_needs_no_key_and_a_browser_gets_a_page(server: LocalServer) -> None:
    assert httpx.get(server.url + "/healthz").json() == {"status": "ok"}

    page = httpx.get(server.url + "/local/p/runs/<script>")
    assert page.status_code == 404
    assert "Nothing here" in page.text
    assert "<script>" not in page.text


@pytest.mark.parametrize(
    "query",
    [
        'mutation LinkArtifact { linkArtifact(input: {clientID: "x"}) { versionIndex } }',
        "query LinkArtifact { registry { id } }",
    ],
    ids=["mutation", "query"],
)
def test_an_unknown_operation_is_refused_by_name_and_client(http: httpx.Client, query: str) -> None:
    answer = http.post("/graphql", json={"query": query}, headers={"user-agent": "wandb/9.9"})

    assert answer.status_code == 200  # anything from 500 on would be repeated for minutes
    message = answer.json()["errors"][0]["message"]
    assert '"LinkArtifact"' in message
    assert "client wandb/9.9" in message


def test_an_unknown_field_or_input_type_of_a_newer_client_is_null(http: httpx.Client) -> None:
    query = """query Next($x: [NextFilterInput!]!) {
      viewer { id hat: colourOfHat(of: $x) { hex } } serverInfo { features { name } }
    }"""
    answer = http.post(
        "/graphql", json={"query": query, "variables": {"x": [{"a": 1}]}, "operationName": ""}
    )

    assert answer.status_code == 200
    assert answer.json()["data"]["viewer"]["hat"] is None
    assert "errors" not in answer.json()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"not json", "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b"{}", "must have a query"),
        (b'{"query": "query {"}', "syntax error"),
        (b'{"query": "query A { viewer { id } } query B { viewer { id } }"}', "which of its"),
        (b'{"query": "query A($n: Int!) { viewer { id } }", "variables": {}}', "graphql:"),
    ],
)
def test_a_malformed_request_is_a_400_that_says_why(
    http: httpx.Client, body: bytes, said: str
) -> None:
    answer = http.post("/graphql", content=body)

    assert answer.status_code == 400
    assert said in answer.json()["errors"][0]["message"]


def test_a_bug_of_ours_is_a_400_with_its_name_and_undoes_the_mutation(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("fer_sweep.server.runs.insert_run", break_down)  # after the project is made
    answer = http.post("/graphql", json={"query": INIT, "variables": {"name": "x"}})

    assert answer.status_code == 400
    assert "internal error (ZeroDivisionError: oops)" in answer.json()["errors"][0]["message"]
    found = http.post("/graphql", json={"query": '{ project(name: "p") { id } }'})
    assert found.json()["data"]["project"] is None


def test_a_database_that_stays_locked_is_a_503_which_clients_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer_sweep.server.sqlite.BUSY_TIMEOUT_S", 0.05)
    database = tmp_path / "busy.sqlite"
    with start_server(database, port=0) as server:
        blocker = sqlite3.connect(database, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        body = {"query": INIT, "variables": {"name": "x"}}
        auth = ("api", server.api_key)
        assert httpx.post(server.url + "/graphql", json=body, auth=auth).status_code == 503
        reading = {"query": "{ models { totalCount } }"}  # readers never wait
        assert httpx.post(server.url + "/graphql", json=reading, auth=auth).status_code == 200
        blocker.execute("ROLLBACK")
        blocker.close()
        assert httpx.post(server.url + "/graphql", json=body, auth=auth).status_code == 200


@pytest.mark.parametrize("name", ["a/b", "..", "a:b", "", "x" * 129, "a\nb"])
def test_a_project_name_that_cannot_be_a_path_is_refused(http: httpx.Client, name: str) -> None:
    query = "mutation M($p: String) { upsertBucket(input: {modelName: $p, entityName: $p}) { inserted } }"
    answer = http.post("/graphql", json={"query": query, "variables": {"p": name}})

    if name == "":  # W&B's default project
        assert answer.json()["data"]["upsertBucket"]["inserted"] is True
    else:
        assert "not a valid name" in answer.json()["errors"][0]["message"]


def test_rows_sent_twice_are_stored_once(conn: Connection, http: httpx.Client) -> None:
    rows = [{"_step": i, "loss": 1.0 / (i + 1)} for i in range(4)]
    stream(http, history(0, rows[:3]))
    stream(http, history(0, rows[:3]))
    stream(http, history(2, rows[2:]))

    run = run_of(conn)
    assert run.history_rows == 4
    assert fetch_history(conn, run) == rows
    keys = conn.execute(STATE, {"name": "ab12"})["project"]["run"]["historyKeys"]
    assert keys["lastStep"] == 3
    assert keys["keys"]["loss"] == {"typeCounts": [{"type": "number", "count": 4}]}


def test_nan_and_infinity_survive(conn: Connection, http: httpx.Client) -> None:
    row = '{"_step": 0, "a": NaN, "b": Infinity, "c": -Infinity}'
    body = {
        "wandb-history.jsonl": {"offset": 0, "content": [row]},
        "wandb-summary.json": {"offset": 0, "content": [row]},
    }
    assert stream(http, {"files": body}).status_code == 200

    run = run_of(conn)
    for found in (fetch_history(conn, run)[0], run.summary):
        assert repr([found["a"], found["b"], found["c"]]) == "[nan, inf, -inf]"


def test_a_compressed_stream_is_read(conn: Connection, http: httpx.Client) -> None:
    body = gzip.compress(json.dumps(history(0, [{"_step": 0, "x": 1}])).encode())
    answer = http.post(
        "/files/local/p/ab12/file_stream", content=body, headers={"content-encoding": "gzip"}
    )

    assert answer.status_code == 200
    assert run_of(conn).history_rows == 1


def test_console_lines_are_rewritten_in_place_and_paged(
    conn: Connection, http: httpx.Client
) -> None:
    for offset, lines in ((0, ["epoch 1", "50 %"]), (1, ["100 %", "done"])):
        stream(http, {"files": {"output.log": {"offset": offset, "content": lines}}})
    query = """query L($last: Int, $first: Int, $after: String) { project(name: "p") { run(name: "ab12") {
      logLineCount
      logLines(last: $last, first: $first, after: $after) {
        edges { node { number line } } pageInfo { endCursor hasNextPage }
      }
    } } }"""

    def read(**variables: Any) -> tuple[list[str], dict[str, Any]]:
        run = conn.execute(query, variables)["project"]["run"]
        assert run["logLineCount"] == 3
        found = [edge["node"]["line"] for edge in run["logLines"]["edges"]]
        return found, run["logLines"]["pageInfo"]

    assert read(last=2)[0] == ["100 %", "done"]
    first, page = read(first=2)
    assert (first, page["hasNextPage"]) == (["epoch 1", "100 %"], True)
    assert read(first=2, after=page["endCursor"])[0] == ["done"]


def test_system_events_are_kept_apart_from_the_history(
    conn: Connection, http: httpx.Client
) -> None:
    content = ['{"system.cpu": 1}', '{"system.cpu": 2}']
    stream(http, {"files": {"wandb-events.jsonl": {"offset": 0, "content": content}}})
    query = """{ project(name: "p") { run(name: "ab12") {
      events eventsTail systemMetrics history historyTail eventsLineCount
    } } }"""

    assert conn.execute(query, {})["project"]["run"] == {
        "events": content,
        "eventsTail": json.dumps(content[1:]),
        "systemMetrics": content[1],
        "history": [],
        "historyTail": "[]",
        "eventsLineCount": 2,
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"files": {"wandb-history.jsonl": {"offset": 0, "content": ["{oops"]}}}, "row 0 is not JSON"),
        ({"files": {"wandb-history.jsonl": {"offset": 0, "content": ["3"]}}}, "row 0 is not an object"),
        ({"files": {"wandb-history.jsonl": {}}}, "not what wandb sends"),
        ({"files": {"wandb-summary.json": {"content": ["nope"]}}}, "not what wandb sends"),
        ({"files": [1]}, "not what wandb sends"),
    ],
)  # fmt: skip
def test_a_malformed_stream_is_a_400_and_changes_nothing(
    conn: Connection, http: httpx.Client, body: dict[str, Any], said: str
) -> None:
    answer = stream(http, {**body, "complete": True, "exitcode": 0})

    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert state_of(conn) == "running"


def test_a_stream_of_an_unknown_run_is_a_404(conn: Connection, http: httpx.Client) -> None:
    assert stream(http, {}, run="nobody").status_code == 404


@pytest.mark.parametrize(
    ("exit_code", "preempting", "stop", "state"),
    [
        (0, False, False, "finished"),
        (0, True, True, "finished"),
        (1, False, False, "failed"),
        (137, False, False, "failed"),
        (255, False, False, "killed"),
        (1, False, True, "killed"),
        (75, True, False, "preempted"),
    ],
)
def test_the_exit_code_decides_how_a_run_ended(
    conn: Connection, http: httpx.Client, exit_code: int, preempting: bool, stop: bool, state: str
) -> None:
    if preempting:
        stream(http, {"preempting": True})
        assert state_of(conn) == "preempting"
    if stop:
        run_id = conn.execute(INIT, {"name": "ab12"})["upsertBucket"]["bucket"]["id"]
        conn.execute(
            "mutation S($id: ID!) { stopRun(input: {id: $id}) { success } }", {"id": run_id}
        )
        assert stream(http, {}).json()["stopped"] is True
    stream(http, {"complete": True, "exitcode": exit_code})

    assert state_of(conn) == state


def test_a_silent_run_has_crashed_until_it_is_heard_of_again(
    conn: Connection, http: httpx.Client, clock: Clock
) -> None:
    clock.now += 299
    assert state_of(conn) == "running"
    clock.now += 2
    assert state_of(conn) == "crashed"

    stream(http, {})
    assert state_of(conn) == "running"


def test_a_resumed_run_starts_with_a_clean_end(conn: Connection, http: httpx.Client) -> None:
    stream(http, {"complete": True, "exitcode": 255})
    answer = conn.execute(INIT, {"name": "ab12", "host": "here"})["upsertBucket"]

    assert answer["inserted"] is False
    run = conn.execute(STATE, {"name": "ab12"})["project"]["run"]
    assert (run["state"], run["exitcode"], run["shouldStop"]) == ("running", None, False)


def test_a_late_config_update_does_not_revive_a_run(conn: Connection, http: httpx.Client) -> None:
    stream(http, {"complete": True, "exitcode": 1})
    conn.execute(INIT, {"name": "ab12", "config": '{"late": {"value": 1}}'})

    assert state_of(conn) == "failed"
    assert run_of(conn).config == {"late": 1}


FILES = """mutation F($files: [String!]!) {
  createRunFiles(input: {projectName: "p", entityName: "local", runName: "ab12", files: $files}) {
    runID uploadHeaders files { name uploadUrl sizeBytes }
  }
}"""


def test_a_file_is_uploaded_and_downloaded_by_its_address_alone(
    conn: Connection, tmp_path: Path
) -> None:
    name = "media/näme #1.txt"
    (file,) = conn.execute(FILES, {"files": [name]})["createRunFiles"]["files"]
    content = b"x" * 300_000

    assert httpx.put(file["uploadUrl"], content=content).status_code == 200
    assert httpx.get(file["uploadUrl"]).content == content
    assert (tmp_path / "db/server.sqlite.files/local/p/ab12" / name).read_bytes() == content


def test_an_address_is_good_for_its_own_file_only(conn: Connection) -> None:
    (file,) = conn.execute(FILES, {"files": ["a.txt"]})["createRunFiles"]["files"]

    assert httpx.put(file["uploadUrl"].replace("a.txt", "b.txt"), content=b"").status_code == 401
    assert httpx.get(file["uploadUrl"].partition("?")[0]).status_code == 401


@pytest.mark.parametrize("name", ["../ab13/x", "..", "/etc/passwd", "a/../../x", "a\\b", ""])
def test_no_file_name_leads_out_of_the_runs_folder(
    conn: Connection, http: httpx.Client, name: str
) -> None:
    answer = http.post("/graphql", json={"query": FILES, "variables": {"files": [name]}})

    assert answer.status_code == 400
    assert "not a file of a run" in answer.json()["errors"][0]["message"]


def test_an_encoded_way_out_of_the_runs_folder_is_refused(
    conn: Connection, http: httpx.Client, tmp_path: Path
) -> None:
    answer = http.put("/storage/local/p/ab12/%2e%2e/%2e%2e/%2e%2e/evil", content=b"x")

    assert answer.status_code in (400, 404)
    assert not list(tmp_path.rglob("evil"))
