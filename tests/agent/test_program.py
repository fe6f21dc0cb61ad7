"""The program of a plain ``wandb agent`` as a process, around the stub trainer, on our real server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_sweep.tracking import (
    AgentSession,
    Connection,
    SweepRef,
    client_environment,
    create_sweep,
    fetch_runs,
)

pytestmark = [pytest.mark.slow, pytest.mark.wandb_client]

STUB_PROGRAM = """
import sys
from stub_worker import StubTrainer
from fer_sweep.agent.program import main
sys.exit(main(load=StubTrainer))
"""


def start_program(connection: Connection, sweep: SweepRef, folder: Path) -> subprocess.Popen[bytes]:
    """Take a trial and start it, as ``wandb agent`` does."""
    command = AgentSession(connection, sweep).heartbeat(())
    assert command is not None
    (folder / "parameters.yaml").write_text("wandb_version: 1\nepochs: {value: 500}\n")
    env = client_environment(connection, folder, os.environ) | {
        "PYTHONPATH": str(Path(__file__).parent),
        "WANDB_ENTITY": sweep.entity,
        "WANDB_PROJECT": sweep.project,
        "WANDB_RUN_ID": command.run_id,
        "WANDB_SWEEP_ID": sweep.sweep_id,
        "WANDB_SWEEP_PARAM_PATH": str(folder / "parameters.yaml"),
    }
    return subprocess.Popen([sys.executable, "-c", STUB_PROGRAM], env=env, cwd=folder)


@pytest.mark.parametrize(("stopped", "cause"), [(True, None), (False, "killed")])
def test_sigterm_is_a_failure_unless_the_sweep_stopped_the_trial(
    connection: Connection, tmp_path: Path, stopped: bool, cause: str | None
) -> None:
    config = {"method": "grid", "parameters": {"epochs": {"values": [500]}}}
    sweep = create_sweep(connection, config)
    process = start_program(connection, sweep, tmp_path)
    try:
        wait_until_joined(connection, sweep)
        if stopped:
            stop_run(connection, sweep)
        process.terminate()
        assert process.wait(timeout=30) == 255
    finally:
        process.kill()
        process.wait()
    (run,) = fetch_runs(connection, sweep=sweep)
    assert run.state == "killed"
    assert run.summary.get("failure/cause") == cause
    assert run.summary["n_train"] == 64


def wait_until_joined(connection: Connection, sweep: SweepRef) -> None:
    deadline = time.monotonic() + 30
    while not any("host" in run.metadata for run in fetch_runs(connection, sweep=sweep)):
        assert time.monotonic() < deadline, "the program did not open its run"
        time.sleep(0.05)


def stop_run(connection: Connection, sweep: SweepRef) -> None:
    (info,) = fetch_runs(connection, sweep=sweep)
    query = "query Run($p: String!, $r: String!) { project(name: $p) { run(name: $r) { id } } }"
    run = connection.execute(query, {"p": info.project, "r": info.run_id})["project"]["run"]
    mutation = "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"
    connection.execute(mutation, {"id": run["id"]})
