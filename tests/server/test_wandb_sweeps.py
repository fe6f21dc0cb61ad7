"""The unmodified wandb client over real HTTP: sweeps, from Python and from its command line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from fer_sweep.server.embedded import LocalServer
from fer_sweep.tracking import AgentSession, SweepRef, connect

pytestmark = [
    pytest.mark.wandb_client,
    pytest.mark.filterwarnings(
        "ignore:Read the `app_url` setting:DeprecationWarning"
    ),  # wandb's own
]
DEADLINE_S = 60.0
BIN = Path(sys.executable).parent
TRAIN = """
import time, wandb
with wandb.init() as run:
    for epoch in range(3):
        run.log({"epoch": epoch + 1, "acc": run.config.lr * epoch})
        time.sleep(0.01)
"""
SWEEP = """
program: train.py
name: learning rates
method: grid
metric: {name: acc, goal: maximize}
parameters:
  lr: {values: [0.1, 0.2]}
"""


@pytest.fixture(autouse=True)
def client(local_server: LocalServer) -> Iterator[None]:
    """wandb reads its environment once per process, so each test gets a client of its own."""
    wandb.teardown()
    yield
    wandb.teardown()
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        os.environ.pop(name, None)  # wandb.sweep and wandb.agent leave them set


def environment() -> dict[str, str]:
    """A shell with this Python first in its path, in which wandb reports every second."""
    return os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "WANDB_SILENT": "false",
        "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
    }


def command(*args: str) -> str:
    """Run ``wandb ARGS`` as a user would; what it says."""
    done = subprocess.run(
        [BIN / "wandb", *args],
        check=False,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def api_sweep(sweep_id: str) -> Any:
    return wandb.Api().sweep(f"local/faces/{sweep_id}")


def test_a_sweep_made_in_python_is_read_back() -> None:
    config = {"method": "grid", "parameters": {"lr": {"values": [0.1, 0.2]}}, "name": "rates"}
    sweep_id = wandb.sweep(config, project="faces")
    found = api_sweep(sweep_id)

    assert (found.state, found.name, found.expected_run_count) == ("PENDING", "rates", 2)
    assert found.config["parameters"] == {"lr": {"values": [0.1, 0.2]}}
    assert len(found.runs) == 0
    sweeps = wandb.Api().project("faces", "local").sweeps()
    assert [sweep.id for sweep in sweeps] == [sweep_id]


def test_a_sweep_that_cannot_be_searched_says_why_and_is_not_created() -> None:
    config = {"method": "grid", "parameters": {"lr": {"min": 0.1, "max": 1.0}}}
    with pytest.raises(wandb.errors.CommError, match="a grid cannot enumerate it"):
        wandb.sweep(config, project="faces")

    wandb.sweep({"method": "grid", "parameters": {"lr": {"value": 1}}}, project="faces")
    assert len(wandb.Api().project("faces", "local").sweeps()) == 1


@pytest.mark.slow
def test_the_command_line_runs_a_sweep_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    said = command("sweep", "--project", "faces", "sweep.yaml")
    path = re.search(r"wandb agent (local/faces/(\w+))", said)
    assert path is not None
    command("agent", path[1])

    sweep = api_sweep(path[2])
    assert (sweep.state, sweep.name) == ("FINISHED", "learning rates")
    runs = {run.config["lr"]: run for run in sweep.runs}
    assert sorted(runs) == [0.1, 0.2]
    assert {run.state for run in runs.values()} == {"finished"}
    rows = list(sweep.runs[0].scan_history())
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert sweep.best_run().config["lr"] == 0.2
    (agent,) = sweep.agents()
    assert (agent.state, len(list(agent.runs()))) == ("FINISHED", 2)


@pytest.mark.slow
def test_a_stopped_trial_is_ended_by_the_command_lines_agent_which_goes_on(tmp_path: Path) -> None:
    endless = TRAIN.replace("range(3)", "range(3 if run.config.lr > 0.1 else 10**9)")
    (tmp_path / "train.py").write_text(endless)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    sweep_id = command("sweep", "--project", "faces", "sweep.yaml").split()[-1].rpartition("/")[2]

    with subprocess.Popen(
        [BIN / "wandb", "agent", f"local/faces/{sweep_id}"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as agent:
        first = wait_for_rows(sweep_id)
        first.stop()
        agent.wait(DEADLINE_S)

    states = {run.config["lr"]: run.state for run in api_sweep(sweep_id).runs}
    assert states == {0.1: "killed", 0.2: "finished"}
    assert len(list(first.scan_history())) > 0  # what it had logged is kept


def wait_for_rows(sweep_id: str) -> Any:
    """The sweep's first run, once it has logged something."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        runs = list(api_sweep(sweep_id).runs)
        if runs and runs[0].lastHistoryStep > 0:
            return runs[0]
        time.sleep(0.2)
    raise AssertionError("no run logged anything")


@pytest.mark.slow
@pytest.mark.filterwarnings(  # wandb leaves the sweep's config file open
    "ignore:Exception ignored in.*config-.*yaml:pytest.PytestUnraisableExceptionWarning"
)
def test_a_function_agent_runs_a_sweep_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wandb.agents.pyagent.Agent.HEARTBEAT_SLEEP_SECONDS", 0.25, raising=False)
    config = {
        "method": "random",
        "run_cap": 2,
        "metric": {"name": "acc", "goal": "maximize"},
        "parameters": {"lr": {"min": 0.1, "max": 1.0}, "opt": {"parameters": {"k": {"value": 3}}}},
    }
    sweep_id = wandb.sweep(config, project="faces")
    seen = []

    def train() -> None:
        with wandb.init() as run:
            seen.append((run.config["lr"], run.config["opt"]["k"]))
            run.log({"acc": run.config["lr"]})

    wandb.agent(sweep_id, train, project="faces")

    sweep = api_sweep(sweep_id)
    assert sweep.state == "FINISHED"
    assert [(run.config["lr"], run.config["opt"]["k"]) for run in sweep.runs] == seen
    assert len({lr for lr, _ in seen}) == 2


@pytest.mark.slow
def test_the_command_line_pauses_resumes_and_stops_a_running_sweep(
    local_server: LocalServer,
) -> None:
    config = {"method": "grid", "parameters": {"lr": {"values": [1, 2, 3]}}}
    sweep_id = wandb.sweep(config, project="faces")
    path = f"local/faces/{sweep_id}"
    conn = connect(local_server.url, local_server.api_key, "local", "faces")
    session = AgentSession(conn, SweepRef("local", "faces", sweep_id))
    assert session.heartbeat([]) is not None

    for flag, state in (
        ("--pause", "PAUSED"),
        ("--resume", "RUNNING"),
        ("--stop", "FINISHED"),
    ):
        command("sweep", flag, path)
        assert api_sweep(sweep_id).state == state
    command("sweep", "--resume", path)
    command("sweep", "--cancel", path)
    assert api_sweep(sweep_id).state == "CANCELED"
