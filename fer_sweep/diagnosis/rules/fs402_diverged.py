"""The loss exploded: NaN, infinite, or higher at the end than at the start.

Why it matters: every later update is meaningless, so the remaining GPU time is lost, and the run says nothing about its other
    hyperparameters.
How: NaN or Infinity was logged for a loss and no finite value followed; or the trial died of a non-finite loss; or the training
    loss ends 20 % above its minimum and above its first epoch.
Try: a learning rate 3 to 10 times lower, gradient clipping, larger batches; batch-norm bears high rates.
When it is wrong: placeholders (NaN written on epochs without evaluation) are ignored as long as a number follows.
Source: Keras, TerminateOnNaN; Micikevicius et al. 2018, arXiv:1710.03740, section 3.2, for half precision.
"""

from __future__ import annotations

import numpy as np

from fer_sweep.diagnosis import cases
from fer_sweep.diagnosis.remedy import calm_down
from fer_sweep.diagnosis.rule import Case, Finding, Peers, Rule, Severity, Verdict
from fer_sweep.history import History, window

GROWTH = 1.2
_WORDS = {"train/loss": "training", "train_eval/loss": "clean training", "val/loss": "validation"}


def check(history: History, peers: Peers) -> Finding | None:
    """Look for losses that are no number, or that grew."""
    for name in _WORDS:
        epoch = _lost_for_good(history, name)
        if epoch is not None:
            return _finding(
                history,
                f"The {_WORDS[name]} loss became NaN or infinite at epoch {epoch} and stayed so.",
                onset=epoch,
            )
    if history.summary.get("failure/cause") == "non-finite":
        return _finding(
            history, f"The trial stopped on a loss that is no number: {_cause(history)}", onset=None
        )
    epochs, (train,) = history.align("train/loss")
    if len(epochs) < 3:
        return None
    end, low = float(np.median(train[-window(len(train)) :])), float(train.min())
    if end <= GROWTH * low or end <= train[0]:
        return None
    onset = int(epochs[int(np.argmin(train))])
    text = f"Training loss ends at {end:.3g}, above its first epoch ({train[0]:.3g}) and its minimum {low:.3g} at epoch {onset}."
    return _finding(history, text, onset=onset)


def _cause(history: History) -> str:
    message = str(history.summary.get("failure/message", "")).strip()
    return message if message.endswith(".") else f"{message or 'no message'}."


def _lost_for_good(history: History, name: str) -> int | None:
    """First epoch of a final stretch without a finite value in it, if NaN or Infinity was logged there."""
    lost = history.not_finite.get(name, ())
    finite = history.epochs[np.isfinite(history.columns[name])] if lost else np.empty(0)
    last = int(finite[-1]) if len(finite) else 0
    return next((epoch for epoch in lost if epoch > last), None)


def _finding(history: History, message: str, *, onset: int | None) -> Finding:
    epochs = history.epochs
    return Finding(
        code="FS402",
        name="diverged",
        severity=Severity.ERROR,
        message=message,
        evidence={} if onset is None else {"onset": onset},
        threshold="no NaN or Infinity that stays; training loss not above 1.2 × its minimum and its first epoch",
        epochs_used=history.epochs_done,
        marked=() if onset is None else tuple(int(e) for e in epochs[epochs >= onset]),
        onset=onset,
        remedies=calm_down(history),
    )


RULE = Rule(
    code="FS402",
    name="diverged",
    severity=Severity.ERROR,
    check=check,
    doc=__doc__,
    verdict=Verdict.DIVERGED,
    fires_on=(
        Case("NaN from epoch 6", cases.diverged()),
        Case("Infinity in the first epoch", cases.diverged(1, at=1, value=float("inf"))),
        Case("loss grows", cases.run(train__loss=[2.0, 1.8, 1.7, 2.4, 3.5, 4.0, 4.0, 4.1])),
        Case(
            "recorded by the trial",
            cases.run(state="failed", summary={"failure/cause": "non-finite"}),
        ),
    ),
    silent_on=(
        Case("empty", cases.run()),
        Case("healthy", cases.healthy()),
        Case("overfit", cases.overfit()),
        Case(
            "NaN placeholders", cases.run(train__loss=[2.0, float("nan"), 1.8, float("nan"), 1.6])
        ),
    ),
)
