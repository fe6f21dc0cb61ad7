"""Search: grid in W&B's order, random without repeats, bayes that learns, and when each is over."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_sweep.errors import ConfigError
from fer_sweep.server.search import PriorTrial, propose
from fer_sweep.space import count_cells, dump_sweep, parse_parameters

repeatable = settings(derandomize=True, database=None, deadline=None)
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


class TestGrid:
    def test_names_are_sorted_and_the_last_varies_fastest(self) -> None:
        config = sweep(
            "grid", {"b": {"values": [1, 2, 3]}, "a": {"values": ["x", "y"]}, "c": {"value": 9}}
        )
        cells = [trial.parameters for trial in run_out(config)]
        assert cells == [{"a": a, "b": b, "c": 9} for a in ("x", "y") for b in (1, 2, 3)]

    def test_int_ranges_and_steps_are_enumerated(self) -> None:
        steps = {"distribution": "q_uniform", "min": 0.0, "max": 0.3, "q": 0.1}
        config = sweep("grid", {"k": {"min": 2, "max": 3}, "p": steps})
        cells = [(trial.parameters["k"], trial.parameters["p"]) for trial in run_out(config)]
        assert cells == list(itertools.product([2, 3], [0.0, 0.1, 0.2]))

    @pytest.mark.parametrize("state", ALL_STATES)
    def test_a_cell_counts_as_taken_in_every_state(self, state: str) -> None:
        config = sweep("grid", {"a": {"values": [1, 2]}})
        assert propose(config, [PriorTrial({"a": 1}, state)], seed=0) == {"a": 2}

    def test_a_gap_is_filled_first(self) -> None:
        config = sweep("grid", {"a": {"values": [1, 2, 3]}})
        taken = [PriorTrial({"a": 1}, "finished"), PriorTrial({"a": 3}, "running")]
        assert propose(config, taken, seed=0) == {"a": 2}

    def test_cells_survive_json_and_yaml_with_numbers_changed_in_kind(self) -> None:
        config = sweep(
            "grid", {"lr": {"values": [1e-5, 3000000.0, 1]}, "on": {"values": [True, 1]}}
        )
        for trip in (
            lambda values: json.loads(json.dumps(values)),
            lambda values: yaml.safe_load(dump_sweep(values)),
            lambda values: {k: v if isinstance(v, bool) else float(v) for k, v in values.items()},
        ):
            trials: list[PriorTrial] = []
            while parameters := propose(config, trials, seed=0):
                trials.append(PriorTrial(trip(parameters), "finished"))
                assert len(trials) <= 6
            assert len(trials) == 6

    def test_nested_parameters_come_back_nested(self) -> None:
        config = sweep(
            "grid", {"net": {"parameters": {"depth": {"values": [2, 4]}, "kind": {"value": "cnn"}}}}
        )
        assert [trial.parameters for trial in run_out(config)] == [
            {"net": {"depth": 2, "kind": "cnn"}},
            {"net": {"depth": 4, "kind": "cnn"}},
        ]

    def test_values_may_be_lists_and_mappings(self) -> None:
        choices = [[3, 3], [5], {"w": 1}, {"w": 2}, None]
        cells = [
            trial.parameters["k"] for trial in run_out(sweep("grid", {"k": {"values": choices}}))
        ]
        assert cells == choices

    def test_runs_attached_from_elsewhere_take_no_cell(self) -> None:
        config = sweep("grid", {"a": {"values": [1]}})
        strangers = [PriorTrial({}, "finished"), PriorTrial({"a": 7}, "finished")]
        assert propose(config, strangers, seed=0) == {"a": 1}

    def test_constants_alone_are_one_run(self) -> None:
        assert len(run_out(sweep("grid", {"a": {"value": 1}}))) == 1

    def test_a_float_range_is_an_error_that_names_it(self) -> None:
        with pytest.raises(
            ConfigError, match=r"parameters\.p: a grid cannot enumerate it\. Use values"
        ):
            propose(sweep("grid", {"p": {"min": 0.0, "max": 1.0}}), [], seed=0)

    def test_a_huge_grid_is_not_held_in_memory(self) -> None:
        config = sweep(
            "grid", {"seed": {"min": 0, "max": 2**31 - 1}, "other": {"min": 0, "max": 2**31 - 1}}
        )
        assert propose(config, [PriorTrial({"other": 0, "seed": 0}, "running")], seed=0) == {
            "other": 0,
            "seed": 1,
        }


small_spaces = st.dictionaries(
    st.sampled_from("abcd"),
    st.one_of(
        st.lists(st.sampled_from([1, 2.5, "x", True, None]), min_size=1, max_size=3).map(
            lambda v: {"values": v}
        ),
        st.integers(0, 3).map(lambda n: {"min": n, "max": n + 2}),
        st.just({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.5}),
        st.just({"value": 7}),
        st.just({"parameters": {"x": {"values": [1, 2]}}}),
    ),
    min_size=1,
    max_size=3,
)


@repeatable
@given(small_spaces, st.sampled_from(["grid", "random", "bayes"]), st.integers(0, 99))
def test_every_cell_of_a_finite_space_comes_exactly_once(
    space: dict[str, Any], method: str, seed: int
) -> None:
    config = sweep(method, space)
    cells = count_cells(config)
    assert cells is not None
    trials = run_out(config, seed=seed, limit=cells + 1, score=lambda _: 0.5)
    assert len(trials) == cells
    assert len({json.dumps(trial.parameters, sort_keys=True) for trial in trials}) == cells


DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "constant": {"value": 3},
    "categorical": {"values": ["a", "b"]},
    "categorical_w_probabilities": {"values": ["a", "b", "c"], "probabilities": [0.5, 0.5, 0]},
    "int_uniform": {"min": -3, "max": 12},
    "uniform": {"min": -0.5, "max": 2.0},
    "q_uniform": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.1},
    "log_uniform": {"distribution": "log_uniform", "min": -9.0, "max": -2.0},
    "log_uniform_values": {"distribution": "log_uniform_values", "min": 0.00001, "max": 0.1},
    "q_log_uniform": {"distribution": "q_log_uniform", "min": 0, "max": 5, "q": 2},
    "q_log_uniform_values": {"distribution": "q_log_uniform_values", "min": 16, "max": 256, "q": 8},
    "inv_log_uniform": {"distribution": "inv_log_uniform", "min": 1, "max": 5},
    "inv_log_uniform_values": {"distribution": "inv_log_uniform_values", "min": 0.01, "max": 5},
    "normal": {"distribution": "normal", "mu": 3, "sigma": 2},
    "q_normal": {"distribution": "q_normal", "sigma": 3, "q": 0.5},
    "log_normal": {"distribution": "log_normal", "mu": -2, "sigma": 0.5},
    "q_log_normal": {"distribution": "q_log_normal", "mu": 3, "q": 4},
    "beta": {"distribution": "beta", "a": 2, "b": 5},
    "q_beta": {"distribution": "q_beta", "a": 2, "b": 5, "q": 0.05},
}
each_distribution = pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))


@each_distribution
@pytest.mark.parametrize("method", ["random", "bayes"])
def test_values_keep_to_bounds_steps_and_kind(method: str, name: str) -> None:
    config = sweep(method, {"p": DISTRIBUTIONS[name], "free": {"min": 0.0, "max": 1.0}})
    parameter = parse_parameters(config)["p"]
    low, high = parameter.bounds
    trials = run_out(config, limit=40, score=lambda values: values["free"])
    assert len(trials) == 40
    for trial in trials:
        value = trial.parameters["p"]
        assert json.loads(json.dumps(value)) == value  # plain Python, no numpy
        if parameter.values:
            assert value in parameter.values
            assert name != "categorical_w_probabilities" or value != "c"
            continue
        assert low <= value <= high
        if name.startswith("q_"):
            assert value / parameter.q == pytest.approx(round(value / parameter.q))
            assert isinstance(value, type(parameter.q))
        assert isinstance(value, int) == (name == "int_uniform" or isinstance(parameter.q, int))


class TestRandom:
    @pytest.mark.parametrize("method", ["random", "bayes"])
    def test_the_same_seed_and_trials_give_the_same_answer(self, method: str) -> None:
        config = sweep(method, {"a": {"min": 0.0, "max": 1.0}, "b": {"values": [1, 2, 3]}})
        first, again = (run_out(config, limit=15, seed=4, score=lambda v: v["a"]) for _ in range(2))
        assert first == again
        assert run_out(config, limit=1, seed=5) != first[:1]

    @pytest.mark.parametrize(
        ("name", "mean", "spread"),
        [
            pytest.param("uniform", 0.75, 2.5 / math.sqrt(12), id="uniform"),
            pytest.param("int_uniform", 4.5, math.sqrt((16**2 - 1) / 12), id="int_uniform"),
            pytest.param("normal", 3, 2, id="normal"),
            pytest.param("q_normal", 0, 3, id="q_normal"),
            pytest.param("beta", 2 / 7, math.sqrt(10 / (49 * 8)), id="beta"),
        ],
    )
    def test_draws_follow_the_distribution(self, name: str, mean: float, spread: float) -> None:
        draws = self.draws(DISTRIBUTIONS[name], 2000)
        assert sum(draws) / len(draws) == pytest.approx(
            mean, abs=4 * spread / math.sqrt(len(draws))
        )

    @pytest.mark.parametrize(
        ("name", "low", "high"),
        [
            pytest.param("log_uniform", -9, -2, id="log_uniform"),
            pytest.param(
                "log_uniform_values", math.log(0.00001), math.log(0.1), id="log_uniform_values"
            ),
            pytest.param("inv_log_uniform", -5, -1, id="inv_log_uniform"),
            pytest.param(
                "inv_log_uniform_values", math.log(0.01), math.log(5), id="inv_log_uniform_values"
            ),
        ],
    )
    def test_logarithms_are_drawn_evenly(self, name: str, low: float, high: float) -> None:
        logs = [math.log(value) for value in self.draws(DISTRIBUTIONS[name], 2000)]
        standard_error = (high - low) / math.sqrt(12 * len(logs))
        assert sum(logs) / len(logs) == pytest.approx((low + high) / 2, abs=4 * standard_error)
        assert min(logs) < low + 0.05 * (high - low)
        assert max(logs) > high - 0.05 * (high - low)

    def test_probabilities_are_obeyed(self) -> None:
        draws = self.draws({"values": ["a", "b"], "probabilities": [0.9, 0.1]}, 2000)
        assert draws.count("a") / len(draws) == pytest.approx(0.9, abs=0.03)

    @staticmethod
    def draws(node: dict[str, Any], count: int) -> list[Any]:
        """First draws of many seeds."""
        config = sweep("random", {"p": node})
        proposals = (propose(config, [], seed=seed) for seed in range(count))
        return [proposal["p"] for proposal in proposals if proposal is not None]

    def test_an_unlikely_last_cell_is_still_found(self) -> None:
        node = {"values": ["often", "never?"], "probabilities": [1 - 1e-9, 1e-9]}
        trials = run_out(sweep("random", {"p": node}))
        assert [trial.parameters["p"] for trial in trials] == ["often", "never?"]

    def test_a_big_finite_space_is_exhausted_to_the_last_cell(self) -> None:
        config = sweep("random", {"a": {"min": 1, "max": 20}, "b": {"min": 1, "max": 20}})
        trials = run_out(config, limit=401)
        assert len({tuple(trial.parameters.values()) for trial in trials}) == 400


class TestEnd:
    @pytest.mark.parametrize("method", ["grid", "random", "bayes"])
    def test_run_cap_counts_every_run(self, method: str) -> None:
        config = sweep(method, {"a": {"values": [1, 2, 3, 4]}}, run_cap=2)
        assert len(run_out(config)) == 2
        assert (
            propose(config, [PriorTrial({}, "crashed"), PriorTrial({}, "failed")], seed=0) is None
        )

    @pytest.mark.parametrize(
        ("goal", "values", "over"),
        [
            pytest.param("maximize", [0.5, 0.9], True, id="reached"),
            pytest.param("maximize", [0.5, 0.8], False, id="not-yet"),
            pytest.param("maximize", [None, math.nan], False, id="no-values"),
            pytest.param("minimize", [1.5, 0.9], True, id="minimize-reached"),
            pytest.param("minimize", [1.5, 1.0], False, id="minimize-not-yet"),
            pytest.param(None, [0.1], True, id="default-goal-is-minimize"),
        ],
    )
    def test_a_reached_target_ends_the_sweep(
        self, goal: str | None, values: list[float | None], over: bool
    ) -> None:
        metric = {"name": "score", "target": 0.9} | ({"goal": goal} if goal else {})
        config = sweep("random", {"a": {"min": 0.0, "max": 1.0}}, metric=metric)
        trials = [
            PriorTrial({"a": index / 9}, "running", value) for index, value in enumerate(values)
        ]
        assert (propose(config, trials, seed=0) is None) == over

    @pytest.mark.parametrize("method", ["gird", None, "custom"], ids=str)
    def test_an_unknown_method_is_an_error(self, method: str | None) -> None:
        with pytest.raises(ConfigError, match="method: must be one of grid, random, bayes"):
            propose({"method": method, "parameters": {"a": {"value": 1}}}, [], seed=0)

    def test_malformed_parameters_are_a_config_error(self) -> None:
        with pytest.raises(ConfigError, match=r"parameters\.a: must be a mapping"):
            propose(sweep("grid", {"a": 1}), [], seed=0)


def test_grid_and_random_do_not_load_optuna() -> None:
    code = (
        "import sys; from fer_sweep.server.search import propose\n"
        "for method in ('grid', 'random'):\n"
        "    assert propose({'method': method, 'parameters': {'a': {'values': [1, 2]}}}, [], seed=0)\n"
        "assert 'optuna' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
