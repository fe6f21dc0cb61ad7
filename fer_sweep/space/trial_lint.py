"""Trial lint: whether our ``train()`` can run the trials of a sweep, and logs its metric."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fer_sweep.errors import ConfigError
from fer_sweep.space.cells import random_values
from fer_sweep.space.hyperband import parse_hyperband
from fer_sweep.space.number import is_finite, number_text
from fer_sweep.space.parameter import Parameter
from fer_sweep.space.problem import Problem
from fer_sweep.train_config import TrainConfig, unknown_parameter, value_problem

# What train() logs once an epoch (architecture.md, decision 6).
METRICS = (
    "best/val_accuracy", "train/loss", "train/accuracy", "train_eval/loss", "train_eval/accuracy",
    "val/loss", "val/accuracy", "val/macro_f1", "lr", "grad_norm", "time/epoch_s", "images_per_s",
)  # fmt: skip
_WITHOUT_BATCH_NORM = ("cnn1", "cnn2", "cnn4")
# Adam at 0.01 took networks without batch-norm to 14-25 % on FER2013 in two independent run sets.
_ADAM_LIMIT = 0.01
_MANY_DECADES = 100  # max/min from which an even spread leaves the low decades untried


def lint_trials(
    config: Mapping[str, Any], parameters: Mapping[str, Parameter], where: str
) -> Iterator[Problem]:
    """Check a sweep of ours against ``TrainConfig`` and the logged metrics.

    Args:
        config: The whole sweep config.
        parameters: Its well-formed parameters by dotted name.
        where: Names the config in the problems.
    """
    yield from _lint_metric_name(config.get("metric"), f"{where}: metric")
    for parameter in parameters.values():
        if not parameter.name.startswith(("_", "wandb")):
            yield from _lint_parameter(parameter, f"{where}: parameters.{parameter.name}")
    yield from _lint_divergence(parameters, where)
    yield from _lint_brackets(config, parameters, where)


def _lint_metric_name(metric: Any, place: str) -> Iterator[Problem]:
    if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
        return
    name = metric["name"]
    if name not in METRICS:
        close = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.5)
        nearest = "best/val_accuracy" if close == ["val/accuracy"] else "".join(close)
        hint = f"Did you mean {nearest}? " if nearest else ""
        known = ", ".join(METRICS)
        yield Problem(
            f"{place}.name", f"train() does not log it (got {name!r}). {hint}Known: {known}."
        )
        return
    goal = metric.get("goal", "minimize")
    right = (
        "maximize"
        if name.endswith(("accuracy", "f1"))
        else "minimize"
        if name.endswith("loss")
        else goal
    )
    if goal in ("minimize", "maximize") and goal != right:
        got = goal if "goal" in metric else "no goal, and W&B's default is minimize"
        yield Problem(
            f"{place}.goal", f"would seek the worst {name} (got {got}). Write goal: {right}."
        )
    if name == "val/accuracy":
        text = "judges a run by its last epoch (got val/accuracy). best/val_accuracy judges by its best."
        yield Problem(f"{place}.name", text, "warning")


def _lint_parameter(parameter: Parameter, place: str) -> Iterator[Problem]:
    name = parameter.name
    if name not in TrainConfig.model_fields:
        yield Problem(place, unknown_parameter(name, place).removeprefix(f"{place}: {name}: "))
    elif len(parameter.path) > 1:
        yield Problem(place, "our trials take flat names. Move it out of the parameters: block.")
    elif parameter.values:
        key = "value" if parameter.is_constant else "values"
        for value in parameter.values:
            problem = value_problem(name, value)
            if problem:
                yield Problem(place, f"{key}: {problem}")
    else:
        yield from _lint_range(parameter, place)


def _lint_range(parameter: Parameter, place: str) -> Iterator[Problem]:
    kind = TrainConfig.model_fields[parameter.name].annotation
    if kind not in (int, float):
        yield Problem(
            place, f"is a choice, not a range (got {parameter.distribution}). Use values: […]."
        )
        return
    whole = parameter.distribution == "int_uniform" or (
        parameter.distribution.startswith("q_") and float(parameter.q).is_integer()
    )
    if kind is int and not whole:
        yield Problem(
            place,
            f"takes whole numbers (got distribution {parameter.distribution}). "
            "Use whole min and max with distribution: int_uniform, or values.",
        )
        return
    if kind is float and parameter.distribution == "int_uniform":
        low, high = number_text(float(parameter.min)), number_text(float(parameter.max))
        yield Problem(
            place,
            f"would try whole numbers only (got {parameter.min} to {parameter.max}). "
            f"Write min: {low} and max: {high}.",
            "warning",
        )
    yield from _lint_bounds(parameter, place, whole=kind is int)
    even = parameter.name == "learning_rate" and parameter.distribution == "uniform"
    if even and parameter.max >= _MANY_DECADES * parameter.min > 0:
        text = "an even spread over decades hardly tries the small ones. Use log_uniform_values."
        yield Problem(place, text, "warning")


def _lint_bounds(parameter: Parameter, place: str, *, whole: bool) -> Iterator[Problem]:
    if any(math.isinf(bound) for bound in parameter.bounds):
        text = (
            f"distribution {parameter.distribution} has no bounds, and a trial out of bounds fails."
        )
        yield Problem(place, f"{text} Use uniform or log_uniform_values.", "warning")
        return
    for key, bound in zip(("min", "max"), parameter.bounds, strict=True):
        problem = value_problem(parameter.name, int(bound) if whole else bound)
        if problem:
            yield Problem(place, f"{key}: {problem}")


def _possible(parameters: Mapping[str, Parameter], name: str) -> Sequence[Any]:
    """The values, or the two bounds, that a hyperparameter can take in the sweep."""
    parameter = parameters.get(name)
    if parameter is None:
        return [TrainConfig.model_fields[name].default]
    if parameter.values:
        return random_values(parameter) or parameter.values
    return parameter.bounds


def _lint_divergence(parameters: Mapping[str, Parameter], where: str) -> Iterator[Problem]:
    rates = [rate for rate in _possible(parameters, "learning_rate") if is_finite(rate)]
    bare = [arch for arch in _possible(parameters, "arch") if arch in _WITHOUT_BATCH_NORM]
    adams = [name for name in _possible(parameters, "optimizer") if name in ("adam", "adamw")]
    if rates and max(rates) >= _ADAM_LIMIT and bare and adams:
        yield Problem(
            f"{where}: parameters.learning_rate",
            f"{adams[0]} at 0.01 or more diverges without batch-norm (got {number_text(max(rates))} with "
            f"{', '.join(bare)}). Stay below 0.01, or use optimizer sgd or a network with batch-norm.",
            "warning",
        )


def _lint_brackets(
    config: Mapping[str, Any], parameters: Mapping[str, Parameter], where: str
) -> Iterator[Problem]:
    try:
        hyperband = parse_hyperband(config)
    except ConfigError:
        return  # reported by the lint of early_terminate
    epochs = [value for value in _possible(parameters, "epochs") if is_finite(value)]
    if hyperband and epochs and hyperband.brackets[0] >= max(epochs):
        text = f"stops nobody: its first bracket is epoch {hyperband.brackets[0]} (got {max(epochs):g} epochs)."
        yield Problem(f"{where}: early_terminate", f"{text} Lower min_iter.", "warning")
