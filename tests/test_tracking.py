"""Tracking against our real server, and the real wandb client where runs are concerned."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fer_sweep.errors import ConfigError, TrackingError
from fer_sweep.server.embedded import LocalServer
from fer_sweep.tracking import (
    EXIT_KILLED,
    AgentSession,
    Connection,
    InterruptedWaitError,
    SweepRef,
    client_environment,
    connect,
    create_sweep,
    fetch_history,
    fetch_runs,
    fetch_sweep,
    parse_sweep_ref,
    record_failure,
    start_run,
    sweep_url,
)
from fer_sweep.tracking.client import is_supported
from fer_sweep.tracking.runs import is_asked_to_stop

CONFIG = {
    "method": "grid",
    "name": "two rates",
    "metric": {"name": "best/val_accuracy", "goal": "maximize"},
    "parameters": {"learning_rate": {"values": [1e-5, 0.002]}, "seed": {"value": 0}},
}


class Answers(BaseHTTPRequestHandler):
    """Answers every POST with the next (status, body) of ``queue``; the last one stays."""

    queue: list[tuple[int, bytes]]
    asked: int

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        type(self).asked += 1
        status, body = self.queue.pop(0) if len(self.queue) > 1 else self.queue[0]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def answers() -> Iterator[tuple[str, type[Answers]]]:
    """A server that misbehaves as told."""
    handler = type("Told", (Answers,), {"queue": [], "asked": 0})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("ab12", "me/fer/ab12"),
        ("other/ab12", "me/other/ab12"),
        ("team/other/ab12", "team/other/ab12"),
        ("team/other/sweeps/ab12", "team/other/ab12"),
        ("https://wandb.ai/team/other/sweeps/ab12?nw=x", "team/other/ab12"),
        ("http://127.0.0.1:8642/local/my%20project/sweeps/ab12/", "local/my project/ab12"),
        ("local/my project/ab12", "local/my project/ab12"),
        ("http://[::1/local/fer/sweeps/ab12", None),
        ("team/../ab12", None),
        ("team/50%/ab12", None),
        ("https://wandb.ai/team/other/runs/ab12", None),
        ("a/b/c/d", None),
        ("", None),
        ("  ", None),
    ],
)
def test_a_sweep_is_named_in_any_of_its_forms(text: str, path: str | None) -> None:
    if path is None:
        with pytest.raises(ConfigError, match="entity/project/id or its URL"):
            parse_sweep_ref(text, entity="me", project="fer")
    else:
        assert parse_sweep_ref(text, entity="me", project="fer").path == path


def test_the_key_is_never_shown() -> None:
    assert "secret" not in repr(Connection("http://x", "secret", "e", "p"))


def test_connect_takes_the_keys_own_entity(local_server: LocalServer) -> None:
    assert connect(local_server.url + "/", local_server.api_key, "", "p").entity == "local"


def test_a_wrong_key_says_so(local_server: LocalServer) -> None:
    with pytest.raises(TrackingError, match=r"API key was refused .*WANDB_API_KEY"):
        connect(local_server.url, "x" * 40, "", "p")


def test_an_absent_server_says_so_within_seconds() -> None:
    begun = time.monotonic()
    with pytest.raises(
        TrackingError,
        match=r"^http://127.0.0.1:9: cannot be reached: nothing listens .*fersweep serve",
    ):
        connect("http://127.0.0.1:9", "x" * 40, "", "p")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ((200, b"<html>"), "not a W&B server"),
        ((200, b"[]"), "not a W&B server"),
        ((404, b""), "not found"),
        ((403, b""), "key was refused"),
        ((200, b'{"data": {"viewer": null}}'), "no user belongs to it"),
        ((200, b'{"errors": [{"message": "odd"}]}'), "the server refused: odd"),
    ],
)
def test_what_else_may_answer_is_explained(
    answers: tuple[str, type[Answers]], answer: tuple[int, bytes], match: str
) -> None:
    url, handler = answers
    handler.queue = [answer]
    with pytest.raises(TrackingError, match=match):
        connect(url, "x" * 40, "", "p")
    assert handler.asked == 1, "a refusal is final"


def test_a_busy_server_is_asked_again(answers: tuple[str, type[Answers]]) -> None:
    url, handler = answers
    handler.queue = [(502, b""), (429, b""), (200, b'{"data": {"viewer": {"entity": "me"}}}')]
    assert connect(url, "x" * 40, "", "p").entity == "me"
    assert handler.asked == 3


def test_a_server_that_keeps_failing_is_given_up(answers: tuple[str, type[Answers]]) -> None:
    url, handler = answers
    handler.queue = [(500, b"")]
    connection = Connection(url, "x" * 40, "me", "p")
    with pytest.raises(TrackingError, match=r"keeps failing \(HTTP 500\)"):
        connection.execute("query Q { viewer { id } }", {}, patience_s=0.5)
    assert handler.asked >= 2


def test_waiting_for_a_server_can_be_interrupted(answers: tuple[str, type[Answers]]) -> None:
    url, handler = answers
    handler.queue = [(503, b"")]
    leaving = threading.Event()
    leaving.set()
    connection = Connection(url, "x" * 40, "me", "p")
    with pytest.raises(InterruptedWaitError):
        connection.execute("query Q { viewer { id } }", {}, patience_s=600, pause=leaving.wait)


def test_a_sweep_comes_back_as_it_was_created(connection: Connection) -> None:
    sweep = create_sweep(connection, CONFIG)
    info = fetch_sweep(connection, sweep)
    assert info.config["parameters"]["learning_rate"]["values"] == [1e-5, 0.002]
    assert (info.name, info.method, info.run_count, info.expected) == ("two rates", "grid", 0, 2)
    assert (
        sweep_url(connection, sweep)
        == f"{connection.base_url}/local/fersweep/sweeps/{sweep.sweep_id}"
    )


def test_an_unknown_sweep_lists_those_there_are(connection: Connection) -> None:
    sweep = create_sweep(connection, CONFIG)
    with pytest.raises(
        TrackingError, match=rf"no such sweep. local/fersweep has: {sweep.sweep_id}"
    ):
        fetch_sweep(connection, SweepRef("local", "fersweep", "nope"))
    with pytest.raises(TrackingError, match="no project elsewhere"):
        fetch_sweep(connection, SweepRef("local", "elsewhere", sweep.sweep_id))


def test_an_agent_gets_plain_parameters_then_exit(connection: Connection) -> None:
    sweep = create_sweep(connection, {**CONFIG, "parameters": {"seed": {"values": [7]}}})
    session = AgentSession(connection, sweep)
    command = session.heartbeat(())
    assert command is not None
    assert (command.type, command.parameters) == ("run", {"seed": 7})
    record_failure(
        connection, sweep, command.run_id, exit_code=1, failure={"failure/cause": "killed"}
    )
    last = session.heartbeat(())
    assert last is not None
    assert last.type == "exit"


@pytest.fixture
def client(
    local_server: LocalServer,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The environment of a worker."""
    for name, value in client_environment(connection, tmp_path, {}).items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.slow
