"""Hyperband early termination: which running runs are too far behind to go on."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fer_sweep.space import Hyperband, is_finite, parse_hyperband


def runs_to_stop(
    config: Mapping[str, Any], curves: Mapping[str, Sequence[float]], running: Collection[str]
) -> set[str]:
    """The running runs that hyperband stops now.

    A run is judged at the last bracket it has reached: it goes on if it is among the best 1/eta of all
    values that any run had at that bracket. Its best value so far counts, or with ``strict`` its value
    at the bracket, or with ``compare: last`` (ours, not W&B's) the last one it logged. So of two runs with eta 2 neither is stopped, of three with eta 3 only the worst; a
    lone run never is; and a run that overfits after a good start is stopped by ``compare: last`` alone.

    Source: W&B, "Sweep configuration options", early_terminate: brackets are "based on the number of
    logged iterations", that is on how often the metric was logged, never on the step.

    Args:
        config: The sweep config; without ``early_terminate`` or ``metric`` nobody is stopped.
        curves: Run id to the values of the sweep's metric in the order logged, for all runs of the
            sweep, finished ones too. NaN and infinite values do not count as logged, as in W&B.
        running: Ids of the runs that may be stopped.

    Raises:
        ConfigError: If ``early_terminate`` is malformed.
    """
    hyperband = parse_hyperband(config)
    metric = config.get("metric")
    if hyperband is None or not isinstance(metric, Mapping):
        return set()
    sign = -1.0 if metric.get("goal") == "maximize" else 1.0  # lower is better, once it is applied
    finite = {run_id: _finite(curve) for run_id, curve in curves.items()}
    thresholds: dict[int, float] = {}
    stopped = set()
    for run_id in running:
        curve = finite.get(run_id, [])
        reached = [bracket for bracket in hyperband.brackets if bracket <= len(curve)]
        if not reached:
            continue
        bracket = reached[-1]
        if bracket not in thresholds:
            thresholds[bracket] = _threshold(finite.values(), bracket, hyperband.eta, sign)
        if _judged(curve, bracket, hyperband, sign) > thresholds[bracket]:
            stopped.add(run_id)
    return stopped


def _finite(curve: Sequence[float]) -> Sequence[float]:
    """The values that count as logged; nearly always all of them, which their sum tells at once."""
    if math.isfinite(sum(curve)):
        return curve
    return [value for value in curve if is_finite(value)]


def _judged(curve: Sequence[float], bracket: int, hyperband: Hyperband, sign: float) -> float:
    """The value by which a run is judged; lower is better."""
    if hyperband.last:
        return sign * curve[-1]
    if hyperband.strict:
        return sign * curve[bracket - 1]
    return sign * (max(curve) if sign < 0 else min(curve))


def _threshold(curves: Collection[Sequence[float]], bracket: int, eta: float, sign: float) -> float:
    """The worst value at a bracket that still is among the best 1/eta; lower is better."""
    values = sorted(sign * curve[bracket - 1] for curve in curves if len(curve) >= bracket)
    return values[math.floor(len(values) / eta)]
