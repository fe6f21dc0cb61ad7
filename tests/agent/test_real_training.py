"""The agent and a plain ``wandb agent`` with nothing replaced: torch, data, client, server, processes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_sweep.agent.machine import Machine, this_machine
from fer_sweep.agent.supervisor import AgentOptions, WorkersFailedError, run_agent
from fer_sweep.agent.view import PlainView
from fer_sweep.errors import ExitCode
from fer_sweep.tracking import (
    Connection,
    SweepRef,
    client_environment,
    create_sweep,
    fetch_history,
    fetch_runs,
)

pytestmark = [pytest.mark.slow, pytest.mark.wandb_client]

PROGRAM = Path(__file__).parents[2] / "agents" / "train.py"


def make_sweep(connection: Connection, **parameters: object) -> SweepRef:
    config = {
        "program": str(PROGRAM),
        "command": ["${env}", "${interpreter}", "${program}"],
        "method": "grid",
        "metric": {"name": "best/val_accuracy", "goal": "maximize"},
        "parameters": {
            "arch": {"value": "cnn1"},
            "train_size": {"value": 64},
            "epochs": {"value": 2},
            **parameters,
        },
    }
    return create_sweep(connection, config)


def test_our_agent_trains_a_sweep(connection: Connection, tmp_path: Path) -> None:
    sweep = make_sweep(connection, seed={"values": [0, 1, 2]})
    home = tmp_path / ".fersweep"
    options = AgentOptions(connection, sweep, home, data="faces:n=320", workers=2)
    report = run_agent(options, view=PlainView(io.StringIO()), machine=Machine((), 2, 8.0))

    assert report.by_state == {"finished": 3}
    runs = fetch_runs(connection, sweep=sweep)
    assert sorted(run.config["seed"] for run in runs) == [0, 1, 2]
    for run in runs:
        rows = fetch_history(connection, run)
        assert [row["epoch"] for row in rows] == [1, 2]
        assert run.summary["best/val_accuracy"] == max(row["val/accuracy"] for row in rows)
        assert (home / "checkpoints" / sweep.sweep_id / f"{run.run_id}.pt").is_file()


@pytest.mark.skipif(bool(this_machine().gpus), reason="this machine has a GPU")
def test_an_allocated_gpu_that_torch_cannot_use_is_no_reason_to_train_on_the_cpu(
    connection: Connection, tmp_path: Path
) -> None:
    sweep = make_sweep(connection, seed={"values": [0, 1]})
    options = AgentOptions(connection, sweep, tmp_path / ".fersweep", data="faces:n=320")
    stream = io.StringIO()
    with pytest.raises(WorkersFailedError, match=r"cannot use the GPU .* --gpus none") as error:
        run_agent(
            options,
            view=PlainView(stream),
            machine=Machine((), 2, 8.0),
            environ={**os.environ, "CUDA_VISIBLE_DEVICES": "0,1"},
        )
    assert error.value.exit_code == ExitCode.USAGE
    assert len(str(error.value).splitlines()) == 1
    assert "2 workers on GPU 0, 1" in stream.getvalue()
    assert fetch_runs(connection, sweep=sweep) == []


def test_a_plain_wandb_agent_runs_our_program_from_anywhere(
    connection: Connection, tmp_path: Path
) -> None:
    sweep = make_sweep(connection, seed={"value": 3})
    env = client_environment(connection, tmp_path, os.environ)
    env["FERSWEEP_DATA"] = "faces:n=320"
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    subprocess.run(
        [sys.executable, "-m", "wandb", "agent", "--count", "1", sweep.path],
        env=env,
        cwd=tmp_path,
        check=True,
        timeout=90,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (run,) = fetch_runs(connection, sweep=sweep)
    assert run.state == "finished"
    assert run.config["seed"] == 3
    assert [row["epoch"] for row in fetch_history(connection, run)] == [1, 2]
