"""One run's per-epoch table, whoever logged it: names recognised, rows joined, NaN and Infinity kept.

Everything that reads a run (rules, reports) reads a ``History``; nothing here knows W&B.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_sweep.history.names import METRICS
from fer_sweep.history.statistics import Floats, standard_error

FER2013_SIZES = (28_709, 3_589)
"""Training and PublicTest images of FER2013: assumed when a run does not say how many it used."""


@dataclass(frozen=True)
class History:
    """One run, with one row per epoch.

    Attributes:
        run_id: W&B's run id.
        run_name: The name people see.
        state: W&B's run state, verbatim.
        config: The run's hyperparameters.
        summary: Last or best values, and our ``failure/*`` record if it failed.
        columns: Canonical name to values, each of shape ``(T,)``; NaN where nothing was logged.
        rows_expected: Rows the server says the run has.
        url: The run's page.
        tags: The run's tags.
        rows_read: Rows that were read; fewer than expected makes every verdict provisional.
        not_finite: Canonical name to the epochs at which NaN or Infinity was really logged.
        notes: What was assumed or changed while reading: renamed, rescaled, joined.
    """

    run_id: str
    run_name: str
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    columns: Mapping[str, Floats]
    rows_expected: int
    url: str = ""
    tags: tuple[str, ...] = ()
    rows_read: int = 0
    not_finite: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def incomplete(self) -> bool:
        """True when the server has rows that were not read."""
        return self.rows_read < self.rows_expected

    @property
    def length(self) -> int:
        """Number of rows T."""
        return max((len(values) for values in self.columns.values()), default=0)

    @property
    def epochs_done(self) -> int:
        """Number of rows with at least one finite training or validation metric."""
        values = [self.columns[name] for name in METRICS if name in self.columns]
        return int(np.isfinite(values).any(axis=0).sum()) if values else 0

    @property
    def epochs(self) -> NDArray[np.int64]:
        """Epoch numbers, shape ``(T,)``, 1-based."""
        if "epoch" in self.columns:
            return self.columns["epoch"].astype(np.int64)
        return np.arange(1, self.length + 1, dtype=np.int64)

    def has(self, *names: str) -> bool:
        """True when every named column holds at least one finite value."""
        return all(name in self.columns and np.isfinite(self.columns[name]).any() for name in names)

    def align(self, *names: str) -> tuple[NDArray[np.int64], tuple[Floats, ...]]:
        """The epochs at which all the named columns are finite, and their values there."""
        if not all(name in self.columns for name in names):
            empty = np.empty(0)
            return np.empty(0, dtype=np.int64), tuple(empty for _ in names)
        values = [self.columns[name] for name in names]
        keep = np.logical_and.reduce([np.isfinite(v) for v in values])
        return self.epochs[keep], tuple(v[keep] for v in values)

    @property
    def n_train(self) -> int:
        """Training images; FER2013's count when the run does not say (see ``sizes_assumed``)."""
        return _count(self, _TRAIN_COUNTS) or FER2013_SIZES[0]

    @property
    def n_val(self) -> int:
        """Validation images; FER2013's count when the run does not say (see ``sizes_assumed``)."""
        return _count(self, _VAL_COUNTS) or FER2013_SIZES[1]

    @property
    def sizes_assumed(self) -> bool:
        """True when a standard error rests on FER2013's counts for want of the run's own."""
        return not (_count(self, _TRAIN_COUNTS) and _count(self, _VAL_COUNTS))


_TRAIN_COUNTS = ("n_train", "num_train", "train_samples", "num_train_samples", "n_train_samples")
_VAL_COUNTS = ("n_val", "num_val", "val_samples", "num_val_samples", "n_val_samples", "n_valid")


def _count(history: History, names: Iterable[str]) -> int:
    for name in names:
        for source in (history.summary, history.config):
            value = number(source.get(name))
            if value is not None and math.isfinite(value) and value >= 1:
                return int(value)
    return 0


def number(value: Any) -> float | None:
    """A logged value as a float, or None for what is no number; NaN and Infinity arrive as text in JSON."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float | np.integer | np.floating):
        try:
            return float(value)
        except OverflowError:  # an integer of over 308 digits
            return math.inf if value > 0 else -math.inf
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else None


@dataclass(frozen=True)
class Best:
    """The best validation epoch of a run."""

    epoch: int
    accuracy: float
    standard_error: float


def best_epoch(history: History) -> Best | None:
    """The first epoch with the highest validation accuracy, or None without one."""
    epochs, (accuracy,) = history.align("val/accuracy")
    if not len(epochs):
        return None
    at = int(np.argmax(accuracy))
    value = float(accuracy[at])
    return Best(int(epochs[at]), value, standard_error(value, history.n_val))
