"""Summary: what a sweep will do and cost, for ``create`` and its ``--dry-run``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fer_sweep.space.cells import count_cells, grid_values, random_values
from fer_sweep.space.hyperband import parse_hyperband
from fer_sweep.space.number import is_finite, is_number, number_text
from fer_sweep.space.parameter import Parameter, parse_parameters
from fer_sweep.train_config import TrainConfig

_FEW = 8  # choices that are still listed one by one


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep will do.

    Attributes:
        method: grid, random or bayes.
        cells: Number of different trials in the space; None if infinite.
        run_cap: The config's, or None.
        runs: Number of runs it will make, early stops included; None if it never ends.
        parameters: Name and a text such as ``0.0001 to 0.01, even in the logarithm``, searched ones first.
        brackets: Epochs at which hyperband may stop a run, below the most epochs of a run.
        epochs: Epochs of all runs together if none is stopped early: exact for a grid, expected for
            random search; None if the sweep never ends or is not about our trials.
    """

    method: str
    cells: int | None
    run_cap: int | None
    runs: int | None
    parameters: tuple[tuple[str, str], ...]
    brackets: tuple[int, ...]
    epochs: int | None

    @property
    def lines(self) -> list[str]:
        """The summary as text, one fact a line."""
        cells = "infinitely many" if self.cells is None else f"{self.cells:,}"
        cap = f", run_cap {self.run_cap}" if self.run_cap is not None else ""
        runs = "runs without end" if self.runs is None else _plural(self.runs, "run")
        cost = "" if self.epochs is None else f", {_plural(self.epochs, 'epoch')} in all"
        width = max((len(name) for name, _ in self.parameters), default=0)
        lines = [
            f"{self.method}: {cells} cell{'' if self.cells == 1 else 's'}{cap} → {runs}{cost}",
            *(f"  {name:<{width}}  {text}" for name, text in self.parameters),
        ]
        if self.brackets:
            epochs = ", ".join(str(bracket) for bracket in self.brackets)
            lines.append(
                f"  hyperband compares the runs after epoch {epochs} and stops the worse ones"
            )
        return lines


def describe(config: Mapping[str, Any]) -> SweepSummary:
    r"""Summarise a sweep config that ``lint`` finds no error in.

    Raises:
        ConfigError: If the parameters or ``early_terminate`` are malformed after all.

    Example:
        >>> space = {"dropout": {"values": [0.0, 0.3]}, "epochs": {"value": 20}}
        >>> print(*describe({"method": "grid", "parameters": space}).lines, sep="\n")
        grid: 2 cells → 2 runs, 40 epochs in all
          dropout  0.0, 0.3
          epochs   20
    """
    parameters = parse_parameters(config)
    method = str(config.get("method"))
    cells, cap = count_cells(config), config.get("run_cap")
    limits = [limit for limit in (cells, cap) if limit is not None]
    runs = min(limits) if limits else None
    per_run = _epochs_of_a_run(parameters.get("epochs"), grid=method == "grid")
    hyperband = parse_hyperband(config)
    most = max(per_run, default=math.inf)
    searched = sorted(parameters.values(), key=lambda parameter: parameter.is_constant)
    return SweepSummary(
        method=method,
        cells=cells,
        run_cap=cap,
        runs=runs,
        parameters=tuple((parameter.name, _text(parameter)) for parameter in searched),
        brackets=tuple(b for b in hyperband.brackets if b < most)[:_FEW] if hyperband else (),
        epochs=round(runs * sum(per_run) / len(per_run)) if runs is not None and per_run else None,
    )


def _epochs_of_a_run(parameter: Parameter | None, *, grid: bool) -> list[float]:
    """The possible numbers of epochs, equally likely; empty if unknown."""
    if parameter is None:
        return [TrainConfig.model_fields["epochs"].default]
    values = grid_values(parameter) if grid else random_values(parameter)
    if values is None or not all(is_finite(value) for value in values):
        return []
    return list(values)


def _text(parameter: Parameter) -> str:
    if parameter.values:
        shown = ", ".join(_value_text(value) for value in parameter.values[:_FEW])
        more = len(parameter.values) - _FEW
        return shown + (f" and {more} more" if more > 0 else "")
    kind = parameter.distribution.removeprefix("q_")
    steps = (
        f" in steps of {number_text(parameter.q)}"
        if parameter.distribution.startswith("q_")
        else ""
    )
    if kind in ("normal", "log_normal"):
        return f"{kind}, mu {parameter.mu:g}, sigma {parameter.sigma:g}{steps}"
    if kind == "beta":
        return f"beta, a {parameter.a:g}, b {parameter.b:g}{steps}"
    low, high = (_value_text(bound) for bound in parameter.bounds)
    spread = ", even in the logarithm" if parameter.is_logarithmic else ""
    return f"{low} to {high}{steps}{spread}"


def _value_text(value: Any) -> str:
    if isinstance(value, float):
        return number_text(float(f"{value:.6g}"))
    return number_text(value) if is_number(value) else str(value)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
