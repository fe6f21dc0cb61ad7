"""Cells: the single points of a finite search space, and when two of them are the same."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from fer_sweep.space.number import is_number
from fer_sweep.space.parameter import Parameter, parse_parameters

NOT_ENUMERABLE = (
    "a grid cannot enumerate it. Use values: […], an integer range, q_uniform, or method: random."
)
_GRID_DISTRIBUTIONS = ("constant", "categorical", "int_uniform", "q_uniform")


@dataclass(frozen=True)
class Steps(Sequence[float]):
    """Evenly spaced values that are not held in memory, as ``range`` is for floats.

    Attributes:
        start: The first value.
        step: What each adds to the one before; ints stay ints.
        length: How many there are.
    """

    start: float
    step: float
    length: int

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.length))]
        value = self.start + range(self.length)[index] * self.step
        return value if isinstance(value, int) else float(f"{value:.12g}")


def grid_values(parameter: Parameter) -> Sequence[Any] | None:
    """The values a grid goes through, in order; None if a grid cannot enumerate the parameter.

    As in W&B: integers from min to max, and for ``q_uniform`` min, min + q, … below max (max itself is
    left out); values listed twice come once; probabilities have no place in a grid.

    Example:
        >>> from fer_sweep.space import parse_parameters
        >>> space = {"p": {"distribution": "q_uniform", "min": 0.0, "max": 0.4, "q": 0.1}}
        >>> list(grid_values(parse_parameters({"parameters": space})["p"]))
        [0.0, 0.1, 0.2, 0.3]
    """
    if parameter.distribution not in _GRID_DISTRIBUTIONS:
        return None
    if parameter.distribution == "int_uniform":
        return range(int(parameter.min), int(parameter.max) + 1)
    if parameter.distribution == "q_uniform":
        count = math.ceil(round((parameter.max - parameter.min) / parameter.q, 9))
        return Steps(parameter.min, parameter.q, count)
    return _unique(parameter.values)


def random_values(parameter: Parameter) -> Sequence[Any] | None:
    """All values that random and bayes search can draw, ascending or as listed; None if infinite."""
    if parameter.distribution == "categorical_w_probabilities":
        weights = parameter.probabilities or ()
        return _unique(
            value for value, weight in zip(parameter.values, weights, strict=True) if weight > 0
        )
    if parameter.distribution in ("constant", "categorical", "int_uniform"):
        return grid_values(parameter)
    if not parameter.distribution.startswith("q_"):
        return None
    low, high = parameter.bounds
    if math.isinf(low) or math.isinf(high):
        return None
    return Steps(low, parameter.q, round((high - low) / parameter.q) + 1)


def count_cells(config: Mapping[str, Any]) -> int | None:
    """Number of different trials a sweep can make, ``run_cap`` aside; None if there is no end.

    Raises:
        ConfigError: If the parameters are malformed.

    Example:
        >>> count_cells({"method": "grid", "parameters": {"a": {"values": [1, 2]}, "b": {"min": 1, "max": 3}}})
        6
    """
    values = grid_values if config.get("method") == "grid" else random_values
    count = 1
    for parameter in parse_parameters(config).values():
        choices = values(parameter)
        if choices is None:
            return None
        count *= len(choices)
    return count


def value_key(value: Any) -> str:
    """A text that is the same for the same value after any round trip through JSON or YAML.

    2 and 2.0 are the same, and so are floats that agree in 12 digits; True and 1 are not.

    Example:
        >>> value_key(2) == value_key(2.0), value_key(0.1 + 0.2) == value_key(0.3), value_key(True) == value_key(1)
        (True, True, False)
    """
    if is_number(value):
        if math.isfinite(value) and value == int(value):
            return str(int(value))
        return f"{value:.12g}"
    if isinstance(value, Mapping):
        inner = sorted(f"{key}={value_key(item)}" for key, item in value.items())
        return "{" + ",".join(inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(value_key(item) for item in value) + "]"
    return json.dumps(value, default=str)


def cell_key(parameters: Iterable[Parameter], values: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Identifies the cell that a run's nested config lies in; constants do not count.

    Returns:
        One key per searched parameter, or None if the config lacks one: such a run, attached from
        elsewhere, lies in no cell.
    """
    searched = (parameter for parameter in parameters if not parameter.is_constant)
    try:
        return tuple(value_key(find_value(parameter, values)) for parameter in searched)
    except KeyError:
        return None


def find_value(parameter: Parameter, values: Mapping[str, Any]) -> Any:
    """A parameter's value in a run's config, nested or under its dotted name.

    Raises:
        KeyError: If the config does not have it.
    """
    node: Any = values
    for key in parameter.path:
        if not isinstance(node, Mapping) or key not in node:
            return values[parameter.name]
        node = node[key]
    return node


def nest(parameters: Iterable[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """The nested config of a run from values by dotted name.

    Example:
        >>> from fer_sweep.space import parse_parameters
        >>> space = {"net": {"parameters": {"depth": {"value": 4}, "width": {"value": 8}}}}
        >>> nest(parse_parameters({"parameters": space}).values(), {"net.depth": 4, "net.width": 8})
        {'net': {'depth': 4, 'width': 8}}
    """
    nested: dict[str, Any] = {}
    for parameter in parameters:
        node = nested
        for key in parameter.path[:-1]:
            node = node.setdefault(key, {})
        node[parameter.path[-1]] = values[parameter.name]
    return nested


def _unique(values: Iterable[Any]) -> list[Any]:
    unique: dict[str, Any] = {}
    for value in values:
        unique.setdefault(value_key(value), value)
    return list(unique.values())
