"""Bayes: it learns, respects the goal, keeps away from running and failed trials, and is quick and quiet."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from fer_sweep.errors import ConfigError
from fer_sweep.server.search import PriorTrial, propose

ALL_STATES = (
    "pending",
    "running",
    "finished",
    "failed",
    "crashed",
    "killed",
    "preempting",
    "preempted",
)


def sweep(method: str, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "method": method,
        "metric": {"name": "score", "goal": "maximize"},
        "parameters": parameters,
        **more,
    }


def run_out(
    config: dict[str, Any],
    *,
    limit: int = 300,
    seed: int = 0,
    score: Callable[[dict[str, Any]], float | None] = lambda _: None,
    state: str = "finished",
) -> list[PriorTrial]:
    """Propose trial after trial, each ending at once, until the sweep is over or at the limit."""
    trials: list[PriorTrial] = []
    while len(trials) < limit:
        parameters = propose(config, trials, seed=seed)
        if parameters is None:
            break
        trials.append(PriorTrial(parameters, state, score(parameters)))
    return trials


SPACE: dict[str, Any] = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
    "dropout": {"min": 0.0, "max": 0.9},
    "depth": {"min": 1, "max": 12},
    "kind": {"values": ["bad", "good", "ugly"]},
    "seed": {"value": 3},
}


def score(values: dict[str, Any]) -> float:
    penalty: float = 0.0 if values["kind"] == "good" else 1.0
    rate = float(values["lr"])
    return -((math.log10(rate) + 3) ** 2) - (float(values["dropout"]) - 0.3) ** 2 - penalty


def test_it_finds_better_trials_than_random() -> None:
    bests = {
        method: [
            max(
                trial.value or 0.0
                for trial in run_out(sweep(method, SPACE), limit=50, seed=s, score=score)
            )
            for s in range(4)
        ]
        for method in ("random", "bayes")
    }
    assert sum(bests["bayes"]) > sum(bests["random"])
    assert min(bests["bayes"]) > -0.1


def test_the_goal_is_respected() -> None:
    config = sweep("bayes", {"x": {"min": 0.0, "max": 1.0}})
    config["metric"]["goal"] = "minimize"
    late = run_out(config, limit=40, score=lambda values: values["x"])[20:]
    assert sum(trial.parameters["x"] for trial in late) / len(late) < 0.25


def test_running_trials_repel_the_next_ones() -> None:
    space = {"x": {"min": 0.0, "max": 1.0}}
    ended = run_out(sweep("bayes", space), limit=20, score=lambda values: -abs(values["x"] - 0.5))
    trials = list(ended)
    for _ in range(8):
        parameters = propose(sweep("bayes", space), trials, seed=0)
        assert parameters is not None
        trials.append(PriorTrial(parameters, "running"))
    asked = sorted(trial.parameters["x"] for trial in trials[20:])
    assert min(b - a for a, b in itertools.pairwise(asked)) > 1e-4


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("state", ALL_STATES)
def test_trials_without_a_usable_value_are_no_obstacle(state: str, value: float | None) -> None:
    config = sweep("bayes", SPACE)
    good = run_out(config, limit=12, score=score)
    broken = [
        PriorTrial(trial.parameters, state, value) for trial in run_out(config, limit=12, seed=9)
    ]
    for trials in (broken, good + broken):
        proposal = propose(config, trials, seed=0)
        assert proposal is not None
        assert proposal["seed"] == 3


def test_it_keeps_away_from_where_trials_failed() -> None:
    config = sweep("bayes", {"x": {"min": 0.0, "max": 1.0}})
    trials: list[PriorTrial] = []
    for _ in range(60):
        parameters = propose(config, trials, seed=2)
        assert parameters is not None
        crashed = parameters["x"] > 0.5
        trials.append(
            PriorTrial(
                parameters,
                "crashed" if crashed else "finished",
                None if crashed else parameters["x"],
            )
        )
    late = [trial.state for trial in trials[30:]]
    assert late.count("crashed") < len(late) / 2


def test_strange_prior_runs_are_ignored() -> None:
    config = sweep("bayes", SPACE)
    good = run_out(config, limit=15, score=score)
    strangers = [
        PriorTrial({}, "finished", 1.0),
        PriorTrial({**good[0].parameters, "kind": "alien"}, "finished", 1.0),
        PriorTrial({**good[0].parameters, "lr": "fast"}, "finished", 1.0),
        PriorTrial({**good[0].parameters, "lr": -3}, "finished", 1.0),
        PriorTrial({**good[0].parameters, "dropout": 7.0}, "finished", 1.0),
        PriorTrial({**good[0].parameters, "depth": 99}, "finished", 1.0),
    ]
    assert propose(config, good + strangers, seed=0) is not None


def test_only_constants_are_one_run() -> None:
    assert len(run_out(sweep("bayes", {"a": {"value": 1}}), score=lambda _: 1.0)) == 1


def test_it_needs_a_metric() -> None:
    config = sweep("bayes", SPACE)
    del config["metric"]
    with pytest.raises(ConfigError, match="metric: is missing"):
        propose(config, [], seed=0)


def test_a_thousand_trials_are_no_burden() -> None:
    config = sweep("bayes", SPACE)
    draws = [propose(config, [], seed=seed) for seed in range(1000)]
    trials = [
        PriorTrial(values, "finished", score(values)) for values in draws if values is not None
    ]
    propose(config, trials, seed=0)  # loads Optuna
    start = time.process_time()
    propose(config, trials, seed=1)
    assert time.process_time() - start < 2  # 0.07 s measured on an idle core


def test_it_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    run_out(sweep("bayes", SPACE), limit=12, score=score)
    assert capfd.readouterr() == ("", "")
