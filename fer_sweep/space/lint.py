"""Lint: everything that is wrong with a sweep config, all at once, each with its fix."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from fer_sweep.space.cells import NOT_ENUMERABLE, count_cells, grid_values, value_key
from fer_sweep.space.definition import not_a_number
from fer_sweep.space.hyperband import hyperband_problems
from fer_sweep.space.number import is_finite, number_text, parse_number
from fer_sweep.space.parameter import Parameter, read_parameters
from fer_sweep.space.problem import Problem
from fer_sweep.space.trial_lint import lint_trials

PROGRAM = "agents/train.py"
METHODS = ("grid", "random", "bayes")
# The top level of W&B's schema, and `settings`, which `wandb sweep --settings` adds.
_TOP_KEYS = (
    "apiVersion", "kind", "controller", "description", "program", "job", "image_uri", "entity", "project",
    "method", "command", "name", "run_cap", "metric", "metrics", "scheduler", "early_terminate",
    "parameters", "settings",
)  # fmt: skip
_METRIC_KEYS = ("name", "goal", "target", "impute", "impute_while_running")
_LARGE_EXPONENT = 20  # exp(20) is half a billion: no hyperparameter is meant to be that large


def is_ours(config: Mapping[str, Any]) -> bool:
    """Whether the sweep's trials are run by our ``train()``: its program is ours, or not given."""
    program = config.get("program")
    return program is None or str(program).replace("\\", "/").removeprefix("./").endswith(PROGRAM)


def lint(config: object, *, where: str, ours: bool | None = None) -> list[Problem]:
    """Find everything that is wrong or odd about a sweep config.

    Args:
        config: The plain dict of the YAML; anything else is a problem too.
        where: Names it in the problems, such as the file.
        ours: Whether parameters and metric are checked against what our ``train()`` takes and logs; by
            default they are if the program is ours.

    Returns:
        Errors and warnings in the order of the config's sections.

    Example:
        >>> space = {"dropout": {"min": 0.5, "max": 0.1}, "epochs": {"value": 5}}
        >>> for problem in lint({"method": "random", "run_cap": 9, "parameters": space}, where="s.yaml"):
        ...     print(problem)
        s.yaml: parameters.dropout: min must be less than max (got min 0.5, max 0.1). Swap them.
    """
    if not isinstance(config, Mapping):
        return [
            Problem(
                where, f"must be a mapping (got {config!r}). Start with method: and parameters:."
            )
        ]
    parameters, problems = read_parameters(config, where=where)
    ours = is_ours(config) if ours is None else ours
    found = [
        *_lint_keys(config, where),
        *_lint_method(config, where),
        *_lint_run_cap(config, where, complete=not problems),
        *_lint_metric(config, where),
        *_lint_early_terminate(config, where),
        *problems,
    ]
    for parameter in parameters.values():
        found += _lint_parameter(
            parameter, f"{where}: parameters.{parameter.name}", config.get("method")
        )
    if ours:
        found += lint_trials(config, parameters, where)
    else:
        found += _lint_text_numbers(parameters, where)
    return list(dict.fromkeys(found))


def _lint_keys(config: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for key in config:
        if key not in _TOP_KEYS:
            close = difflib.get_close_matches(str(key), _TOP_KEYS, n=1, cutoff=0.6)
            hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(_TOP_KEYS)}."
            yield Problem(f"{where}: {key}", f"no such key of a sweep. {hint}")
    for key in ("program", "name", "entity", "project", "description"):
        if config.get(key) is not None and not isinstance(config[key], str):
            yield Problem(
                f"{where}: {key}", f"must be text (got {config[key]!r}). Put it in quotes."
            )
    if not isinstance(config.get("command", []), list):
        yield Problem(
            f"{where}: command",
            f"must be a list (got {config['command']!r}). Write one item per word.",
        )


def _lint_method(config: Mapping[str, Any], where: str) -> Iterator[Problem]:
    method = config.get("method")
    if method in METHODS:
        return
    known = f"Known: {', '.join(METHODS)}."
    if method is None:
        yield Problem(f"{where}: method", f"is missing. {known}")
    elif method == "custom":
        yield Problem(
            f"{where}: method", f"custom needs a scheduler of W&B's own (got custom). {known}"
        )
    else:
        close = difflib.get_close_matches(str(method), METHODS, n=1, cutoff=0.4)
        hint = f"Did you mean {close[0]}? " if close else ""
        yield Problem(f"{where}: method", f"unknown (got {method!r}). {hint}{known}")


