"""Validation accuracy stays above the running training accuracy.

Why it matters: it looks like a mistake, and sometimes is one (leaked images); far more often training is only measured under
    harder conditions: dropout on, augmented images, averaged while the network was still learning.
How: in the second half, validation is above in at least two of three epochs, and on average by more than half the standard
    error of the difference. It takes 8 epochs, or 3 where the clean training accuracy was logged. Where the clean training accuracy was logged, it decides: at or above validation means nothing is
    wrong; below it by more than 2 standard errors means an easier split or leakage. Elsewhere a half-epoch shift tests for lag.
Try: nothing, if the clean accuracy explains it. Else look for duplicates across the split and re-split.
When it is wrong: with few validation images, or one epoch more or less, half a standard error is easily crossed by chance:
    below 2 standard errors the message says so. Silent for a run that never beat chance (FS301 says that).
Source: Keras FAQ, "Why is my training loss much higher than my testing loss?"; of 181 public FER2013 histories, 31 stay above in
    the second half, by 1.8 points (median).
"""

from __future__ import annotations

import numpy as np

from fer_sweep.diagnosis import cases
from fer_sweep.diagnosis.cause import Cause, Explanation, explain_val_above_train
from fer_sweep.diagnosis.rule import Case, Change, Finding, Peers, Rule, Severity, Verdict
from fer_sweep.history import Floats, History, standard_error

SHARE = 2 / 3
STANDARD_ERRORS = 0.5
MIN_EPOCHS = 8
MIN_EPOCHS_MEASURED = 3
CHANCE = 0.25
"""Share of FER2013's largest class (happy)."""


def check(history: History, peers: Peers) -> Finding | None:
    """Look at the second half of both accuracy curves."""
    epochs, (train, val) = history.align("train/accuracy", "val/accuracy")
    measured = history.has("train_eval/accuracy")
    if len(epochs) < (MIN_EPOCHS_MEASURED if measured else MIN_EPOCHS):
        return None
    late = np.arange(len(epochs)) >= len(epochs) / 2
    above = (val - train)[late]
    val_mean, train_mean = float(val[late].mean()), float(train[late].mean())
    se = float(
        np.hypot(
            standard_error(val_mean, history.n_val), standard_error(train_mean, history.n_train)
        )
    )
    difference, share = float(above.mean()), float((above > 0).mean())
    if share < SHARE or difference <= STANDARD_ERRORS * se or not _learned(val, se):
        return None
    explanation = explain_val_above_train(history)
    certainty = "" if difference > 2 * se else " (less than 2 standard errors, so possibly chance)"
    evidence: dict[str, float | int | str] = {
        "difference": difference,
        "se": se,
        "share": share,
        "cause": explanation.cause.value,
    }
    for key in ("clean_gap", "clean_se", "lag_share"):
        value = getattr(explanation, key)
        if value is not None:
            evidence[key] = value
    return Finding(
        code="FS201",
        name="persistent-val-above-train",
        severity=Severity.INFO if explanation.cause is Cause.MEASUREMENT else Severity.WARN,
        message=(
            f"Validation is above the running train accuracy by {100 * difference:.1f} ± {100 * se:.1f} points in the second "
            f"half{certainty}, {'and ' if explanation.cause is Cause.SPLIT else ''}{_joined(explanation)}."
        ),
        evidence=evidence,
        threshold="above in 2 of 3 late epochs, and by more than half a standard error on average",
        epochs_used=int(late.sum()),
        marked=tuple(int(e) for e in epochs[late][above > 0]),
        onset=int(epochs[late][above > 0][0]),
        remedies=_remedies(history, explanation),
    )


def _joined(explanation: Explanation) -> str:
    inferred = explanation.cause in (Cause.LAG, Cause.UNKNOWN)
    return f"cause not measured: {explanation.text}" if inferred else explanation.text


def _learned(val: Floats, se: float) -> bool:
    """False for a run that stayed at chance: there the curves differ only by the class mix of the splits."""
    return float(val.max()) > CHANCE + 2 * se


def _remedies(history: History, explanation: Explanation) -> tuple[Change, ...]:
    if explanation.cause is Cause.SPLIT:
        return (
            Change(
                "",
                (),
                "drop the training copies of validation images and split again, stratified; then repeat the sweep",
            ),
        )
    if explanation.cause is Cause.LAG:
        return (Change("epochs", (2 * history.epochs_done,), "lag fades as learning slows down"),)
    if explanation.cause is Cause.UNKNOWN:
        return (
            Change(
                "",
                (),
                "log a clean train accuracy (eval mode, no augmentation) before changing anything",
            ),
        )
    return ()


RULE = Rule(
    code="FS201",
    name="persistent-val-above-train",
    severity=Severity.WARN,
    check=check,
    doc=__doc__,
    verdict=Verdict.VAL_ABOVE_TRAIN,
    fires_on=(
        Case("by 3 points, clean train above", cases.val_above(clean=0.02)),
        Case("by 3 points, clean train below", cases.val_above(clean=-0.04)),
        Case("by 3 points, nothing else logged", cases.val_above()),
        Case("by 1 point", cases.val_above(by=0.01)),
    ),
    silent_on=(
        Case("empty", cases.run()),
        Case("healthy", cases.healthy()),
        Case("overfit", cases.overfit()),
        Case(
            "only at first",
            cases.run(
                train__accuracy=cases.approach(30, 0.2, 0.7),
                val__accuracy=cases.approach(30, 0.35, 0.66),
            ),
        ),
        Case("never learned", cases.run(train__accuracy=[0.245] * 20, val__accuracy=[0.2494] * 20)),
    ),
)
