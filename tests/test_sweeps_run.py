"""Every sweep file of the repository is run, tiny: its first cell, one epoch, on a few faces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SWEEPS = sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))


@pytest.mark.slow
def test_the_folder_holds_the_ten_experiments_and_two_searches() -> None:
    numbered = [path.name[:2] for path in SWEEPS if path.name[0].isdigit()]

    assert numbered == [f"{n:02}" for n in range(1, 11)]
    assert {"quick.yaml", "full.yaml"} <= {path.name for path in SWEEPS}


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_file_trains(path: Path, run_cli: Callable[..., Any]) -> None:
    created = run_cli("create", str(path), "--epochs", "1", "--train-size", "64")
    agent = run_cli("agent", "--data", "faces:n=320", "--count", "1", "--json")

    assert created.code == 0
    assert agent.code == 0, agent.err
    (trial,) = json.loads(agent.out)["trials"]
    assert trial["state"] == "finished"
    assert 0 <= trial["best"] <= 1