def _lint_run_cap(config: Mapping[str, Any], where: str, *, complete: bool) -> Iterator[Problem]:
    cap = config.get("run_cap")
    if cap is not None:
        if not isinstance(cap, int) or isinstance(cap, bool) or cap < 1:
            yield Problem(
                f"{where}: run_cap", f"must be a whole number of at least 1 (got {cap!r})."
            )
        return
    if config.get("method") not in ("random", "bayes") or not complete:
        return
    cells = count_cells(config)
    ends = (
        "never ends"
        if cells is None
        else f"ends only after all {cells} cells, and never in W&B's cloud"
    )
    text = f"is missing: method {config['method']} {ends}. Add, say, run_cap: 20."
    yield Problem(f"{where}: run_cap", text, "warning")


def _lint_metric(config: Mapping[str, Any], where: str) -> Iterator[Problem]:
    metric = config.get("metric")
    place = f"{where}: metric"
    if metric is None:
        needing = ["early_terminate"] if config.get("early_terminate") is not None else []
        if config.get("method") == "bayes":
            needing.insert(0, "method: bayes")
        if needing and "metrics" not in config:
            yield Problem(
                place,
                f"is missing, and {' and '.join(needing)} needs it. "
                "Add metric: {name: best/val_accuracy, goal: maximize}.",
            )
        return
    if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
        yield Problem(
            place,
            f"must be a mapping with a name (got {metric!r}). Write metric: {{name: …, goal: …}}.",
        )
        return
    for key in metric:
        if key not in _METRIC_KEYS:
            yield Problem(f"{place}.{key}", f"unknown key. Known: {', '.join(_METRIC_KEYS)}.")
    if metric.get("goal", "minimize") not in ("minimize", "maximize"):
        yield Problem(f"{place}.goal", f"must be minimize or maximize (got {metric['goal']!r}).")
    if "target" in metric and not is_finite(metric["target"]):
        yield Problem(f"{place}.target", f"must be a number (got {metric['target']!r}).")


def _lint_early_terminate(config: Mapping[str, Any], where: str) -> Iterator[Problem]:
    if config.get("early_terminate") is not None:
        for key, text in hyperband_problems(config["early_terminate"]):
            yield Problem(f"{where}: early_terminate{key}", text)
        if (
            isinstance(config["early_terminate"], Mapping)
            and "compare" in config["early_terminate"]
        ):
            text = "is fersweep's own: only its server obeys it. W&B's always compares the best value so far."
            yield Problem(f"{where}: early_terminate.compare", text, "warning")


def _lint_parameter(parameter: Parameter, place: str, method: Any) -> Iterator[Problem]:
    if len({value_key(value) for value in parameter.values}) < len(parameter.values):
        yield Problem(
            place,
            f"values: lists a value twice (got {list(parameter.values)!r}). Remove one.",
            "warning",
        )
    if method == "grid" and grid_values(parameter) is None:
        if parameter.probabilities is not None:
            yield Problem(
                place,
                "probabilities have no meaning in a grid. Remove them, or use method: random.",
            )
        else:
            yield Problem(place, f"{NOT_ENUMERABLE[0].lower()}{NOT_ENUMERABLE[1:]}")
    if parameter.is_logarithmic and not parameter.distribution.endswith("_values"):
        yield from _lint_exponents(parameter, place)


def _lint_text_numbers(parameters: Mapping[str, Parameter], where: str) -> Iterator[Problem]:
    """Choices such as 1e-4, which YAML reads as text; in somebody else's trials that may be meant."""
    for parameter in parameters.values():
        for value in parameter.values:
            if isinstance(value, str) and "e" in value.lower() and parse_number(value) is not None:
                place = f"{where}: parameters.{parameter.name}"
                yield Problem(place, not_a_number(value), "warning")


def _lint_exponents(parameter: Parameter, place: str) -> Iterator[Problem]:
    """The bounds of log_uniform are exponents of e; people write values."""
    low, high = parameter.min, parameter.max
    small = low > 0 and high <= 1
    if not small and high <= _LARGE_EXPONENT:
        return
    first, last = (math.exp(bound) for bound in parameter.log_bounds)
    yield Problem(
        place,
        f"the bounds of {parameter.distribution} are exponents of e (got {number_text(low)} to "
        f"{number_text(high)}, that is values from {first:.4g} to {last:.4g}). "
        f"Use distribution: {parameter.distribution}_values.",
    )
