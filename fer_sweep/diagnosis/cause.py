"""Why validation is above training: from the clean training accuracy where it was logged, else inferred."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from fer_sweep.diagnosis.remedy import number
from fer_sweep.history import Floats, History, standard_error


class Cause(StrEnum):
    """Where the difference comes from."""

    MEASUREMENT = "measurement"
    """Clean training accuracy is at or above validation: train mode, augmentation or lag made train look worse."""
    SPLIT = "split"
    """Clean training accuracy is below validation too: an easier validation split, or leakage."""
    LAG = "lag"
    """Inferred: shifting the running average by half an epoch explains most of it."""
    UNKNOWN = "unknown"
    """No clean training accuracy was logged, and lag does not explain it."""


@dataclass(frozen=True)
class Explanation:
    """A cause, in words, with its numbers.

    Attributes:
        cause: Where the difference comes from.
        text: A clause for the finding's message.
        clean_gap: Clean training minus validation accuracy, or None where unmeasured.
        clean_se: Its standard error.
        lag_share: Part of the difference that a half-epoch shift explains, or None.
    """

    cause: Cause
    text: str
    clean_gap: float | None = None
    clean_se: float | None = None
    lag_share: float | None = None


def explain_val_above_train(history: History) -> Explanation:
    """Say why validation accuracy stays above the running training accuracy."""
    epochs, (clean, val) = history.align("train_eval/accuracy", "val/accuracy")
    late = epochs > (epochs.max() if len(epochs) else 0) / 2
    if late.any():
        return _measured(history, float(clean[late].mean()), float(val[late].mean()))
    return _inferred(history)


def _measured(history: History, clean: float, val: float) -> Explanation:
    subset = min(history.n_val, history.n_train)
    se = float(np.hypot(standard_error(clean, subset), standard_error(val, history.n_val)))
    gap = clean - val
    points = f"{100 * abs(gap):.1f} ± {100 * se:.1f} points"
    if gap < -2 * se:
        text = (
            f"the clean train accuracy is below validation too, by {points}: the validation images are easier, or copies "
            "of training images leaked into them"
        )
        return Explanation(Cause.SPLIT, text, gap, se)
    where = f"{points} above validation" if gap > 0 else f"equal to it within noise (-{points})"
    text = f"but the clean train accuracy is {where}: {_suspects(history)} make train look worse; nothing is wrong"
    return Explanation(Cause.MEASUREMENT, text, gap, se)


def _suspects(history: History) -> str:
    names = ["dropout"] if number(history, "dropout") != 0 else []
    names += ["augmentation"] if history.config.get("augment", "?") != "none" else []
    names += ["averaging over the epoch" if not names else "lag"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _inferred(history: History) -> Explanation:
    _, (train, val) = history.align("train/accuracy", "val/accuracy")
    share = lag_share(train, val)
    ask = "no clean train accuracy was logged: log it (eval mode, no augmentation) to be sure"
    if share is not None and share >= 0.5:
        text = f"comparing with the half-epoch-shifted train curve explains {share:.0%} of it, so lag is the likely cause; {ask}"
        return Explanation(Cause.LAG, text, lag_share=share)
    used = [
        label
        for label, on in (
            (f"dropout {number(history, 'dropout'):g}" if number(history, "dropout") else "", True),
            (
                f"augmentation ({history.config.get('augment')})",
                history.config.get("augment") not in (None, "none"),
            ),
        )
        if on and label
    ]
    usual = (
        f"this run uses {' and '.join(used)}, which usually does this"
        if used
        else "dropout or augmentation usually does this"
    )
    return Explanation(Cause.UNKNOWN, f"{usual} (inferred); {ask}", lag_share=share)


def lag_share(train: Floats, val: Floats) -> float | None:
    """Part of val − train, over the second half, that vanishes when train is shifted by half an epoch.

    A running average describes the weights of mid-epoch; the mean of two neighbours describes the epoch's end.

    Args:
        train: Running training accuracy, shape ``(T,)``.
        val: Validation accuracy, shape ``(T,)``.
    """
    if len(train) < 4:
        return None
    shifted = (train[:-1] + train[1:]) / 2
    late = slice(len(train) // 2, len(train) - 1)
    before = float((val[late] - train[late]).mean())
    after = float((val[late] - shifted[late]).mean())
    return 1 - after / before if before > 0 else None
