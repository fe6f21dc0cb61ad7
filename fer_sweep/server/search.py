"""Search: what the next trial of a sweep should try.

Everything here is pure: the same sweep, trials and seed give the same answer in any process, so that
several servers on one database agree. Handing out is the store's business.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_sweep.errors import ConfigError
from fer_sweep.space import (
    NOT_ENUMERABLE,
    Parameter,
    cell_key,
    find_value,
    from_logarithm,
    grid_values,
    is_finite,
    nest,
    parse_parameters,
    random_values,
    value_key,
)

METHODS = ("grid", "random", "bayes")
_REDRAWS = 64  # tries to hit an untried cell by luck before looking for one
_REASKS = 16  # the same of the model, whose draws cost more
_STARTUP_TRIALS = 10  # results the model needs before it is better than luck; Optuna's default
_OPEN_STATES = ("pending", "running", "preempting", "preempted")

Cell = tuple[str, ...]
Values = dict[str, Any]


@dataclass(frozen=True)
class PriorTrial:
    """One run the sweep already has, in whatever state.

    Attributes:
        parameters: The run's config as nested plain values; keys outside the space are ignored.
        state: W&B run state.
        value: Best value so far of the sweep's metric; None if none was logged yet.
    """

    parameters: Mapping[str, Any]
    state: str
    value: float | None = None


def propose(
    config: Mapping[str, Any],
    trials: Sequence[PriorTrial],
    *,
    seed: int,
    priors: Sequence[PriorTrial] = (),
) -> Values | None:
    """Choose the parameters of the next trial.

    Args:
        config: The sweep config.
        trials: All runs of the sweep, crashed and running ones too: every one of them counts.
        seed: Of the sweep. Random and bayes depend on it and on the runs alone.
        priors: Runs made before the sweep: their cells are taken and bayes learns from them, but neither
            ``run_cap`` nor ``metric.target`` counts them.

    Returns:
        Nested plain values, or None when the sweep makes no more runs: all cells of a finite space are
        taken, ``run_cap`` runs exist, or one has reached ``metric.target``.

    Raises:
        ConfigError: If the method or the parameters are unusable.
    """
    method = config.get("method")
    if method not in METHODS:
        raise ConfigError(f"method: must be one of {', '.join(METHODS)} (got {method!r}).")
    if is_over(config, trials):
        return None
    space = _Space(list(parse_parameters(config).values()), grid=method == "grid")
    known = [*priors, *trials]
    taken = {cell_key(space.parameters, trial.parameters) for trial in known}
    if (
        space.size is not None
        and len(taken - {None}) >= space.size
        and space.untried(taken, 0) is None
    ):
        return None
    if method == "grid":
        return space.untried(taken, 0)
    stream = random.Random(f"{seed}:{len(trials)}")
    if method == "bayes":
        return _propose_bayes(config, space, known, taken, stream)
    return _propose_random(space, taken, stream)


def count_untaken(config: Mapping[str, Any], priors: Sequence[PriorTrial]) -> int | None:
    """How many runs a sweep will make that counts ``priors`` as tried; None if it never ends."""
    space = _Space(list(parse_parameters(config).values()), grid=config.get("method") == "grid")
    cells = None if space.size is None else space.size - space.count_cells(priors)
    return min(
        (count for count in (cells, config.get("run_cap")) if count is not None), default=None
    )


def is_over(config: Mapping[str, Any], trials: Sequence[PriorTrial]) -> bool:
    """Whether ``run_cap`` or ``metric.target`` says that no run follows."""
    cap = config.get("run_cap")
    if cap is not None and len(trials) >= cap:
        return True
    metric = config.get("metric") or {}
    target = metric.get("target")
    if target is None:
        return False
    values = [
        trial.value for trial in trials if trial.value is not None and not math.isnan(trial.value)
    ]
    if metric.get("goal") == "maximize":
        return any(value >= target for value in values)
    return any(value <= target for value in values)


class _Space:
    """The cells of a search space, numbered in grid order if they are finitely many."""

    def __init__(self, parameters: list[Parameter], *, grid: bool) -> None:
        self.parameters = parameters
        choices = [grid_values(p) if grid else random_values(p) for p in parameters]
        endless = [p.name for p, values in zip(parameters, choices, strict=True) if values is None]
        if grid and endless:
            raise ConfigError([f"parameters.{name}: {NOT_ENUMERABLE}" for name in endless])
        self._choices = [values for values in choices if values is not None]
        self.size = None if endless else math.prod(len(values) for values in self._choices)

    def key(self, values: Mapping[str, Any]) -> Cell | None:
        return cell_key(self.parameters, values)

    def cell(self, index: int) -> Values:
        """Cell number ``index`` of a finite space; the last parameter varies fastest."""
        values = {}
        for parameter, choices in zip(
            reversed(self.parameters), reversed(self._choices), strict=True
        ):
            index, position = divmod(index, len(choices))
            values[parameter.name] = choices[position]
        return nest(self.parameters, values)

    def count_cells(self, trials: Sequence[PriorTrial]) -> int:
        """How many different cells of a finite space the trials lie in."""
        searched = [
            {value_key(value) for value in values}
            for parameter, values in zip(self.parameters, self._choices, strict=True)
            if not parameter.is_constant
        ]
        keys = {self.key(trial.parameters) for trial in trials} - {None}
        return sum(
            all(part in values for part, values in zip(key, searched, strict=True))
            for key in keys
            if key is not None
        )

    def untried(self, taken: set[Cell | None], start: int) -> Values | None:
        """The first cell from number ``start`` on, and around again, that no run has."""
        if self.size is None:
            return None
        for step in range(min(self.size, len(taken) + 1)):
            values = self.cell((start + step) % self.size)
            if self.key(values) not in taken:
                return values
        return None


def _propose_random(space: _Space, taken: set[Cell | None], stream: random.Random) -> Values | None:
    def draw() -> Values:
        return nest(space.parameters, {p.name: draw_value(p, stream) for p in space.parameters})

    return _first_untried(space, taken, stream, (draw() for _ in range(_REDRAWS)))


def _propose_bayes(
    config: Mapping[str, Any],
    space: _Space,
    trials: Sequence[PriorTrial],
    taken: set[Cell | None],
    stream: random.Random,
) -> Values | None:
    """Ask the model, once enough trials have ended with a result; draw at random until then."""
    metric = config.get("metric")
    if not isinstance(metric, Mapping) or "name" not in metric:
        raise ConfigError("metric: is missing. Method bayes needs metric: {name: …, goal: …}.")
    ended = [trial.value for trial in trials if trial.state not in _OPEN_STATES]
    results = [value for value in ended if is_finite(value)]
    searched = [parameter for parameter in space.parameters if not parameter.is_constant]
    if len(results) < _STARTUP_TRIALS or not searched:
        return _propose_random(space, taken, stream)

    # Loading Optuna costs 0.1 s that grid and random need not pay.
    from fer_sweep.server import bayes  # noqa: PLC0415

    maximize = metric.get("goal") == "maximize"
    worst = min(results) if maximize else max(results)
    observations = []
    for trial in trials:
        try:
            values = {p.name: find_value(p, trial.parameters) for p in searched}
        except KeyError:
            continue  # attached from elsewhere: no point of this space
        result = None if trial.state in _OPEN_STATES else trial.value
        if trial.state not in _OPEN_STATES and not is_finite(result):
            result = worst  # it crashed or diverged: keep away, as W&B's `impute: worst` does
        observations.append(bayes.Observation(values, result))
    constants = {p.name: p.values[0] for p in space.parameters if p.is_constant}
    asked = bayes.candidates(
        searched, observations, maximize=maximize, stream=stream, count=_REASKS
    )
    return _first_untried(
        space, taken, stream, (nest(space.parameters, constants | values) for values in asked)
    )


def _first_untried(
    space: _Space, taken: set[Cell | None], stream: random.Random, candidates: Iterator[Values]
) -> Values | None:
    """The first candidate that no run has; if none, any untried cell; in an endless space, the last."""
    candidate = None
    for candidate in candidates:
        if space.key(candidate) not in taken:
            return candidate
    if space.size is None:
        return candidate
    return space.untried(taken, stream.randrange(space.size))


def draw_value(parameter: Parameter, stream: random.Random) -> Any:
    """Draw one value from a parameter's distribution, rounded to its ``q`` if it has one."""
    match parameter.distribution.removeprefix("q_"):
        case "constant" | "categorical" | "categorical_w_probabilities":
            return stream.choices(parameter.values, parameter.probabilities)[0]
        case "int_uniform":
            return stream.randint(int(parameter.min), int(parameter.max))
        case "uniform":
            value = stream.uniform(parameter.min, parameter.max)
        case "normal":
            value = stream.gauss(parameter.mu, parameter.sigma)
        case "log_normal":
            return from_logarithm(parameter, stream.gauss(parameter.mu, parameter.sigma))
        case "beta":
            value = stream.betavariate(parameter.a, parameter.b)
        case _:
            return from_logarithm(parameter, stream.uniform(*parameter.log_bounds))
    return parameter.rounded(value) if parameter.distribution.startswith("q_") else value
