"""Summary: what create and --dry-run say a sweep will do and cost."""

from __future__ import annotations

from typing import Any

import pytest

from fer_sweep.space import describe


def test_a_grid_states_cells_runs_and_epochs() -> None:
    space = {
        "epochs": {"values": [10, 20]},
        "dropout": {"values": [0.0, 0.3]},
        "arch": {"value": "cnn1"},
    }
    summary = describe({"method": "grid", "parameters": space})
    assert (summary.cells, summary.runs, summary.epochs) == (4, 4, 60)
    assert summary.lines == [
        "grid: 4 cells → 4 runs, 60 epochs in all",
        "  dropout  0.0, 0.3",
        "  epochs   10, 20",
        "  arch     cnn1",
    ]


def test_one_cell_is_one_run() -> None:
    summary = describe({"method": "grid", "parameters": {"epochs": {"value": 1}}})
    assert summary.lines[0] == "grid: 1 cell → 1 run, 1 epoch in all"


def test_an_endless_search_says_so() -> None:
    summary = describe({"method": "random", "parameters": {"dropout": {"min": 0.0, "max": 0.5}}})
    assert (summary.cells, summary.runs, summary.epochs) == (None, None, None)
    assert summary.lines[0] == "random: infinitely many cells → runs without end"


def test_run_cap_bounds_the_runs_and_the_default_epochs_count() -> None:
    config = {"method": "bayes", "run_cap": 5, "parameters": {"dropout": {"min": 0.0, "max": 0.5}}}
    assert (
        describe(config).lines[0]
        == "bayes: infinitely many cells, run_cap 5 → 5 runs, 100 epochs in all"
    )


def test_hyperband_brackets_are_epochs_below_the_last() -> None:
    config = {
        "method": "grid",
        "early_terminate": {"type": "hyperband", "min_iter": 3},
        "parameters": {"epochs": {"value": 27}},
    }
    summary = describe(config)
    assert summary.brackets == (3, 9)
    assert (
        summary.lines[-1]
        == "  hyperband compares the runs after epoch 3, 9 and stops the worse ones"
    )


@pytest.mark.parametrize(
    ("node", "text"),
    [
        pytest.param({"value": 1e-5}, "0.00001", id="constant"),
        pytest.param({"values": ["adam", "sgd"]}, "adam, sgd", id="choices"),
        pytest.param(
            {"values": list(range(12))}, "0, 1, 2, 3, 4, 5, 6, 7 and 4 more", id="many-choices"
        ),
        pytest.param({"min": 1, "max": 9}, "1 to 9", id="int-range"),
        pytest.param(
            {"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1},
            "0.0001 to 0.1, even in the logarithm",
            id="log",
        ),
        pytest.param(
            {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25},
            "0.0 to 1.0 in steps of 0.25",
            id="steps",
        ),
        pytest.param({"distribution": "normal", "mu": 2}, "normal, mu 2, sigma 1", id="normal"),
        pytest.param(
            {"distribution": "q_beta", "a": 2, "q": 0.5},
            "beta, a 2, b 1 in steps of 0.5",
            id="beta",
        ),
    ],
)
def test_a_parameter_is_described_in_values(node: dict[str, Any], text: str) -> None:
    summary = describe({"method": "random", "parameters": {"p": node}})
    assert summary.parameters == (("p", text),)
