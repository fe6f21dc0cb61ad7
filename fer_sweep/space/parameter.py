"""Parameter: one hyperparameter of a search space, in every form that W&B's YAML knows.

The forms and their defaults are those of W&B's "Sweep configuration options" page, section
``parameters``, and of the JSON schema of its ``sweeps`` package.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_sweep.space.number import is_finite, number_text, parse_number
from fer_sweep.space.problem import Problem, check_problems

_BOUNDS = ("min", "max")
_NORMAL = ("mu", "sigma")
_BETA = ("a", "b")

# What each distribution is described by, besides `distribution` itself.
DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    "int_uniform": _BOUNDS,
    "uniform": _BOUNDS,
    "q_uniform": (*_BOUNDS, "q"),
    "log_uniform": _BOUNDS,
    "log_uniform_values": _BOUNDS,
    "q_log_uniform": (*_BOUNDS, "q"),
    "q_log_uniform_values": (*_BOUNDS, "q"),
    "inv_log_uniform": _BOUNDS,
    "inv_log_uniform_values": _BOUNDS,
    "normal": _NORMAL,
    "q_normal": (*_NORMAL, "q"),
    "log_normal": _NORMAL,
    "q_log_normal": (*_NORMAL, "q"),
    "beta": _BETA,
    "q_beta": (*_BETA, "q"),
}
_EXPONENT_BOUNDS = ("log_uniform", "q_log_uniform", "inv_log_uniform")
_VALUE_BOUNDS = ("log_uniform_values", "q_log_uniform_values", "inv_log_uniform_values")
_KEYS = (
    "distribution",
    "value",
    "values",
    "probabilities",
    "min",
    "max",
    "q",
    "mu",
    "sigma",
    "a",
    "b",
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # the pattern of W&B's schema
_MAX_EXPONENT = 700.0  # exp() overflows a double just above


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
        return self.distribution in _EXPONENT_BOUNDS + _VALUE_BOUNDS

    @property
    def log_bounds(self) -> tuple[float, float]:
        """Bounds of the natural logarithm of a logarithmic parameter, before rounding to ``q``."""
        if self.distribution in _VALUE_BOUNDS:
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
        if self.distribution in _EXPONENT_BOUNDS:
            low, high = self.log_bounds
            return math.exp(min(low, _MAX_EXPONENT)), math.exp(min(high, _MAX_EXPONENT))
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
    value = math.exp(min(logarithm, _MAX_EXPONENT))
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
        texts = [] if isinstance(node, str) else _node_problems(path[-1], node)
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


def _node_problems(name: str, node: Any) -> list[str]:
    if not isinstance(node, Mapping):
        return [_bare_value(name, node)]
    if not node:
        return ["is empty. Give value, values, or min and max."]
    if any(isinstance(value, Mapping) for key, value in node.items() if key not in _KEYS):
        inner = ", ".join(str(key) for key in node)
        return [f"is a nested block (got {inner}). Put its content under {name}: parameters: …"]
    unknown = [key for key in node if key not in _KEYS]
    if unknown:
        return [_unknown_key(str(key)) for key in unknown]
    distribution = _distribution(node)
    if distribution not in DISTRIBUTIONS:
        return [distribution]
    allowed = ("distribution", *DISTRIBUTIONS[distribution])
    problems = [
        f"{key} has no meaning for distribution {distribution}. Remove it, or change the distribution."
        for key in node
        if key not in allowed
    ]
    return problems or _value_problems(distribution, node)


def _bare_value(name: str, node: Any) -> str:
    if isinstance(node, list | tuple):
        return f"must be a mapping (got the list {list(node)!r}). Write {name}: {{values: {list(node)!r}}}."
    return f"must be a mapping (got {node!r}). Write {name}: {{value: {node}}}."


def _unknown_key(key: str) -> str:
    close = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}? " if close else ""
    return f"{key}: unknown key. {hint}Known: {', '.join(_KEYS)}."


def _distribution(node: Mapping[str, Any]) -> str:
    """The distribution a definition has or implies; if that fails, the text that says why."""
    if "distribution" in node:
        given = node["distribution"]
        if given == "categorical" and "probabilities" in node:
            return "categorical_w_probabilities"
        if isinstance(given, str) and given in DISTRIBUTIONS:
            return given
        close = difflib.get_close_matches(
            str(given).replace("-", "_"), DISTRIBUTIONS, n=1, cutoff=0.5
        )
        hint = f"Did you mean {close[0]}? " if close else ""
        known = ", ".join(DISTRIBUTIONS)
        return f"distribution: unknown (got {given!r}). {hint}Known: {known}."
    if "values" in node:
        return "categorical_w_probabilities" if "probabilities" in node else "categorical"
    if "value" in node:
        return "constant"
    if "min" in node and "max" in node:
        bounds = [node["min"], node["max"]]
        return "int_uniform" if all(_is_int(bound) for bound in bounds) else "uniform"
    if "min" in node or "max" in node:
        missing = "max" if "min" in node else "min"
        return f"has no {missing}. Add it: a range needs both min and max."
    return f"needs a distribution (got only {', '.join(node)}). Add distribution: normal, beta, …"


def _value_problems(distribution: str, node: Mapping[str, Any]) -> list[str]:
    keys = DISTRIBUTIONS[distribution]
    required = [key for key in keys if key in ("value", "values", "probabilities", *_BOUNDS)]
    missing = [
        f"{key}: is missing. Distribution {distribution} needs it."
        for key in required
        if key not in node
    ]
    if missing:
        return missing
    if distribution == "constant":
        return []
    if "values" in keys:
        return _choice_problems(node)
    problems = [
        f"{key}: {not_a_number(node[key])}"
        for key in keys
        if key in node and not is_finite(node[key])
    ]
    return problems or _range_problems(distribution, node)


def not_a_number(value: Any) -> str:
    """What to say of a value that should be a finite number.

    Example:
        >>> not_a_number("1e-4")
        "must be a number (got the text '1e-4'). YAML reads 1e-4 as text: write 0.0001."
    """
    if not isinstance(value, str):
        return f"must be a finite number (got {value!r})."
    number = parse_number(value)
    if number is None:
        return f"must be a number (got the text {value!r})."
    reason = f"YAML reads {value} as text: write" if "e" in value.lower() else "Write"
    return f"must be a number (got the text {value!r}). {reason} {number_text(number)}."


def _choice_problems(node: Mapping[str, Any]) -> list[str]:
    values = node["values"]
    if not isinstance(values, list | tuple):
        return [f"values: must be a list (got {values!r}). Write values: [{values}]."]
    if not values:
        return ["values: is empty. Give at least one."]
    if "probabilities" not in node:
        return []
    probabilities = node["probabilities"]
    if not isinstance(probabilities, list | tuple) or len(probabilities) != len(values):
        got = len(probabilities) if isinstance(probabilities, list | tuple) else repr(probabilities)
        return [
            f"probabilities: must be one number per value (got {got} for {len(values)} values)."
        ]
    if not all(is_finite(p) and 0 <= p <= 1 for p in probabilities):
        return [f"probabilities: must be numbers from 0 to 1 (got {list(probabilities)!r})."]
    if abs(sum(probabilities) - 1) > 1e-6:
        return [f"probabilities: must add up to 1 (got {sum(probabilities):g}). Scale them."]
    return []


def _range_problems(distribution: str, node: Mapping[str, Any]) -> list[str]:
    problems = []
    if "min" in node and node["min"] >= node["max"]:
        got = f"min {number_text(node['min'])}, max {number_text(node['max'])}"
        fix = "Swap them." if node["min"] > node["max"] else "Use value for a single value."
        problems.append(f"min must be less than max (got {got}). {fix}")
    if distribution == "int_uniform":
        problems += [
            f"{key}: must be a whole number for int_uniform (got {node[key]!r}). Use distribution: uniform."
            for key in _BOUNDS
            if not _is_int(node[key])
        ]
    if distribution in _VALUE_BOUNDS and node["min"] <= 0:
        got = number_text(node["min"])
        problems.append(
            f"min: must be greater than 0 for {distribution} (got {got}). Use a small one."
        )
    if "q" in node and "q" in DISTRIBUTIONS[distribution] and node["q"] <= 0:
        problems.append(f"q: must be greater than 0 (got {number_text(node['q'])}).")
    for key, low, words in (
        ("sigma", 0, "at least 0"),
        ("a", 0, "greater than 0"),
        ("b", 0, "greater than 0"),
    ):
        if key in node and (node[key] < low or (key != "sigma" and node[key] == low)):
            problems.append(f"{key}: must be {words} (got {number_text(node[key])}).")
    if distribution in _EXPONENT_BOUNDS and max(abs(node["min"]), abs(node["max"])) > _MAX_EXPONENT:
        fix = f"Use distribution: {distribution}_values to give values."
        problems.append(
            f"{distribution} bounds are exponents of e, too large here (got {node['max']!r}). {fix}"
        )
    return problems


def _parse(path: tuple[str, ...], node: Mapping[str, Any]) -> Parameter:
    distribution = _distribution(node)
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


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
