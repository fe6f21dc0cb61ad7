"""Parameters: every form of W&B's YAML, inference, nesting, and what malformed ones are told."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fer_sweep.errors import ConfigError
from fer_sweep.space import Parameter, parse_parameters


def parse(node: Any) -> Parameter:
    return parse_parameters({"parameters": {"p": node}})["p"]


def problems_of(parameters: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_parameters({"parameters": parameters})
    return caught.value.problems


@pytest.mark.parametrize(
    ("node", "distribution"),
    [
        pytest.param({"value": 3}, "constant", id="value"),
        pytest.param({"value": [1, 2]}, "constant", id="a-list-as-value"),
        pytest.param({"value": None}, "constant", id="null-as-value"),
        pytest.param({"values": [1, 2]}, "categorical", id="values"),
        pytest.param(
            {"values": [1, 2], "probabilities": [0.5, 0.5]},
            "categorical_w_probabilities",
            id="weighted",
        ),
        pytest.param({"min": 1, "max": 5}, "int_uniform", id="int-bounds"),
        pytest.param({"min": 1.0, "max": 5.0}, "uniform", id="float-bounds"),
        pytest.param({"min": 0, "max": 0.5}, "uniform", id="int-and-float-bounds"),
        pytest.param(
            {"min": 1, "max": 5, "distribution": "uniform"},
            "uniform",
            id="explicit-beats-inference",
        ),
    ],
)
def test_a_missing_distribution_is_inferred_as_wandb_does(
    node: dict[str, Any], distribution: str
) -> None:
    assert parse(node).distribution == distribution


@pytest.mark.parametrize(
    ("node", "bounds"),
    [
        pytest.param({"distribution": "int_uniform", "min": 2, "max": 9}, (2, 9), id="int_uniform"),
        pytest.param({"distribution": "uniform", "min": -1, "max": 1}, (-1, 1), id="uniform"),
        pytest.param(
            {"distribution": "q_uniform", "min": 0, "max": 9, "q": 2}, (0, 8), id="q_uniform"
        ),
        pytest.param(
            {"distribution": "log_uniform", "min": 0, "max": 1}, (1, math.e), id="log_uniform"
        ),
        pytest.param(
            {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1},
            (0.001, 0.1),
            id="log_values",
        ),
        pytest.param(
            {"distribution": "q_log_uniform", "min": 0, "max": 3, "q": 5},
            (0, 20),
            id="q_log_uniform",
        ),
        pytest.param(
            {"distribution": "q_log_uniform_values", "min": 8, "max": 130, "q": 4},
            (8, 128),
            id="q_log_values",
        ),
        pytest.param(
            {"distribution": "inv_log_uniform", "min": 0, "max": 1},
            (1 / math.e, 1),
            id="inv_log_uniform",
        ),
        pytest.param(
            {"distribution": "inv_log_uniform_values", "min": 0.5, "max": 4},
            (0.5, 4),
            id="inv_log_values",
        ),
        pytest.param({"distribution": "normal"}, (-math.inf, math.inf), id="normal"),
        pytest.param({"distribution": "q_normal", "q": 0.5}, (-math.inf, math.inf), id="q_normal"),
        pytest.param({"distribution": "log_normal"}, (0, math.inf), id="log_normal"),
        pytest.param({"distribution": "q_log_normal"}, (0, math.inf), id="q_log_normal"),
        pytest.param({"distribution": "beta", "a": 2}, (0, 1), id="beta"),
        pytest.param({"distribution": "q_beta", "q": 0.25}, (0, 1), id="q_beta"),
    ],
)
def test_bounds_are_those_of_the_values_not_of_the_exponents(
    node: dict[str, Any], bounds: tuple[float, float]
) -> None:
    assert parse(node).bounds == pytest.approx(bounds)


def test_defaults_are_those_of_wandb() -> None:
    parameter = parse({"distribution": "q_log_normal"})
    assert (parameter.mu, parameter.sigma, parameter.q) == (0, 1, 1)
    beta = parse({"distribution": "beta"})
    assert (beta.a, beta.b) == (1, 1)


def test_nested_parameters_get_dotted_names_in_order() -> None:
    space = {
        "z": {"value": 1},
        "opt": {
            "parameters": {"lr": {"value": 0.1}, "inner": {"parameters": {"k": {"values": [1, 2]}}}}
        },
        "a.b": {"value": 2},
    }
    parameters = parse_parameters({"parameters": space})
    assert list(parameters) == ["a.b", "opt.inner.k", "opt.lr", "z"]
    assert parameters["opt.inner.k"].path == ("opt", "inner", "k")
    assert parameters["a.b"].path == ("a.b",)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        pytest.param(
            7, "parameters.p: must be a mapping (got 7). Write p: {value: 7}.", id="bare-value"
        ),
        pytest.param(
            [1], "must be a mapping (got the list [1]). Write p: {values: [1]}.", id="bare-list"
        ),
        pytest.param({}, "is empty", id="empty"),
        pytest.param(
            {"depth": {"value": 3}}, "Put its content under p: parameters: …", id="bare-nested"
        ),
        pytest.param(
            {"parameters": {}}, "must hold at least one hyperparameter", id="empty-nested"
        ),
        pytest.param(
            {"parameters": {"q": {"value": 1}}, "min": 1}, "also min", id="nested-and-more"
        ),
        pytest.param({"vales": [1]}, "vales: unknown key. Did you mean values?", id="misspelt-key"),
        pytest.param(
            {"distribution": "logg_uniform"},
            "Did you mean log_uniform?",
            id="misspelt-distribution",
        ),
        pytest.param(
            {"distribution": 3}, "distribution: unknown (got 3)", id="distribution-no-text"
        ),
        pytest.param({"min": 1}, "has no max", id="half-a-range"),
        pytest.param({"mu": 1}, "needs a distribution", id="no-distribution"),
        pytest.param(
            {"distribution": "beta", "min": 1},
            "min has no meaning for distribution beta",
            id="stray-key",
        ),
        pytest.param({"distribution": "uniform", "min": 1}, "max: is missing", id="missing-bound"),
        pytest.param(
            {"min": "1e-4", "max": 1.0}, "YAML reads 1e-4 as text: write 0.0001.", id="text-number"
        ),
        pytest.param(
            {"min": "low", "max": 1.0}, "must be a number (got the text 'low')", id="text"
        ),
        pytest.param(
            {"min": 0.0, "max": math.inf}, "must be a finite number (got inf)", id="infinite-bound"
        ),
        pytest.param(
            {"min": 5, "max": 1},
            "min must be less than max (got min 5, max 1). Swap",
            id="min-above-max",
        ),
        pytest.param({"min": 1, "max": 1}, "Use value for a single value", id="min-equals-max"),
        pytest.param(
            {"distribution": "int_uniform", "min": 1, "max": 2.5},
            "max: must be a whole number",
            id="int-float",
        ),
        pytest.param(
            {"distribution": "log_uniform_values", "min": 0, "max": 1},
            "min: must be greater than 0",
            id="log-zero",
        ),
        pytest.param(
            {"distribution": "log_uniform", "min": 1, "max": 1000},
            "log_uniform_values",
            id="overflow",
        ),
        pytest.param(
            {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q: must be", id="q-zero"
        ),
        pytest.param(
            {"distribution": "normal", "sigma": -1},
            "sigma: must be at least 0",
            id="negative-sigma",
        ),
        pytest.param({"distribution": "beta", "a": 0}, "a: must be greater than 0", id="beta-zero"),
        pytest.param({"values": []}, "values: is empty", id="no-values"),
        pytest.param({"values": "adam"}, "Write values: [adam].", id="values-no-list"),
        pytest.param(
            {"values": [1, 2], "probabilities": [1]},
            "one number per value (got 1 for 2",
            id="too-few",
        ),
        pytest.param(
            {"values": [1, 2], "probabilities": [0.5, 0.6]}, "add up to 1 (got 1.1)", id="sum"
        ),
        pytest.param(
            {"values": [1, 2], "probabilities": [2, -1]},
            "numbers from 0 to 1",
            id="negative-weight",
        ),
    ],
)
def test_a_malformed_parameter_is_told_what_and_how_to_fix(node: Any, message: str) -> None:
    found = problems_of({"p": node})
    assert len(found) == 1
    assert found[0].startswith("parameters.p: ")
    assert message in found[0]


def test_all_malformed_parameters_are_reported_at_once() -> None:
    assert (
        len(
            problems_of({"a": 1, "b": {"min": 3, "max": 2}, "c": {"value": 1}, "d": {"values": []}})
        )
        == 3
    )


@pytest.mark.parametrize("section", [None, {}, [], "lr"], ids=["missing", "empty", "list", "text"])
def test_a_config_without_parameters_is_an_error(section: Any) -> None:
    with pytest.raises(ConfigError, match="must name at least one hyperparameter"):
        parse_parameters({"parameters": section})


@pytest.mark.parametrize(
    "name", ["1st", "learning rate", "", 3], ids=["digit", "space", "empty", "number"]
)
def test_a_name_that_wandb_refuses_is_an_error(name: Any) -> None:
    assert "is no valid name" in problems_of({name: {"value": 1}})[0]


def test_a_dotted_name_may_not_collide_with_a_nested_one() -> None:
    found = problems_of({"a": {"parameters": {"b": {"value": 1}}}, "a.b": {"value": 2}})
    assert "twice" in found[0]
