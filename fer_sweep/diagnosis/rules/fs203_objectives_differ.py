"""Training and validation loss measure different things.

Why it matters: comparing them, or calling the run overfit or not by them, compares apples with pears.
How: in the second half the validation loss is below the training loss in at least 90 % of epochs, although training accuracy
    is not below validation accuracy by more than half a point, and the losses differ by more than 2 %. Silent where a clean
    training loss was logged: that one is the validation loss's own function, whatever train mode does to the running loss.
Try: log plain cross-entropy for both (no label smoothing, class weights, mixup, auxiliary or L2 terms); compare accuracies.
When it is wrong: strong dropout lifts the training loss more than it lowers training accuracy.
Source: 19 of 19 such runs of 118 labelled public FER2013 histories, with no false alarm.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fer_sweep.diagnosis import cases
from fer_sweep.diagnosis.rule import Case, Change, Finding, Peers, Rule, Severity
from fer_sweep.history import History

SHARE = 0.9
TOLERANCE = 0.005
MIN_DIFFERENCE = 0.02


def check(history: History, peers: Peers) -> Finding | None:
    """Compare the order of the losses with the order of the accuracies."""
    names = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
    epochs, (train_loss, val_loss, train, val) = history.align(*names)
    if len(epochs) < 3 or history.has("train_eval/loss"):
        return None
    late = np.arange(len(epochs)) >= len(epochs) / 2
    share = float((val_loss < train_loss)[late].mean())
    ahead = float((val - train)[late].mean())
    lower = float((train_loss - val_loss)[late].mean())
    if share < SHARE or ahead > TOLERANCE or lower <= MIN_DIFFERENCE * float(val_loss[late].mean()):
        return None
    return Finding(
        code="FS203",
        name="objectives-differ",
        severity=Severity.WARN,
        message=(
            f"Validation loss is {lower:.3f} below training loss in the second half ({share:.0%} of epochs), yet training "
            f"accuracy is {_order(-ahead)} validation: the two losses are not the same function, so do not compare them."
        ),
        evidence={"share": share, "loss_difference": lower, "accuracy_difference": -ahead},
        threshold="val loss below train loss in 90 % of late epochs and by 2 %, val accuracy not above by more than 0.5 points",
        epochs_used=int(late.sum()),
        remedies=(
            Change(
                "",
                (),
                "log plain cross-entropy for training, without smoothing, weights, mixup or auxiliary terms",
            ),
        ),
    )


def _order(difference: float) -> str:
    if abs(difference) < TOLERANCE:
        return "level with"
    return f"{100 * difference:.1f} points above"


_ACCURACY: dict[str, Any] = {
    "train__accuracy": cases.approach(20, 0.3, 0.68),
    "val__accuracy": cases.approach(20, 0.35, 0.65),
}
_SMOOTHED: dict[str, Any] = {
    "train__loss": cases.approach(20, 1.9, 1.3),
    "val__loss": cases.approach(20, 1.6, 1.0),
}
RULE = Rule(
    code="FS203",
    name="objectives-differ",
    severity=Severity.WARN,
    check=check,
    doc=__doc__,
    fires_on=(
        Case("label smoothing in the training loss only", cases.run(**_ACCURACY, **_SMOOTHED)),
    ),
    silent_on=(
        Case("empty", cases.run()),
        Case("healthy", cases.healthy()),
        Case("a lag of 1 %", cases.rising()),
        Case("accuracy agrees", cases.val_above(by=0.03)),
        Case(
            "clean loss explains it",
            cases.run(**_ACCURACY, **_SMOOTHED, train_eval__loss=cases.approach(20, 1.6, 0.9)),
        ),
        Case(
            "near chance, where batch-norm lifts the running loss alone",
            cases.run(
                train__loss=[2.05] * 20,
                train__accuracy=[0.16] * 20,
                train_eval__loss=[1.96] * 20,
                val__loss=[1.955] * 20,
                val__accuracy=[0.16] * 20,
            ),
        ),
    ),
)
