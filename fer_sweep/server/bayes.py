"""Bayesian search: Optuna's tree-structured Parzen estimator over W&B's distributions.

Optuna knows fewer distributions than W&B, so each parameter is modelled on an axis on which its
distribution is even: the logarithm, the quantile, the number of steps, the index of the choice. Only a
beta distribution is modelled as uniform; the random trials that come first do follow it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from fer_sweep.space import Parameter, from_logarithm, random_values, value_key

# "A new study created" and the like, on the standard error of whoever embeds the server.
optuna.logging.set_verbosity(optuna.logging.WARNING)

_TAIL = 1e-6  # quantiles of a normal nearer to 0 or 1 than this are not proposed
_SLACK = 1e-9  # how far outside its bounds a value may lie through rounding


@dataclass(frozen=True)
class Observation:
    """What is known of one trial.

    Attributes:
        values: Value by dotted parameter name, for all searched parameters.
        result: Its score; None while it runs, which keeps later proposals away from it.
    """

    values: Mapping[str, Any]
    result: float | None


def candidates(
    parameters: Sequence[Parameter],
    observations: Sequence[Observation],
    *,
    maximize: bool,
    stream: random.Random,
    count: int,
) -> Iterator[dict[str, Any]]:
    """Up to ``count`` proposals, the best first, each as values by dotted name.

    Args:
        parameters: The searched parameters, no constants.
        observations: Of earlier trials; those that lie outside the space are ignored.
        maximize: Whether a higher result is better.
        stream: Source of all randomness.
        count: How many to make at most; a later one keeps away from the earlier ones.
    """
    axes = {parameter.name: _build_axis(parameter) for parameter in parameters}
    distributions = {name: axis.distribution for name, axis in axes.items()}
    study = optuna.create_study(
        direction="maximize" if maximize else "minimize",
        sampler=optuna.samplers.TPESampler(
            seed=stream.getrandbits(32), n_startup_trials=1, multivariate=True, constant_liar=True
        ),
    )
    placed = [(_place(axes, seen.values), seen.result) for seen in observations]
    study.add_trials(
        [
            create_trial(
                params=point,
                distributions=distributions,
                value=result,
                state=TrialState.RUNNING if result is None else TrialState.COMPLETE,
            )
            for point, result in placed
            if point is not None
        ]
    )
    for _ in range(count):
        point = study.ask(distributions).params
        yield {name: axis.value(point[name]) for name, axis in axes.items()}


def _place(axes: Mapping[str, _Axis], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """A trial's position on all axes, or None if it lies outside the space."""
    point = {name: axis.position(values[name]) for name, axis in axes.items()}
    return None if None in point.values() else point


class _Axis:
    """One parameter as Optuna sees it."""

    distribution: BaseDistribution

    def position(self, value: Any) -> float | None:
        """Where a value lies on the axis; None if the parameter cannot have that value."""
        raise NotImplementedError

    def value(self, position: float) -> Any:
        """The value at a position."""
        raise NotImplementedError


class _ChoiceAxis(_Axis):
    """Categorical: the index of the choice, since Optuna takes only scalars for choices."""

    def __init__(self, choices: Sequence[Any]) -> None:
        self._choices = choices
        self._index = {value_key(choice): index for index, choice in enumerate(choices)}
        self.distribution = CategoricalDistribution(range(len(choices)))

    def position(self, value: Any) -> float | None:
        return self._index.get(value_key(value))

    def value(self, position: float) -> Any:
        return self._choices[int(position)]


class _StepAxis(_Axis):
    """Integers and bounded ``q_`` distributions that are even on the value's own scale."""

    def __init__(self, choices: Sequence[Any]) -> None:
        self._choices = choices
        self.distribution = IntDistribution(0, len(choices) - 1)

    def position(self, value: Any) -> float | None:
        try:
            step = (float(value) - self._choices[0]) / (self._choices[1] - self._choices[0])
        except (IndexError, TypeError, ValueError):
            step = 0.0
        index = round(step)
        near = abs(step - index) < 1e-6 * max(1.0, abs(step))
        return index if near and 0 <= index < len(self._choices) else None

    def value(self, position: float) -> Any:
        return self._choices[int(position)]


class _FloatAxis(_Axis):
    """Everything else: the value, its logarithm, or its quantile in a normal distribution."""

    def __init__(self, parameter: Parameter) -> None:
        self._parameter = parameter
        self._normal = NormalDist(parameter.mu, parameter.sigma or _TAIL)
        if parameter.is_logarithmic:
            self._low, self._high = parameter.log_bounds
        elif "normal" in parameter.distribution:
            self._low, self._high = _TAIL, 1 - _TAIL
        else:
            self._low, self._high = parameter.bounds
        self.distribution = FloatDistribution(self._low, self._high)

    def position(self, value: Any) -> float | None:
        try:
            position = self._transform(float(value))
        except (TypeError, ValueError):
            return None
        slack = _SLACK * max(1.0, abs(self._low), abs(self._high))
        exact = (
            not self._parameter.distribution.startswith("q_")
            and "normal" not in self._parameter.distribution
        )
        if exact and not self._low - slack <= position <= self._high + slack:
            return None
        return min(max(position, self._low), self._high)

    def _transform(self, value: float) -> float:
        if self._parameter.is_logarithmic:
            return math.log(value) if value > 0 else self._low
        if self._parameter.distribution.endswith("log_normal"):
            return self._normal.cdf(math.log(value)) if value > 0 else self._low
        if self._parameter.distribution.endswith("normal"):
            return self._normal.cdf(value)
        return value

    def value(self, position: float) -> Any:
        parameter = self._parameter
        if parameter.is_logarithmic:
            return from_logarithm(parameter, position)
        if "normal" not in parameter.distribution:
            return position
        value = self._normal.inv_cdf(position)
        if parameter.distribution.endswith("log_normal"):
            return from_logarithm(parameter, value)
        return parameter.rounded(value) if parameter.distribution.startswith("q_") else value


def _build_axis(parameter: Parameter) -> _Axis:
    if parameter.values:
        return _ChoiceAxis(random_values(parameter) or parameter.values)
    if parameter.distribution in ("int_uniform", "q_uniform", "q_beta"):
        return _StepAxis(random_values(parameter) or ())
    return _FloatAxis(parameter)
