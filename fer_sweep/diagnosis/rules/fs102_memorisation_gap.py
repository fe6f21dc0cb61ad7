"""Training accuracy ran away from validation accuracy.

Why it matters: the network learns its training images by heart; what it gains there no longer helps on new faces.
How: at the end training accuracy is more than 10 points (and 3 standard errors) above validation, at least 3 points of that
    opened during the run. Up to 15 points are excused while validation loss still falls clearly (by more than 3 % over the
    second half): then what is learned still helps.
Try: augmentation first, dropout second, a smaller network third; weight decay last.
When it is wrong: a train set with copies of itself, or a validation set from another source, shows a gap from the first
    epoch; then the gap is there but memorising is not the cause.
Source: gap rules of CS231n ("Neural Networks Part 3") and AutoTrainer (ICSE 2021); growth clause and thresholds tuned on 118
    labelled public FER2013 histories.
"""

from __future__ import annotations

import numpy as np

from fer_sweep.diagnosis import cases
from fer_sweep.diagnosis.remedy import regularise
from fer_sweep.diagnosis.rule import Case, Finding, Peers, Rule, Severity, Verdict
from fer_sweep.history import Floats, History, best_epoch, smooth, standard_error, window

GAP = 0.10
GROWTH = 0.03
STILL_FALLING = 0.03
EXCUSED_GAP = 0.15


def check(history: History, peers: Peers) -> Finding | None:
    """Compare training and validation accuracy at the end with how they began."""
    epochs, (train, val) = history.align("train/accuracy", "val/accuracy")
    if len(epochs) < 3:
        return None
    width = window(len(epochs))
    gaps = smooth(train - val, width)
    end = float(np.median((train - val)[-width:]))
    start = float(gaps[: max(len(gaps) // 2, 1)].min())
    train_end, val_end = float(np.median(train[-width:])), float(np.median(val[-width:]))
    se = float(
        np.hypot(standard_error(train_end, history.n_train), standard_error(val_end, history.n_val))
    )
    needed = max(GAP, 3 * se)
    if end <= needed or end - start <= GROWTH or (end <= EXCUSED_GAP and _still_falling(history)):
        return None
    wide = np.flatnonzero(gaps > needed)
    onset = int(epochs[wide[0]]) if len(wide) else int(epochs[-1])
    best = best_epoch(history)
    return Finding(
        code="FS102",
        name="memorisation-gap",
        severity=Severity.WARN,
        message=(
            f"Training accuracy ends at {train_end:.1%}, {100 * end:.1f} ± {100 * se:.1f} points above validation "
            f"({val_end:.1%}); the gap passed {100 * needed:.0f} points at epoch {onset}."
        ),
        evidence={
            "gap_end": end,
            "gap_start": start,
            "se": se,
            "train_accuracy_end": train_end,
            "val_accuracy_end": val_end,
        },
        threshold=f"gap > {100 * needed:.0f} points, of which > 3 opened during the run",
        epochs_used=len(epochs),
        marked=tuple(int(epochs[i]) for i in wide),
        onset=onset,
        remedies=regularise(history, best=best.epoch if best else int(epochs[-1])),
    )


def _still_falling(history: History) -> bool:
    """Validation loss is at a new low and fell clearly over the second half: generalisation still improves."""
    _, (loss,) = history.align("val/loss")
    if len(loss) < 3:
        return False
    width = window(len(loss))
    smoothed: Floats = smooth(loss, width)
    middle, end = float(smoothed[len(loss) // 2 - 1]), float(np.median(loss[-width:]))
    return int(np.argmin(smoothed)) >= len(loss) - width and end < (1 - STILL_FALLING) * middle


_FLAT = cases.approach(30, 1.6, 1.1, pace=3)
RULE = Rule(
    code="FS102",
    name="memorisation-gap",
    severity=Severity.WARN,
    check=check,
    doc=__doc__,
    verdict=Verdict.MEMORISING,
    fires_on=(
        Case("overfit", cases.overfit()),
        Case(
            "gap with flat validation loss",
            cases.run(
                train__accuracy=cases.approach(30, 0.3, 0.85, pace=10),
                val__accuracy=cases.approach(30, 0.35, 0.6, pace=4),
                val__loss=_FLAT,
            ),
        ),
        Case(
            "accuracies only",
            cases.run(
                train__accuracy=cases.approach(20, 0.3, 0.9),
                val__accuracy=cases.approach(20, 0.3, 0.6),
            ),
        ),
    ),
    silent_on=(
        Case(
            "13 points, but validation loss still falls",
            cases.run(
                train__accuracy=np.linspace(0.3, 0.75, 20),
                val__accuracy=np.linspace(0.33, 0.62, 20),
                val__loss=np.linspace(1.7, 1.0, 20),
            ),
        ),
        Case("empty", cases.run()),
        Case("healthy", cases.healthy()),
        Case(
            "constant offset",
            cases.run(
                train__accuracy=cases.approach(20, 0.5, 0.8),
                val__accuracy=cases.approach(20, 0.38, 0.68),
            ),
        ),
        Case(
            "few images",
            cases.run(
                train__accuracy=cases.approach(20, 0.3, 0.62),
                val__accuracy=cases.approach(20, 0.3, 0.5),
                summary={"n_val": 60, "n_train": 60},
            ),
        ),
    ),
)