@pytest.mark.wandb_client
def test_runs_of_one_process_keep_their_rows_states_and_plain_best(
    connection: Connection, client: Path
) -> None:
    import wandb

    sweep = create_sweep(connection, CONFIG)
    session = AgentSession(connection, sweep)
    for exit_code in (0, EXIT_KILLED):
        command = session.heartbeat(())
        assert command is not None
        run = start_run(connection, sweep, command.run_id, command.parameters, folder=client)
        run.log({"epoch": 1, "val/loss": math.nan, "best/val_accuracy": 0.25})
        run.log({"epoch": 2, "val/loss": math.inf, "best/val_accuracy": 0.5})
        run.summarise({"params": 3})
        run.finish(exit_code)
    wandb.teardown()

    first, second = fetch_runs(connection, sweep=sweep)
    assert [first.state, second.state] == ["finished", "killed"]
    assert first.sweep_id == sweep.sweep_id
    assert first.config == {"learning_rate": 1e-5, "seed": 0}
    assert first.summary["best/val_accuracy"] == 0.5
    assert first.summary["params"] == 3
    rows = fetch_history(connection, first)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert math.isnan(rows[0]["val/loss"])
    assert rows[1]["val/loss"] == math.inf


@pytest.mark.slow
@pytest.mark.wandb_client
def test_a_lost_cell_comes_back_once_its_run_is_deleted_and_the_sweep_resumed(
    connection: Connection, client: Path
) -> None:
    import wandb

    sweep = create_sweep(connection, {**CONFIG, "parameters": {"seed": {"values": [7]}}})
    lost = AgentSession(connection, sweep).heartbeat(())
    assert lost is not None
    record_failure(
        connection, sweep, lost.run_id, exit_code=EXIT_KILLED, failure={"failure/cause": "killed"}
    )
    assert fetch_sweep(connection, sweep).state == "FINISHED"

    wandb.Api().run(f"{sweep.entity}/{sweep.project}/{lost.run_id}").delete()
    subprocess.run([sys.executable, "-m", "wandb", "sweep", "--resume", sweep.path], check=True)

    again = AgentSession(connection, sweep).heartbeat(())
    assert again is not None
    assert (again.type, again.parameters) == ("run", {"seed": 7})


