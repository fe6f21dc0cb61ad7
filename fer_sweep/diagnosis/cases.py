"""Generated learning curves: the examples that document the rules and test them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fer_sweep.history import Floats, History

N_TRAIN, N_VAL = 28_709, 3_589


def run(
    name: str = "run",
    *,
    state: str = "finished",
    config: dict[str, Any] | None = None,
    summary: dict[str, Any] | None = None,
    **curves: Floats | list[float],
) -> History:
    """A finished run on FER2013's counts.

    Args:
        name: Run id and name.
        state: Run state.
        config: Hyperparameters.
        summary: Added to ``n_train`` and ``n_val``.
        **curves: Columns, with ``__`` for the slash (``train__loss``), each of shape ``(T,)``.
    """
    columns = {
        key.replace("__", "/"): np.asarray(values, dtype=float) for key, values in curves.items()
    }
    length = max((len(v) for v in columns.values()), default=0)
    columns["epoch"] = np.arange(1.0, length + 1)
    lost = {
        key: tuple(int(i) + 1 for i in np.flatnonzero(~np.isfinite(values)))
        for key, values in columns.items()
        if not np.isfinite(values).all()
    }
    return History(
        run_id=name,
        run_name=name,
        state=state,
        config=config or {},
        summary={"n_train": N_TRAIN, "n_val": N_VAL, **(summary or {})},
        columns=columns,
        rows_expected=length,
        rows_read=length,
        not_finite=lost,
    )


def approach(epochs: int, start: float, end: float, *, pace: float = 5.0) -> Floats:
    """A curve that goes from ``start`` towards ``end``, covering 63 % of the way every ``pace`` epochs."""
    return end + (start - end) * np.exp(-np.arange(epochs) / pace)


def jitter(epochs: int, size: float, seed: int = 0) -> Floats:
    """Epoch-to-epoch noise with this standard deviation, the same every time."""
    return np.random.default_rng(seed).normal(0, size, epochs)


def healthy(epochs: int = 30, *, seed: int = 0, **more: Any) -> History:
    """Levels off with training a few points above validation."""
    return run(
        "healthy",
        train__loss=approach(epochs, 1.75, 0.92),
        train__accuracy=approach(epochs, 0.30, 0.68),
        val__loss=approach(epochs, 1.60, 1.02) + jitter(epochs, 0.006, seed),
        val__accuracy=approach(epochs, 0.38, 0.64) + jitter(epochs, 0.004, seed + 1),
        **more,
    )


def overfit(epochs: int = 20, *, turn: int = 7, seed: int = 0, **more: Any) -> History:
    """Validation loss turns up after epoch ``turn``; training goes on to 95 %."""
    t = np.arange(epochs)
    rise = np.maximum(t - turn + 1, 0) * 0.06
    return run(
        "overfit",
        train__loss=approach(epochs, 1.7, 0.1, pace=7),
        train__accuracy=approach(epochs, 0.35, 0.97, pace=7),
        val__loss=approach(epochs, 1.55, 1.10, pace=3) + rise + jitter(epochs, 0.01, seed),
        val__accuracy=approach(epochs, 0.42, 0.58, pace=3) + jitter(epochs, 0.004, seed + 1),
        **more,
    )


def val_above(
    epochs: int = 30,
    *,
    by: float = 0.03,
    clean: float | None = None,
    pace: float = 5.0,
    **more: Any,
) -> History:
    """Validation stays ``by`` above running training accuracy; clean training ``clean`` above validation."""
    val = approach(epochs, 0.35, 0.64, pace=pace)
    measured: dict[str, Any] = {}
    if clean is not None:
        measured = {
            "train_eval__accuracy": val + clean,
            "train_eval__loss": approach(epochs, 1.6, 1.0 - clean),
        }
    return run(
        "val-above",
        train__loss=approach(epochs, 1.75, 1.06, pace=pace),
        train__accuracy=val - by + jitter(epochs, 0.002, 3),
        val__loss=approach(epochs, 1.62, 1.0, pace=pace) + jitter(epochs, 0.004, 4),
        val__accuracy=val + jitter(epochs, 0.003, 5),
        **measured,
        **more,
    )


def flat(epochs: int = 20, *, level: float = 0.36, **more: Any) -> History:
    """Settles at a low accuracy on both sides."""
    return run(
        "flat",
        train__loss=approach(epochs, 1.9, 1.66, pace=3),
        train__accuracy=approach(epochs, 0.25, level, pace=3) + jitter(epochs, 0.002, 6),
        val__loss=approach(epochs, 1.88, 1.67, pace=3) + jitter(epochs, 0.004, 7),
        val__accuracy=approach(epochs, 0.25, level - 0.005, pace=3) + jitter(epochs, 0.003, 8),
        **more,
    )


def rising(epochs: int = 20, **more: Any) -> History:
    """Still getting better when it stops."""
    t = np.arange(epochs) / epochs
    return run(
        "rising",
        train__loss=1.8 - 0.7 * t,
        train__accuracy=0.30 + 0.28 * t,
        val__loss=1.75 - 0.65 * t + jitter(epochs, 0.003, 9),
        val__accuracy=0.32 + 0.25 * t + jitter(epochs, 0.003, 10),
        **more,
    )


def diverged(epochs: int = 12, *, at: int = 6, value: float = float("nan"), **more: Any) -> History:
    """Loss becomes ``value`` from epoch ``at`` on."""
    loss = approach(epochs, 1.8, 1.4)
    loss[at - 1 :] = value
    return run(
        "diverged",
        train__loss=loss,
        train__accuracy=approach(epochs, 0.3, 0.4),
        val__loss=loss + 0.05,
        val__accuracy=approach(epochs, 0.3, 0.38),
        **more,
    )
