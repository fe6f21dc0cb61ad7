"""Too few epochs, or too few metrics, for a firm verdict.

Why it matters: an average over two epochs is one look; trends, noise and the best epoch need more of them.
How: fewer than 8 epochs with both a training and a validation metric, or one of the four basic curves (loss and accuracy
    on both sides) is missing.
Try: let an interrupted run finish, else twice the epochs; log train and validation loss and accuracy once per epoch.
When it is wrong: fine-tuning from good weights can be finished in 3 epochs. The other verdicts are then provisional, not
    useless.
Source: our measurement on 181 public FER2013 histories: means over fewer than 8 epochs do not separate the causes.
"""

from __future__ import annotations

import numpy as np

from fer_sweep.diagnosis import cases
from fer_sweep.diagnosis.remedy import let_it_finish, number
from fer_sweep.diagnosis.rule import Case, Change, Finding, Peers, Rule, Severity, Verdict
from fer_sweep.history import History

MIN_EPOCHS = 8
BASIC = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")


def check(history: History, peers: Peers) -> Finding | None:
    """Look for too few epochs and missing curves."""
    epochs = _epochs_with_both(history)
    if not history.epochs_done:
        return _nothing(history)
    missing = [name for name in BASIC if name not in history.columns]
    if epochs >= MIN_EPOCHS and not missing:
        return None
    parts = []
    if epochs < MIN_EPOCHS:
        plural = "epoch has" if epochs == 1 else "epochs have"
        parts.append(
            f"{epochs} {plural} both training and validation metrics, fewer than {MIN_EPOCHS}"
        )
    if missing:
        parts.append(f"{'not' if parts else 'Not'} logged: {', '.join(missing)}")
    changes = []
    if epochs < MIN_EPOCHS:
        changes.append(_more_epochs(history, epochs))
    if missing:
        changes.append(
            Change("", (), f"log {', '.join(missing)} once per epoch, or name them with --map")
        )
    return Finding(
        code="FS001",
        name="too-short",
        severity=Severity.INFO,
        message=f"{'; '.join(parts)}: verdicts are provisional.",
        evidence={"epochs": epochs, "missing": ", ".join(missing)},
        threshold=f"{MIN_EPOCHS} epochs with all of {', '.join(BASIC)}",
        epochs_used=epochs,
        remedies=tuple(changes),
    )


def _more_epochs(history: History, epochs: int) -> Change:
    planned = int(number(history, "epochs") or 0)
    unfinished = let_it_finish(history) if planned >= MIN_EPOCHS else None
    return unfinished or Change(
        "epochs", (max(2 * max(epochs, planned), MIN_EPOCHS),), "for a firm verdict"
    )


def _nothing(history: History) -> Finding:
    asked = (
        (Change("", (), "name the metrics with --map, such as --map val/accuracy=my_val_acc"),)
        if history.rows_read
        else ()
    )
    return Finding(
        code="FS001",
        name="too-short",
        severity=Severity.INFO,
        message="No epoch with a training or validation metric was logged.",
        evidence={"epochs": 0, "missing": ", ".join(BASIC)},
        threshold=f"{MIN_EPOCHS} epochs with all of {', '.join(BASIC)}",
        epochs_used=0,
        remedies=asked,
    )


def _epochs_with_both(history: History) -> int:
    present = [
        np.logical_or.reduce(
            [np.isfinite(history.columns[n]) for n in names if n in history.columns]
        )
        for names in (BASIC[:2], BASIC[2:])
        if any(n in history.columns for n in names)
    ]
    return int(np.logical_and(*present).sum()) if len(present) == 2 else 0


RULE = Rule(
    code="FS001",
    name="too-short",
    severity=Severity.INFO,
    check=check,
    doc=__doc__,
    verdict=Verdict.TOO_SHORT,
    fires_on=(
        Case("no rows", cases.run()),
        Case("one epoch", cases.healthy(1)),
        Case("seven epochs", cases.healthy(7)),
        Case("no accuracy", cases.run(train__loss=[1.0] * 20, val__loss=[1.0] * 20)),
    ),
    silent_on=(Case("eight epochs", cases.healthy(8)), Case("thirty epochs", cases.healthy(30))),
)
