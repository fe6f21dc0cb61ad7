"""The unmodified wandb client: live sweeps stopped, paused, cancelled, seeded with runs, scheduled elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import wandb

from fer_sweep.server.embedded import LocalServer
from fer_sweep.tracking import AgentSession, Command, SweepRef, connect

pytestmark = [
    pytest.mark.wandb_client,
    pytest.mark.filterwarnings(
        "ignore:Read the `app_url` setting:DeprecationWarning"
    ),  # wandb's own
]
DEADLINE_S = 60.0
BIN = Path(sys.executable).parent
# The agent as it is, but asking four times a second instead of every five seconds.
QUICK_AGENT = """
import sys
from wandb.wandb_agent import Agent
Agent.POLL_INTERVAL = 0.25
from wandb.cli.cli import cli
cli(["agent", *sys.argv[1:]])
"""
WAITING = """
import pathlib, time, wandb
with wandb.init() as run:
    run.log({"acc": run.config.lr})
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
    run.log({"acc": 2 * run.config.lr})
"""
GRID: dict[str, Any] = {
    "method": "grid",
    "program": "train.py",
    "metric": {"name": "acc", "goal": "maximize"},
    "parameters": {"lr": {"values": [0.1, 0.2]}},
}


@pytest.fixture(autouse=True)
def client(local_server: LocalServer) -> Iterator[None]:
    """wandb reads its environment once per process, so each test gets a client of its own."""
    wandb.teardown()
    yield
    wandb.teardown()
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        os.environ.pop(name, None)  # wandb.sweep leaves them set


def environment() -> dict[str, str]:
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


@contextmanager
def agent(sweep_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command-line agent of a sweep; ended, with its trial, if the test fails."""
    with subprocess.Popen(
        [sys.executable, "-c", QUICK_AGENT, f"local/faces/{sweep_id}"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def api_sweep(sweep_id: str) -> Any:
    return wandb.Api().sweep(f"local/faces/{sweep_id}")


def states(sweep_id: str) -> list[str]:
    return [run.state for run in api_sweep(sweep_id).runs]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def create(config: dict[str, Any] = GRID, **options: Any) -> str:
    return wandb.sweep(config, project="faces", **options)


def session(server: LocalServer, sweep_id: str) -> AgentSession:
    conn = connect(server.url, server.api_key, "local", "faces")
    return AgentSession(conn, SweepRef("local", "faces", sweep_id))


def log(run_id: str, **config: float) -> None:
    with wandb.init(project="faces", id=run_id, config=config, resume="allow") as run:
        run.log({"acc": config["lr"]})


@pytest.mark.slow
def test_cancel_kills_the_trial_that_runs(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(WAITING)
    sweep_id = create()
    with agent(sweep_id) as process:
        wait_until(lambda: states(sweep_id) == ["running"])
        command("sweep", "--cancel", f"local/faces/{sweep_id}")
        process.wait(DEADLINE_S)

    assert (states(sweep_id), api_sweep(sweep_id).state) == (["killed"], "CANCELED")


@pytest.mark.slow
def test_stop_lets_the_trial_that_runs_finish_and_starts_no_other(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(WAITING)
    sweep_id = create()
    with agent(sweep_id) as process:
        wait_until(lambda: states(sweep_id) == ["running"])
        command("sweep", "--stop", f"local/faces/{sweep_id}")
        (tmp_path / "go").touch()
        process.wait(DEADLINE_S)

    assert (states(sweep_id), api_sweep(sweep_id).state) == (["finished"], "FINISHED")


@pytest.mark.slow
def test_pause_hands_out_nothing_until_the_sweep_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(WAITING)
    sweep_id = create()
    with agent(sweep_id) as process:
        wait_until(lambda: states(sweep_id) == ["running"])
        command("sweep", "--pause", f"local/faces/{sweep_id}")
        (tmp_path / "go").touch()
        wait_until(lambda: states(sweep_id) == ["finished"])
        wait_until(lambda: len(api_sweep(sweep_id).agents()) == 1)
        asked_at = api_sweep(sweep_id).agents()[0]._attrs["heartbeatAt"]
        wait_until(lambda: api_sweep(sweep_id).agents()[0]._attrs["heartbeatAt"] > asked_at)
        assert states(sweep_id) == ["finished"]
        command("sweep", "--resume", f"local/faces/{sweep_id}")
        process.wait(DEADLINE_S)

    assert (states(sweep_id), api_sweep(sweep_id).state) == (["finished"] * 2, "FINISHED")


MACROS = ["${env}", "${interpreter}", "${program}", "-x", "${envvar:COLOUR}"]
PREEMPTED_ONCE = """
import json, pathlib, sys, wandb
with pathlib.Path("told.jsonl").open("a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
run = wandb.init(resume="allow")
if not run.resumed:
    run.config.update({"added": 1})
    run.mark_preempting()
    run.log({"acc": 0.1})
    run.finish(exit_code=1)
    sys.exit(1)
run.log({"acc": 0.5})
run.finish()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("macro", "arguments"),
    [
        ("${args}", ["--flag=True", "--lr=0.1", "--name=None"]),
        ("${args_no_boolean_flags}", ["--flag", "--lr=0.1", "--name=None"]),
        ("${args_json}", ['{"flag": true, "lr": 0.1, "name": null}']),
    ],
)
def test_a_preempted_trial_is_started_again_with_the_same_arguments(
    macro: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR", "red")
    (tmp_path / "train.py").write_text(PREEMPTED_ONCE)
    values = {"lr": {"value": 0.1}, "flag": {"value": True}, "name": {"value": None}}
    sweep_id = create({**GRID, "parameters": values, "command": [*MACROS, macro]})
    with agent(sweep_id) as process:
        process.wait(DEADLINE_S)

    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert [sorted(line) for line in told] == [sorted(["-x", "red", *arguments])] * 2
    (run,) = api_sweep(sweep_id).runs
    assert (run.state, run.config["added"]) == ("finished", 1)
    assert [row["acc"] for row in run.scan_history()] == [0.1, 0.5]


def test_a_pending_sweep_is_updated_from_the_command_line(tmp_path: Path) -> None:
    sweep_id = create()
    (tmp_path / "new.yaml").write_text(
        "program: train.py\nmethod: grid\nname: renamed\ndescription: wider\n"
        "parameters: {lr: {values: [1, 2, 3]}}\n"
    )
    command("sweep", "--update", f"local/faces/{sweep_id}", "new.yaml")
    found = api_sweep(sweep_id)

    assert (found.name, found.expected_run_count) == ("renamed", 3)
    assert found._attrs["description"] == "wider"


def test_prior_runs_count_as_done(local_server: LocalServer) -> None:
    log("earlier", lr=0.1)
    sweep_id = create(prior_runs=["earlier"])
    handed = session(local_server, sweep_id).heartbeat([])

    assert api_sweep(sweep_id).expected_run_count == 1
    assert handed is not None
    assert handed.parameters == {"lr": 0.2}


@pytest.mark.slow
def test_prior_runs_are_named_on_the_command_line(
    local_server: LocalServer, tmp_path: Path
) -> None:
    log("earlier", lr=0.2)
    (tmp_path / "sweep.yaml").write_text(json.dumps(GRID))
    said = command("sweep", "-p", "faces", "-R", "earlier", "sweep.yaml")
    sweep_id = said.split()[-1].rpartition("/")[2]
    agent_session = session(local_server, sweep_id)
    handed = agent_session.heartbeat([])
    assert handed is not None
    assert handed.parameters == {"lr": 0.1}
    log(handed.run_id, lr=0.1)

    assert agent_session.heartbeat([]) == Command("exit")
    with pytest.raises(wandb.errors.CommError, match="no run 'nothere'"):
        create(prior_runs=["nothere"])


def test_a_run_of_ones_own_choice_is_enqueued(local_server: LocalServer) -> None:
    sweep_id = create()
    run_id = api_sweep(sweep_id).enqueue_run({"lr": 0.15}, display_name="by hand")
    handed = session(local_server, sweep_id).heartbeat([])

    assert handed == Command("run", run_id, {"lr": 0.15})
    assert wandb.Api().run(f"local/faces/{run_id}").name == "by hand"


SCHEDULED = """
program: train.py
method: custom
scheduler: {engine: optuna}
metric: {name: acc, goal: maximize}
run_cap: 3
parameters:
  lr: {min: 0.1, max: 1.0}
"""
TRAIN = """
import wandb
with wandb.init() as run:
    run.log({"acc": run.config.lr})
"""


@pytest.mark.slow
def test_wandbs_local_scheduler_drives_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "sweep.yaml").write_text(SCHEDULED)
    said = command("sweep", "-p", "faces", "sweep.yaml")
    assert "wandb sweep-scheduler" in said
    path = next(word for word in said.split() if word.startswith("local/faces/"))
    sweep_id = path.rpartition("/")[2].strip("'\x1b[0m")
    with (
        agent(sweep_id) as process,
        subprocess.Popen(
            [BIN / "wandb", "sweep-scheduler", "--poll-interval", "0.5", f"local/faces/{sweep_id}"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as scheduler,
    ):
        said, _ = scheduler.communicate(timeout=DEADLINE_S)
        process.wait(DEADLINE_S)

    assert scheduler.returncode == 0, said
    assert states(sweep_id) == ["finished"] * 3
    assert api_sweep(sweep_id).state == "FINISHED"
