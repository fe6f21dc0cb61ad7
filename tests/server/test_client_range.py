"""One script, run by the oldest and by the newest wandb client that fersweep supports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from fer_sweep.server import clients
from fer_sweep.server.embedded import LocalServer
from fer_sweep.tracking import client as tracking_client

SCRIPT = Path(__file__).parent / "clients" / "contract.py"
OLDEST_PYTHON = Path(__file__).parents[2] / ".venv-oldest" / "bin" / "python"


@pytest.fixture(params=["oldest", "newest"])
def python(request: pytest.FixtureRequest) -> str:
    """An interpreter whose wandb is one end of the range."""
    if request.param == "newest":
        return sys.executable
    if not OLDEST_PYTHON.exists():
        assert "CI" not in os.environ, "CI tests both ends: `make unit` builds .venv-oldest"
        pytest.skip("no .venv-oldest here: `make oldest` builds it")
    return str(OLDEST_PYTHON)


def run_script(python: str) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(
        [python, str(SCRIPT)],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.wandb_client
def test_both_ends_of_the_client_range_read_back_what_they_did(
    local_server: LocalServer, python: str
) -> None:
    found = run_script(python)

    assert tracking_client.is_supported(found["version"])
    assert found["content"] == "first"
    sweep = found["sweep"]
    assert sweep["states"] == ["finished"] * 3
    assert sweep["rates"] == [0.3, 0.1, 0.2]
    assert sweep["best"] == 0.1
    assert sweep["rows"] == [[0.3, 0.6], [0.1, 0.2], [0.2, 0.4]]
    assert sweep["minimum"] == [0.3, 0.1, 0.2]
    assert sweep["deep"] == [2, 2, 2]
    assert sweep["sampled"] == [2, 2, 2]
    assert found["artifacts"] == {
        "versions": ["v1", "v0"],
        "aliases": ["latest", "second"],
        "metadata": {"content": "second"},
        "files": ["weights.pt"],
        "table": [["happy"], ["sad"]],
        "used_by": ["uses"],
        "run_files": ["output.log", "weights.pt"],
        "tags": ["model"],
        "notes": "first",
    }


def test_the_ends_tested_are_the_ends_declared() -> None:
    assert (clients.OLDEST, clients.NEWEST) == (tracking_client.OLDEST, tracking_client.NEWEST)
    if OLDEST_PYTHON.exists():
        code = "import importlib.metadata as m; print(m.version('wandb'))"
        done = subprocess.run(
            [OLDEST_PYTHON, "-c", code], check=True, capture_output=True, text=True
        )
        assert done.stdout.startswith("{}.{}.".format(*clients.OLDEST))


def ask(server: tuple[str, str], query: str, *, client: str = "", **variables: Any) -> str:
    """The error that a client gets, or nothing."""
    answer = httpx.post(
        server[0] + "/graphql",
        json={"query": query, "variables": variables},
        auth=("api", server[1]),
        headers={"user-agent": client or "wandb-core"},
    )
    assert answer.status_code == 200
    return "".join(error["message"] for error in answer.json().get("errors", []))


@pytest.fixture
def address(local_server: LocalServer) -> tuple[str, str]:
    """URL and key of the server."""
    return local_server.url, local_server.api_key


INIT = """mutation UpsertBucket($config: JSONString) {
  upsertBucket(input: {name: "old", modelName: "p", config: $config}) { inserted }
}"""


def test_a_client_known_to_fail_is_refused_with_the_fix(address: tuple[str, str]) -> None:
    config = json.dumps({"_wandb": {"value": {"cli_version": "0.19.11"}}})
    reader = "W&B Public Client 0.19.11"

    for said in (
        ask(address, INIT, config=config),
        ask(address, "{ viewer { id } }", client=reader),
    ):
        assert "wandb 0.19.11 does not work" in said
        assert "pip install 'wandb>=0.26,<0.32'" in said
    assert ask(address, '{ project(name: "p") { id } }') == ""


@pytest.mark.parametrize("version", ["0.25.1", "0.32.0", "1.0"])
def test_an_untested_client_is_served_with_a_warning(
    address: tuple[str, str], caplog: pytest.LogCaptureFixture, version: str
) -> None:
    assert ask(address, "{ viewer { id } }", client="W&B Public Client " + version) == ""
    assert f"wandb {version} was not tested" in caplog.text


@pytest.mark.parametrize("version", ["0.26.0", "0.31.4"])
def test_a_tested_client_is_served_without_a_word(
    address: tuple[str, str], caplog: pytest.LogCaptureFixture, version: str
) -> None:
    config = json.dumps({"_wandb": {"value": {"cli_version": version}}})

    assert ask(address, INIT, client="W&B Public Client " + version, config=config) == ""
    assert not caplog.records


def test_serve_prints_each_unserved_operation_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fer_sweep.cli.main", "serve", "--home", str(tmp_path / "h")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url, key = (process.stdout.readline().strip().partition("=")[2] for _ in range(2))
        for name in ("CreateTeam", "CreateTeam", "CreateUser"):
            field = name[0].lower() + name[1:]
            assert "is not served" in ask(
                (url, key), f"mutation {name} {{ {field}(input: {{}}) {{ id }} }}"
            )
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)

    refused = [line for line in told.splitlines() if "is not served" in line]
    assert len(refused) == 2
    assert '"CreateTeam" (createTeam)' in refused[0]
    assert '"CreateUser" (createUser)' in refused[1]
