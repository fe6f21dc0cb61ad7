"""Definition: one parameter's entry in the YAML, the distribution it means, and what is wrong with it.

The forms and their defaults are those of W&B's "Sweep configuration options" page, section
``parameters``, and of the JSON schema of its ``sweeps`` package.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from fer_sweep.space.number import is_finite, number_text, parse_number

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
EXPONENT_BOUNDS = ("log_uniform", "q_log_uniform", "inv_log_uniform")
VALUE_BOUNDS = ("log_uniform_values", "q_log_uniform_values", "inv_log_uniform_values")
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
MAX_EXPONENT = 700.0  # exp() overflows a double just above


def definition_problems(name: str, node: Any) -> list[str]:
    """What is wrong with one parameter's definition; empty if nothing is.

    Args:
        name: The parameter's own name, without the blocks it is nested in.
        node: What the YAML has under that name.
    """
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
    distribution = infer_distribution(node)
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


def infer_distribution(node: Mapping[str, Any]) -> str:
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
    if distribution in VALUE_BOUNDS and node["min"] <= 0:
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
    if distribution in EXPONENT_BOUNDS and max(abs(node["min"]), abs(node["max"])) > MAX_EXPONENT:
        fix = f"Use distribution: {distribution}_values to give values."
        problems.append(
            f"{distribution} bounds are exponents of e, too large here (got {node['max']!r}). {fix}"
        )
    return problems


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
