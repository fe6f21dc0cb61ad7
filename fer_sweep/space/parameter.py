"""Parameter: one hyperparameter of a search space, and the values it may take."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_sweep.space.definition import (
    DISTRIBUTIONS,
    EXPONENT_BOUNDS,
    MAX_EXPONENT,
    VALUE_BOUNDS,
    definition_problems,
    infer_distribution,
)
from fer_sweep.space.problem import Problem, check_problems

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # the pattern of W&B's schema


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter and the values it may take.

    Attributes:
        name: Dotted for nested parameters, such as ``optimizer.lr``.
        path: The keys that lead to the value in a run's nested config.
        distribution: A key of ``DISTRIBUTIONS``; inferred where the YAML leaves it out.
        values: The choices of a categorical, the one value of a constant, else empty.
        probabilities: One per value, or None when they are all alike.
        min: Lower bound as written: an exponent for ``log_uniform`` and its kin.
        max: Upper bound as written.
        q: Step of the ``q_`` distributions; an int makes the values ints.
        mu: Mean (of the logarithm, for ``log_normal``).
        sigma: Standard deviation (of the logarithm, for ``log_normal``).
        a: First shape of a beta distribution.
        b: Second shape of a beta distribution.
    """

    name: str
    path: tuple[str, ...]
    distribution: str
    values: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] | None = None
    min: float = 0
    max: float = 0
    q: float = 1.0
    mu: float = 0.0
    sigma: float = 1.0
    a: float = 1.0
    b: float = 1.0

    @property
    def is_constant(self) -> bool:
        """Whether it is no part of the search."""
        return self.distribution == "constant"

    @property
    def is_logarithmic(self) -> bool:
        """Whether the logarithm of the value is spread evenly between two bounds."""
        return self.distribution in EXPONENT_BOUNDS + VALUE_BOUNDS

    @property
    def log_bounds(self) -> tuple[float, float]:
        """Bounds of the natural logarithm of a logarithmic parameter, before rounding to ``q``."""
        if self.distribution in VALUE_BOUNDS:
            return math.log(self.min), math.log(self.max)
        if self.distribution == "inv_log_uniform":
            return -self.max, -self.min
        return self.min, self.max

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value it can take, after rounding to ``q``; infinite for normals.

        Example:
            >>> from fer_sweep.space import parse_parameters
            >>> space = {"p": {"distribution": "q_uniform", "min": 0, "max": 0.96, "q": 0.1}}
            >>> parse_parameters({"parameters": space})["p"].bounds
            (0.0, 1.0)
        """
        low, high = self._unrounded_bounds()
        if self.distribution.startswith("q_"):
            return self.rounded(low), self.rounded(high)
        return low, high

    def _unrounded_bounds(self) -> tuple[float, float]:
        if self.distribution in EXPONENT_BOUNDS:
            low, high = self.log_bounds
            return math.exp(min(low, MAX_EXPONENT)), math.exp(min(high, MAX_EXPONENT))
        if self.distribution in ("normal", "q_normal"):
            return -math.inf, math.inf
        if self.distribution in ("log_normal", "q_log_normal"):
            return 0.0, math.inf
        if self.distribution in ("beta", "q_beta"):
            return 0.0, 1.0
        return self.min, self.max

    def rounded(self, value: float) -> float:
        """The nearest multiple of ``q``: an int if ``q`` is one, without the float's last-digit noise."""
        if math.isinf(value):
            return value
        return self.multiple(round(value / self.q))

    def multiple(self, count: int) -> float:
        """``count`` times ``q``, clean: three times 0.1 is 0.3."""
        if isinstance(self.q, int):
            return count * self.q
        return float(f"{count * self.q:.12g}")


def from_logarithm(parameter: Parameter, logarithm: float) -> float:
    """The value with this natural logarithm, rounded to ``q`` or kept in bounds despite exp()'s rounding."""
    value = math.exp(min(logarithm, MAX_EXPONENT))
    if parameter.distribution.startswith("q_"):
        return parameter.rounded(value)
    low, high = parameter.bounds
    return min(max(value, low), high)


def parse_parameters(config: Mapping[str, Any]) -> dict[str, Parameter]:
    """Read the search space of a sweep config.

    Args:
        config: The whole config; its ``parameters`` may be nested with ``parameters:`` blocks.

    Returns:
        Parameters by dotted name, sorted by name, nested ones in the place of their block; this is the
        order in which a grid varies them, the last fastest.

    Raises:
        ConfigError: With every malformed parameter.

    Example:
        >>> space = {"lr": {"min": 0.1, "max": 0.5}, "net": {"parameters": {"depth": {"values": [2, 4]}}}}
        >>> [(p.name, p.distribution) for p in parse_parameters({"parameters": space}).values()]
        [('lr', 'uniform'), ('net.depth', 'categorical')]
    """
    parameters, problems = read_parameters(config)
    check_problems(problems)
    return parameters


def read_parameters(
    config: Mapping[str, Any], *, where: str = ""
) -> tuple[dict[str, Parameter], list[Problem]]:
    """Read what is well-formed of the search space, and say what is not.

    Args:
        config: The whole sweep config.
        where: Prefix of each problem, such as the file's name.

    Returns:
        The well-formed parameters as ``parse_parameters`` gives them, and the problems of the others.
    """
    prefix = f"{where}: parameters" if where else "parameters"
    section = config.get("parameters")
    if not isinstance(section, Mapping) or not section:
        got = "nothing" if section is None else repr(section)
        text = f"must name at least one hyperparameter (got {got}). Add, say, dropout: {{values: [0.0, 0.3]}}."
        return {}, [Problem(prefix, text)]
    parameters: dict[str, Parameter] = {}
    problems: list[Problem] = []
    for path, node in _leaves(section, ()):
        name = ".".join(path)
        place = f"{prefix}.{name}"
        texts = [] if isinstance(node, str) else definition_problems(path[-1], node)
        if isinstance(node, str):
            texts = [node]
        elif name in parameters:
            texts.append("is there twice, nested and with a dot in its name. Remove one.")
        if texts:
            problems += [Problem(place, text) for text in texts]
        else:
            parameters[name] = _parse(path, node)
    return parameters, problems


def _leaves(
    section: Mapping[Any, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each parameter's path and definition; a text in place of a definition is what is wrong with it."""
    for key in sorted(section, key=str):
        node, inner = section[key], (*path, str(key))
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            yield (
                inner,
                f"is no valid name (got {key!r}). Use letters, digits, _, - and ., a letter first.",
            )
        elif isinstance(node, Mapping) and "parameters" in node:
            others = [other for other in node if other != "parameters"]
            nested = node["parameters"]
            if others:
                yield (
                    inner,
                    f"has parameters: and also {', '.join(map(str, others))}. Keep one or the other.",
                )
            elif not isinstance(nested, Mapping) or not nested:
                yield inner, f"parameters: must hold at least one hyperparameter (got {nested!r})."
            else:
                yield from _leaves(nested, inner)
        else:
            yield inner, node


def _parse(path: tuple[str, ...], node: Mapping[str, Any]) -> Parameter:
    distribution = infer_distribution(node)
    name = ".".join(path)
    if distribution == "constant":
        return Parameter(name, path, distribution, values=(node["value"],))
    if "values" in node:
        weights: Sequence[float] | None = node.get("probabilities")
        probabilities = None if weights is None else tuple(float(p) for p in weights)
        return Parameter(
            name, path, distribution, values=tuple(node["values"]), probabilities=probabilities
        )
    numbers = {key: node[key] for key in DISTRIBUTIONS[distribution] if key in node}
    return Parameter(name, path, distribution, **numbers)
