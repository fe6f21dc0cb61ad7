"""The run was still improving when it stopped.

Why it matters: its place in the ranking says more about the number of epochs than about its hyperparameters.
How: over the last 30 % of epochs (at least 5) the validation loss has a falling trend (Mann–Kendall, 5 %), and its lowest value lies
    in the last tenth. Without a validation loss, the same for validation accuracy, rising.
Try: 1.5 to 2 times the epochs, or a higher learning rate.
When it is wrong: a schedule that ends at zero makes the last epochs improve and leaves nothing to gain.
Source: Google, "Deep Learning Tuning Playbook" (training curves still improving at the end); Mann 1945.
"""

from __future__ import annotations

import numpy as np

from fer_sweep.diagnosis import cases
from fer_sweep.diagnosis.remedy import train_longer
from fer_sweep.diagnosis.rule import Case, Finding, Peers, Rule, Severity, Verdict
from fer_sweep.history import History, mann_kendall

MIN_EPOCHS = 8
TAIL = 0.3
Z = 1.96


def check(history: History, peers: Peers) -> Finding | None:
    """Look for a trend at the end of the validation loss."""
    name, sign = ("val/loss", 1.0) if history.has("val/loss") else ("val/accuracy", -1.0)
    epochs, (values,) = history.align(name)
    length = len(epochs)
    if length < MIN_EPOCHS:
        return None
    tail = max(int(TAIL * length), 5)
    trend = mann_kendall(sign * values[-tail:])
    best = int(np.argmin(sign * values))
    if trend >= -Z or best < length - max(length // 10, 1):
        return None
    change = abs(float(values[-1] - values[-tail]))
    word, amount = (
        ("loss fell", f"{change:.3f}")
        if sign > 0
        else ("accuracy rose", f"{100 * change:.1f} points")
    )
    return Finding(
        code="FS303",
        name="undertrained",
        severity=Severity.INFO,
        message=(
            f"Validation {word} by {amount} over the last {tail} epochs and was best at epoch {int(epochs[best])} of "
            f"{int(epochs[-1])}: more epochs would help."
        ),
        evidence={"trend_z": trend, "best_epoch": int(epochs[best]), "change": change},
        threshold="trend at 5 % over the last 30 % of epochs, best value in the last tenth",
        epochs_used=tail,
        marked=tuple(int(e) for e in epochs[-tail:]),
        onset=int(epochs[-tail]),
        remedies=train_longer(history),
    )


RULE = Rule(
    code="FS303",
    name="undertrained",
    severity=Severity.INFO,
    check=check,
    doc=__doc__,
    verdict=Verdict.UNDERTRAINED,
    fires_on=(
        Case("steady fall", cases.rising()),
        Case("accuracy only", cases.run(val__accuracy=np.linspace(0.3, 0.6, 20))),
    ),
    silent_on=(
        Case("empty", cases.run()),
        Case("healthy", cases.healthy(60)),
        Case("overfit", cases.overfit()),
        Case("too short to see a trend", cases.rising(6)),
    ),
)
