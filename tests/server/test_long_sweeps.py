"""Sweeps of more than a thousand runs, through raw heartbeats: no repeats, and every distribution."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fer_sweep.server import agents, runs, streams, sweeps
from fer_sweep.server.store import Store

NOW = 1_800_000_000.0
SPACE: dict[str, Any] = {
    "constant": {"value": 7},
    "categorical": {"values": ["a", None, True, 3]},
    "weighted": {"values": [1, 2], "probabilities": [0.9, 0.1]},
    "int_uniform": {"min": -2, "max": 5},
    "uniform": {"min": 0.5, "max": 1.5},
    "q_uniform": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25},
    "log_uniform": {"distribution": "log_uniform", "min": -3, "max": 1},
    "log_uniform_values": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
    "q_log_uniform_values": {
        "distribution": "q_log_uniform_values", "min": 8, "max": 128, "q": 8,
    },
    "inv_log_uniform_values": {
        "distribution": "inv_log_uniform_values", "min": 0.9, "max": 0.999,
    },
    "normal": {"distribution": "normal", "mu": 5, "sigma": 1},
    "q_normal": {"distribution": "q_normal", "mu": 5, "sigma": 1, "q": 0.5},
    "log_normal": {"distribution": "log_normal", "mu": 0, "sigma": 0.5},
    "q_log_normal": {"distribution": "q_log_normal", "mu": 2, "sigma": 0.5, "q": 1},
    "beta": {"distribution": "beta", "a": 2, "b": 5},
    "q_beta": {"distribution": "q_beta", "a": 2, "b": 5, "q": 0.1},
    "nested": {"parameters": {"deep": {"parameters": {"x": {"values": [1, 2, 3]}}}}},
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "server.sqlite")
    yield opened
    opened.close()


def hand_out(
    store: Store, config: dict[str, Any], count: int, done: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The arguments of the first ``count`` trials as an agent gets them; each ends with a result."""
    told = []
    with store.writing() as db:
        given = {"config": json.dumps(config), "projectName": "p"}
        sweep = sweeps.upsert_sweep(db, given, now=NOW)
        given = {"host": "here", "projectName": "p", "sweep": sweep.name}
        agent = agents.create_agent(db, given, now=NOW).name
        for number, args in enumerate(done):
            values = {"parameters": json.dumps(args), "metric_best": number, "state": "finished"}
            name = f"done-{number}"
            runs.insert_run(db, sweep.project_id, name, now=NOW, sweep_id=sweep.id, **values)
        for number in range(count):
            (command,) = agents.heartbeat(db, agent, [], now=NOW + number)[1]
            if command["type"] == "exit":
                break
            told.append({key: item["value"] for key, item in command["args"].items()})
            run = runs.find_run(db, sweep.project_id, command["run_id"])
            assert run is not None
            summary = {"wandb-summary.json": {"offset": 0, "content": [json.dumps({"m": number})]}}
            body = {"files": summary, "complete": True, "exitcode": 0}
            streams.receive(db, run, body, now=NOW + number)
    return told


@pytest.mark.slow
def test_a_sweep_of_a_thousand_cells_repeats_none_and_loses_none(store: Store) -> None:
    values = {"a": {"values": list(range(35))}, "b": {"min": 1, "max": 30}}
    every = [{"a": a, "b": b} for a in range(35) for b in range(1, 31)]
    config = {"method": "random", "parameters": values}
    told = hand_out(store, config, 300, done=every[::2] + every[1:700:2])

    assert len(every) == 1050
    assert told != every[701::2]
    assert sorted(told, key=lambda args: (args["a"], args["b"])) == every[701::2]


@pytest.mark.slow
def test_bayes_repeats_no_cell_after_five_hundred(store: Store) -> None:
    """W&B's own local controller does (wandb#5247)."""
    config = {
        "method": "bayes",
        "metric": {"name": "m", "goal": "maximize"},
        "parameters": {"a": {"values": list(range(512))}},
    }
    told = hand_out(store, config, 600, done=[{"a": value} for value in range(506)])

    assert sorted(args["a"] for args in told) == list(range(506, 512))


def test_every_distribution_reaches_the_agent_as_documented(store: Store) -> None:
    told = hand_out(store, {"method": "random", "parameters": SPACE, "run_cap": 150}, 200)

    assert len(told) == 150  # run_cap
    seen = {name: [args[name] for args in told] for name in SPACE}
    assert set(seen["constant"]) == {7}
    assert set(map(repr, seen["categorical"])) == {"'a'", "None", "True", "3"}
    assert 0.75 < seen["weighted"].count(1) / 150 < 1
    assert set(seen["int_uniform"]) == set(range(-2, 6))
    assert all(0.5 <= value <= 1.5 for value in seen["uniform"])
    assert set(seen["q_uniform"]) == {0, 0.25, 0.5, 0.75, 1}
    assert all(math.exp(-3) <= value <= math.e for value in seen["log_uniform"])
    small = [value for value in seen["log_uniform_values"] if value < 10**-2.5]
    assert all(1e-4 <= value <= 1e-1 for value in seen["log_uniform_values"])
    assert 0.3 < len(small) / 150 < 0.7  # half of them lie below the geometric mean
    assert all(value % 8 == 0 and 8 <= value <= 128 for value in seen["q_log_uniform_values"])
    assert all(0.9 <= value <= 0.999 for value in seen["inv_log_uniform_values"])
    assert 4.5 < sum(seen["normal"]) / 150 < 5.5
    assert all(value * 2 == round(value * 2) for value in seen["q_normal"])
    assert all(value > 0 for value in seen["log_normal"])
    assert all(value == round(value) for value in seen["q_log_normal"])
    assert all(0 <= value <= 1 for value in seen["beta"])
    assert 0.2 < sum(seen["beta"]) / 150 < 0.4  # a / (a + b) is 2/7
    assert all(abs(value * 10 - round(value * 10)) < 1e-9 for value in seen["q_beta"])
    assert {value["deep"]["x"] for value in seen["nested"]} == {1, 2, 3}