def test_a_dead_processs_run_is_closed_with_its_cause(connection: Connection) -> None:
    sweep = create_sweep(connection, CONFIG)
    command = AgentSession(connection, sweep).heartbeat(())
    assert command is not None
    failure = {"failure/cause": "killed", "failure/message": "SIGKILL"}
    record_failure(connection, sweep, command.run_id, exit_code=137, failure=failure)
    (run,) = fetch_runs(connection, sweep=sweep)
    assert run.state == "failed"
    assert run.summary["failure/message"] == "SIGKILL"


def test_the_server_says_whether_a_run_is_to_stop(connection: Connection) -> None:
    sweep = create_sweep(connection, CONFIG)
    command = AgentSession(connection, sweep).heartbeat(())
    assert command is not None
    assert not is_asked_to_stop(connection, command.run_id)
    stop_run(connection, command.run_id)
    assert is_asked_to_stop(connection, command.run_id)


def stop_run(connection: Connection, run_id: str) -> None:
    query = "query Run($p: String!, $r: String!) { project(name: $p) { run(name: $r) { id } } }"
    names = {"p": connection.project, "r": run_id}
    run = connection.execute(query, names)["project"]["run"]
    mutation = "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"
    connection.execute(mutation, {"id": run["id"]})


def test_runs_are_filtered_on_the_server(connection: Connection) -> None:
    sweep = create_sweep(connection, CONFIG)
    command = AgentSession(connection, sweep).heartbeat(())
    assert command is not None
    assert [r.run_id for r in fetch_runs(connection, filters={"name": command.run_id})] == [
        command.run_id
    ]
    assert fetch_runs(connection, filters={"name": "nobody"}) == []


def test_a_workers_environment_has_the_key_and_no_stray_run_settings(tmp_path: Path) -> None:
    connection = Connection("http://x", "k" * 40, "e", "p")
    shell = {"WANDB_MODE": "offline", "WANDB_RUN_ID": "old", "PATH": "/bin"}
    env = client_environment(connection, tmp_path, shell)
    assert env["WANDB_API_KEY"] == "k" * 40
    assert env["PATH"] == "/bin"
    assert "WANDB_MODE" not in env
    assert "WANDB_RUN_ID" not in env


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"])
def test_no_proxy_stands_between_this_machine_and_itself(
    local_server: LocalServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert connect(local_server.url, local_server.api_key, "", "p").entity == "local"


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://proxy:1")
    with pytest.raises(TrackingError, match=r"proxy of this environment .* ALL_PROXY"):
        connect("https://api.wandb.ai", "x" * 40, "", "p")


def test_a_workers_client_needs_no_proxy_for_this_machine(tmp_path: Path) -> None:
    here = Connection("http://127.0.0.1:8642", "k" * 40, "e", "p")
    cloud = Connection("https://api.wandb.ai", "k" * 40, "e", "p")
    shell = {"NO_PROXY": "intranet, localhost"}
    env = client_environment(here, tmp_path, shell)
    assert env["NO_PROXY"] == env["no_proxy"] == "intranet,localhost,127.0.0.1"
    assert client_environment(cloud, tmp_path, shell)["NO_PROXY"] == "intranet, localhost"


@pytest.mark.parametrize(
    ("version", "fine"), [("0.25.9", False), ("0.26.0", True), ("0.31.9", True), ("0.32.0", False)]
)
def test_only_tested_clients_are_supported(version: str, fine: bool) -> None:
    assert is_supported(version) is fine
