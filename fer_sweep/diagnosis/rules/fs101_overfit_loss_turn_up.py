"""Validation loss turned up while training loss kept falling.

Why it matters: from the turn on, every epoch makes the network more confident about what it memorised and costs GPU time;
    the last epoch is not the one to keep.
How: smooth the validation loss with a running median; its minimum must lie before the end, the end must be above it by more
    than 3 % and more than the curve's own jitter, the training loss must have fallen by more than 2 % since, and either the
    train–validation accuracy gap exceeds 5 points or the rise exceeds 5 %.
Try: augmentation first, dropout second, a smaller network third; stop near the best epoch. Weight decay comes last.
When it is wrong: validation loss can rise while validation accuracy still improves (the network becomes overconfident);
    a rerun from a checkpoint shows only the tail of the story.
Source: Prechelt 1998, "Early Stopping – But When?" (generalisation loss); noise clause and thresholds tuned on 118 labelled
    public FER2013 histories.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fer_sweep.diagnosis import cases
from fer_sweep.diagnosis.remedy import regularise
from fer_sweep.diagnosis.rule import Case, Finding, Peers, Rule, Severity, Verdict
from fer_sweep.history import History, noise, smooth, window
from fer_sweep.history import best_epoch as best_accuracy

RISE = 0.03
CLEAR_RISE = 0.05
GAP = 0.05
TRAIN_FALL = 0.02
# A loss that fell from 4 to 0.020 and ends at 0.021 has not turned up by any measure that matters.
RISE_OF_TOTAL_FALL = 0.01


def check(history: History, peers: Peers) -> Finding | None:
    """Compare the end of the smoothed validation loss with its minimum."""
    epochs, (train, val) = history.align("train/loss", "val/loss")
    if len(epochs) < 3:
        return None
    width = window(len(epochs))
    smoothed = smooth(val, width)
    best = int(np.argmin(smoothed))
    end = float(np.median(val[-width:]))
    low = float(smoothed[best])
    rise = end - low
    early = float(np.median(val[: max(len(val) // 4, 1)]))
    needed = max(
        RISE * abs(low), 2 * noise(val) * math.sqrt(2 / width), RISE_OF_TOTAL_FALL * (early - low)
    )
    fall = 1 - float(np.median(train[-width:])) / float(train[best]) if train[best] > 0 else 0.0
    gap = _end_gap(history)
    clear = rise > CLEAR_RISE * abs(low) or (gap is not None and gap > GAP)
    if best >= len(val) - 1 or rise <= needed or fall <= TRAIN_FALL or not clear:
        return None
    best_epoch, onset = int(epochs[best]), int(epochs[best + 1])
    share = f" ({rise / low:.0%})" if low > 0 else ""
    gap_text = (
        "" if gap is None else f"; train accuracy ends {100 * gap:.1f} points above validation"
    )
    later = _later_best(history, best_epoch)
    later_text = ""
    if later is not None:
        later_text = (
            f" Validation accuracy still gained {100 * later[1]:.1f} points up to epoch {later[0]}: the network grows "
            "overconfident before it grows worse."
        )
    return Finding(
        code="FS101",
        name="overfit-loss-turn-up",
        severity=Severity.ERROR,
        message=(
            f"Validation loss was lowest at epoch {best_epoch} ({low:.3f}) and rose by {rise:.3f}{share} to {end:.3f}, "
            f"while training loss fell a further {fall:.0%}{gap_text}.{later_text}"
        ),
        evidence={
            "best_epoch": best_epoch,
            "val_loss_min": low,
            "val_loss_end": end,
            "rise": rise,
            "train_loss_fall": fall,
            **({} if gap is None else {"gap_end": gap}),
        },
        threshold=f"rise > {needed:.3f} (3 % or the noise of this curve), train loss falls > 2 %, gap > 5 points or rise > 5 %",
        epochs_used=len(epochs),
        marked=tuple(int(e) for e in epochs[best + 1 :]),
        onset=onset,
        remedies=regularise(history, best=later[0] if later else best_epoch),
    )


def _later_best(history: History, turn: int) -> tuple[int, float] | None:
    """The epoch of the best accuracy after the turn, and its gain; None within one standard error."""
    best = best_accuracy(history)
    epochs, (accuracy,) = history.align("val/accuracy")
    until = accuracy[epochs <= turn]
    if best is None or best.epoch <= turn or not len(until):
        return None
    gain = best.accuracy - float(until.max())
    return (best.epoch, gain) if gain > best.standard_error else None


def _end_gap(history: History) -> float | None:
    epochs, (train, val) = history.align("train/accuracy", "val/accuracy")
    return float(np.median((train - val)[-window(len(epochs)) :])) if len(epochs) else None


_LOSSES: dict[str, Any] = {"train__loss": cases.approach(20, 1.7, 0.1, pace=7)}
RULE = Rule(
    code="FS101",
    name="overfit-loss-turn-up",
    severity=Severity.ERROR,
    check=check,
    doc=__doc__,
    verdict=Verdict.OVERFIT,
    fires_on=(
        Case("turn at epoch 7 of 20", cases.overfit()),
        Case("noisy turn", cases.overfit(30, turn=10, seed=5)),
        Case("losses only", cases.run(val__loss=cases.overfit().columns["val/loss"], **_LOSSES)),
    ),
    silent_on=(
        Case("empty", cases.run()),
        Case("healthy", cases.healthy()),
        Case("still improving", cases.rising()),
        Case(
            "one bad epoch at the end",
            cases.run(
                val__loss=[*cases.approach(29, 1.6, 1.0), 1.3],
                train__loss=cases.approach(30, 1.7, 0.9),
            ),
        ),
        Case(
            "training loss rises too",
            cases.run(
                val__loss=cases.overfit().columns["val/loss"], train__loss=np.linspace(1, 1.4, 20)
            ),
        ),
    ),
)
