"""Hyperband: who is stopped, at which bracket, and who never is."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_sweep.errors import ConfigError
from fer_sweep.server.stopping import runs_to_stop


def sweep(goal: str = "minimize", **section: Any) -> dict[str, Any]:
    return {
        "metric": {"name": "m", "goal": goal},
        "early_terminate": {"type": "hyperband", **section},
    }


def test_nobody_is_stopped_before_the_first_bracket() -> None:
    curves = {"good": [1.0, 1.0], "bad": [9.0, 9.0], "worse": [99.0, 99.0]}
    assert runs_to_stop(sweep(min_iter=3), curves, curves) == set()


def test_of_three_runs_with_eta_three_the_worst_is_stopped() -> None:
    curves = {"a": [1.0], "b": [2.0], "c": [3.0]}
    assert runs_to_stop(sweep(min_iter=1, eta=3), curves, curves) == {"c"}


def test_of_two_runs_with_eta_two_neither_is_stopped() -> None:
    curves = {"a": [1.0], "b": [2.0]}
    assert runs_to_stop(sweep(min_iter=1, eta=2), curves, curves) == set()


def test_a_lone_run_goes_on() -> None:
    assert runs_to_stop(sweep(min_iter=1), {"a": [5.0] * 30}, ["a"]) == set()


def test_the_goal_decides_what_is_worse() -> None:
    curves = {"a": [0.1], "b": [0.5], "c": [0.9]}
    assert runs_to_stop(sweep("minimize", min_iter=1), curves, curves) == {"c"}
    assert runs_to_stop(sweep("maximize", min_iter=1), curves, curves) == {"a"}


def test_a_missing_goal_is_minimize_as_in_wandb() -> None:
    config = sweep(min_iter=1)
    del config["metric"]["goal"]
    assert runs_to_stop(config, {"a": [1.0], "b": [2.0], "c": [3.0]}, "abc") == {"c"}


def test_finished_runs_set_the_threshold_but_are_not_stopped() -> None:
    curves = {"done1": [1.0], "done2": [2.0], "late": [3.0]}
    assert runs_to_stop(sweep(min_iter=1), curves, ["late"]) == {"late"}
    assert runs_to_stop(sweep(min_iter=1), curves, ["done1"]) == set()


def test_a_run_is_judged_at_the_last_bracket_it_has_reached() -> None:
    # With max_iter 8, eta 2, s 2 the brackets are 2 and 4. "slow" is fine at 2 and behind at 4.
    curves = {
        "fast": [9.0, 5.0, 4.0, 1.0],
        "slow": [9.0, 5.0, 5.0, 5.0],
        "early": [9.0, 8.0],
        "middle": [9.0, 5.0, 5.0],
    }
    config = sweep(max_iter=8, eta=2, s=2)
    assert runs_to_stop(config, curves, curves) == {"early"}
    curves["third"] = [9.0, 5.0, 2.0, 2.0]
    assert runs_to_stop(config, curves, curves) == {"early", "slow"}


def test_the_best_value_so_far_counts_so_that_overfitting_is_not_stopped() -> None:
    curves = {"overfits": [1.0, 9.0, 9.0], "a": [5.0, 4.0, 3.0], "b": [5.0, 4.0, 3.5]}
    assert "overfits" not in runs_to_stop(sweep(min_iter=3), curves, curves)


def test_strict_judges_the_value_at_the_bracket() -> None:
    curves = {"overfits": [1.0, 9.0, 9.0], "a": [5.0, 4.0, 3.0], "b": [5.0, 4.0, 3.5]}
    assert "overfits" in runs_to_stop(sweep(min_iter=3, strict=True), curves, curves)


def test_a_run_that_was_fine_is_stopped_when_better_ones_arrive() -> None:
    config = sweep("maximize", min_iter=2)
    assert runs_to_stop(config, {"a": [0.2, 0.3]}, ["a"]) == set()
    assert runs_to_stop(config, {"a": [0.2, 0.3], "b": [0.4, 0.6], "c": [0.4, 0.5]}, "abc") == {"a"}


def test_values_that_are_no_numbers_do_not_count_as_logged() -> None:
    curves = {
        "nan": [math.nan, 9.0],
        "inf": [math.inf] * 9,
        "a": [1.0, 1.0],
        "b": [2.0, 2.0],
        "empty": [],
    }
    assert runs_to_stop(sweep(min_iter=2), curves, curves) == {"b"}
    assert "nan" in runs_to_stop(sweep(min_iter=1), curves, curves)


def test_a_running_run_without_a_curve_goes_on() -> None:
    assert runs_to_stop(sweep(min_iter=1), {"a": [1.0]}, ["a", "new"]) == set()


def test_without_early_terminate_or_metric_nobody_is_stopped() -> None:
    curves = {"a": [1.0], "b": [2.0], "c": [3.0]}
    assert runs_to_stop({"metric": {"name": "m"}}, curves, curves) == set()
    assert (
        runs_to_stop({"early_terminate": {"type": "hyperband", "min_iter": 1}}, curves, curves)
        == set()
    )


def test_a_malformed_section_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="early_terminate: has neither min_iter nor max_iter"):
        runs_to_stop(sweep(), {}, [])


curves = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=12),
    max_size=9,
)


@settings(derandomize=True, database=None, deadline=None)
@given(curves, st.integers(1, 4), st.sampled_from([1.5, 2, 3, 4]), st.booleans())
def test_only_running_runs_are_stopped_and_never_the_best(
    curves: dict[str, list[float]], min_iter: int, eta: float, strict: bool
) -> None:
    running = sorted(curves)[::2]
    stopped = runs_to_stop(sweep(min_iter=min_iter, eta=eta, strict=strict), curves, running)
    assert stopped <= set(running)
    finite = {name: [v for v in curve if math.isfinite(v)] for name, curve in curves.items()}
    if not strict and any(finite.values()):
        best = min(min(curve) for curve in finite.values() if curve)
        assert not [name for name in stopped if min(finite[name]) == best]


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30, unique=True), st.sampled_from([2, 3, 4]))
def test_about_the_best_share_of_one_in_eta_goes_on(values: list[float], eta: int) -> None:
    curves = {str(index): [value] for index, value in enumerate(values)}
    stopped = runs_to_stop(sweep("maximize", min_iter=1, eta=eta), curves, curves)
    kept = min(len(values), len(values) // eta + 1)
    assert stopped == {str(values.index(value)) for value in sorted(values, reverse=True)[kept:]}


def test_a_run_that_overfits_is_stopped_only_where_the_last_value_counts() -> None:
    overfits = [1.0, 0.1, 9.0]
    curves = {"a": [1.0, 0.5, 0.4], "b": [1.0, 0.6, 0.5], "overfits": overfits}
    assert runs_to_stop(sweep(min_iter=3, eta=2), curves, curves) == set()
    assert runs_to_stop(sweep(min_iter=3, eta=2, compare="last"), curves, curves) == {"overfits"}


@pytest.mark.parametrize("section", [{"compare": "worst"}, {"compare": "last", "strict": True}])
def test_what_the_last_value_cannot_be_compared_with_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"early_terminate\.compare"):
        runs_to_stop(sweep(min_iter=3, **section), {}, [])
