"""Cells: what a grid and random search enumerate, and when two cells are the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_sweep.space import (
    Parameter,
    cell_key,
    count_cells,
    dump_sweep,
    find_value,
    grid_values,
    nest,
    parse_parameters,
    random_values,
    value_key,
)

repeatable = settings(derandomize=True, database=None, deadline=None)


def parse(node: dict[str, Any]) -> Parameter:
    return parse_parameters({"parameters": {"p": node}})["p"]


def listed(values: Any) -> Any:
    return None if values is None else list(values)


@pytest.mark.parametrize(
    ("node", "grid", "random"),
    [
        pytest.param({"value": 7}, [7], [7], id="constant"),
        pytest.param(
            {"values": ["b", "a", "b"]}, ["b", "a"], ["b", "a"], id="duplicate-values-once"
        ),
        pytest.param({"values": [1, 1.0, True]}, [1, True], [1, True], id="one-and-true-differ"),
        pytest.param({"min": 2, "max": 4}, [2, 3, 4], [2, 3, 4], id="int-range-with-both-ends"),
        pytest.param(
            {"distribution": "q_uniform", "min": 0.0, "max": 0.3, "q": 0.1},
            [0.0, 0.1, 0.2],
            [0.0, 0.1, 0.2, 0.3],
            id="q_uniform-grid-leaves-max-out-as-wandb",
        ),
        pytest.param(
            {"distribution": "q_uniform", "min": 1, "max": 9, "q": 4},
            [1, 5],
            [0, 4, 8],
            id="int-q-gives-ints",
        ),
        pytest.param({"min": 0.0, "max": 1.0}, None, None, id="float-range"),
        pytest.param(
            {"values": [1, 2, 3], "probabilities": [0.5, 0, 0.5]},
            None,
            [1, 3],
            id="weightless-value-never-drawn",
        ),
        pytest.param(
            {"distribution": "q_log_uniform_values", "min": 8, "max": 20, "q": 4},
            None,
            [8, 12, 16, 20],
            id="q_log",
        ),
        pytest.param({"distribution": "q_beta", "q": 0.5}, None, [0.0, 0.5, 1.0], id="q_beta"),
        pytest.param({"distribution": "q_normal"}, None, None, id="q_normal-is-endless"),
    ],
)
def test_enumerable_values(node: dict[str, Any], grid: Any, random: Any) -> None:
    parameter = parse(node)
    assert repr(listed(grid_values(parameter))) == repr(grid)  # 1 and 1.0 differ here
    assert repr(listed(random_values(parameter))) == repr(random)


def test_cells_multiply_and_constants_count_as_one() -> None:
    space = {"a": {"values": [1, 2]}, "b": {"min": 1, "max": 5}, "c": {"value": 3}}
    assert count_cells({"method": "grid", "parameters": space}) == 10
    assert (
        count_cells({"method": "random", "parameters": space | {"d": {"min": 0.0, "max": 1.0}}})
        is None
    )


def test_a_huge_integer_range_is_counted_without_being_listed() -> None:
    space = {"seed": {"min": 0, "max": 2**31 - 1}, "other": {"min": 0, "max": 2**31 - 1}}
    assert count_cells({"method": "grid", "parameters": space}) == 2**62


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False),
    st.text(max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@repeatable
@given(values)
def test_a_value_keeps_its_key_through_json_and_yaml(value: Any) -> None:
    assert value_key(json.loads(json.dumps(value))) == value_key(value)
    if not isinstance(value, str | list | dict):  # YAML cannot write every control character
        assert value_key(yaml.safe_load(dump_sweep({"v": value}))["v"]) == value_key(value)


@repeatable
@given(st.integers(-(2**50), 2**50))
def test_a_whole_float_is_the_same_value_as_the_int(number: int) -> None:
    assert value_key(float(number)) == value_key(number)


@repeatable
@given(
    st.lists(
        st.sampled_from([0, 1, True, False, None, "1", "", 0.5, "0.5", [1], [True]]), max_size=2
    )
)
def test_different_values_have_different_keys(pair: list[Any]) -> None:
    if len(pair) == 2 and (type(pair[0]), pair[0]) != (type(pair[1]), pair[1]):
        assert value_key(pair[0]) != value_key(pair[1])


def test_a_cell_is_found_in_nested_and_in_dotted_configs() -> None:
    space = {
        "net": {"parameters": {"depth": {"values": [2, 4]}}},
        "lr": {"values": [0.1]},
        "k": {"value": 1},
    }
    parameters = list(parse_parameters({"parameters": space}).values())
    nested = nest(parameters, {"net.depth": 4, "lr": 0.1, "k": 1})
    assert nested == {"net": {"depth": 4}, "lr": 0.1, "k": 1}
    assert find_value(parameters[2], nested) == 4
    assert cell_key(parameters, nested) == cell_key(
        parameters, {"net.depth": 4.0, "lr": 0.1, "k": "ignored"}
    )
    assert cell_key(parameters, {"lr": 0.1}) is None
