"""The network does not even learn its training images.

Why it matters: no regularisation, data or patience helps a network that cannot fit, or an optimiser that cannot move it.
How: training accuracy (clean where logged) ends below 55 % on real FER2013, or the best validation accuracy is more than 5 points
    and 2 standard errors under the sweep's median; training is less than 3 points above validation; and at the pace of the
    last third, as many epochs again would not reach the target.
Try: a larger network, a learning rate 3 times higher and lower, less dropout and weight decay. If it never beat chance (25 %),
    a learning rate 3 to 10 times lower first.
When it is wrong: another task or labels with more noise have another target; relative to its own sweep the run may be fine.
Source: CS231n, "Neural Networks Part 3" (validation tracking training: capacity too low); human accuracy on FER2013 is about
    65 % (Goodfellow et al. 2013, arXiv:1307.0414).
"""

from __future__ import annotations

import numpy as np

from fer_sweep.diagnosis import cases
from fer_sweep.diagnosis.remedy import calm_down, more_capacity
from fer_sweep.diagnosis.rule import Case, Finding, Peers, Rule, Severity, Verdict
from fer_sweep.history import (
    FER2013_SIZES,
    Best,
    Floats,
    History,
    best_epoch,
    standard_error,
    window,
)

TARGET = 0.55
BELOW_PEERS = 0.05
GAP = 0.03
MIN_EPOCHS = 8
_AGAINST = {
    "sweep": "this sweep's runs reach",
    "task": "this task allows",
    "chance": "chance explains",
}
CHANCE = 0.25
"""Share of FER2013's largest class (happy)."""


def check(history: History, peers: Peers) -> Finding | None:
    """Hold the end of the training accuracy against what the task, or the sweep, can reach."""
    name = "train_eval/accuracy" if history.has("train_eval/accuracy") else "train/accuracy"
    epochs, (train, val) = history.align(name, "val/accuracy")
    best = best_epoch(history)
    if len(epochs) < MIN_EPOCHS or best is None:
        return None
    width = window(len(epochs))
    end, gap = float(np.median(train[-width:])), float(np.median((train - val)[-width:]))
    target, whose = _target(history, peers)
    value = best.accuracy if whose == "sweep" else end
    reached = value + _pace(val if whose == "sweep" else train) * len(epochs)
    if target is None or value >= target or gap >= GAP or reached >= target:
        return None
    stuck = best.accuracy <= _chance(best)
    chance = " It never got past always answering the commonest class." if stuck else ""
    against = _AGAINST[whose]
    return Finding(
        code="FS301",
        name="underfit",
        severity=Severity.WARN,
        message=(
            f"Training accuracy ends at {end:.1%}, {'level with' if abs(gap) < 0.005 else f'{100 * gap:+.1f} points from'} "
            f"validation, and the best validation accuracy is {best.accuracy:.1%}: below the {target:.0%} that {against}, and "
            f"as many epochs again would bring it to about {reached:.0%}.{chance}"
        ),
        evidence={"train_accuracy_end": end, "gap_end": gap, "target": target, "reached": reached},
        threshold=f"{'best validation' if whose == 'sweep' else 'training'} accuracy < {target:.1%}, gap < 3 points",
        epochs_used=len(epochs),
        remedies=calm_down(history) if stuck else more_capacity(history),
    )


def _target(history: History, peers: Peers) -> tuple[float | None, str]:
    """The accuracy a run should reach, and who says so: its sweep, the task, or chance."""
    best = best_epoch(history)
    if peers.median_accuracy is not None and best is not None:
        margin = max(BELOW_PEERS, 2 * standard_error(best.accuracy, history.n_val))
        if best.accuracy < peers.median_accuracy - margin:
            return peers.median_accuracy - margin, "sweep"
    if _is_fer2013(history):
        return TARGET, "task"
    # What other faces allow is not known, but a run that never beat chance has not learned on any.
    if best is not None and best.accuracy <= _chance(best):
        return _chance(best), "chance"
    return None, "task"


def _chance(best: Best) -> float:
    """What always answering the commonest class reaches, luck included."""
    return CHANCE + 2 * best.standard_error


def _is_fer2013(history: History) -> bool:
    """Procedural faces and small subsets have another ceiling, so 55 % says nothing there."""
    source = str(history.summary.get("data/source", ""))
    if source == "faces" or source.startswith("faces:"):
        return False
    return history.sizes_assumed or history.n_train > FER2013_SIZES[0] // 2


def _pace(values: Floats) -> float:
    """Gain per epoch over the last third."""
    last = values[-max(len(values) // 3, 3) :]
    return max(float(np.polyfit(np.arange(len(last)), last, 1)[0]), 0.0)


RULE = Rule(
    code="FS301",
    name="underfit",
    severity=Severity.WARN,
    check=check,
    doc=__doc__,
    verdict=Verdict.UNDERFIT,
    fires_on=(
        Case("settles at 36 %", cases.flat()),
        Case("never learns", cases.flat(level=0.25)),
        Case(
            "far below its sweep",
            cases.flat(level=0.60, summary={"data/source": "faces:n=6000"}),
            Peers(median_accuracy=0.75),
        ),
        Case(
            "never learns other faces",
            cases.flat(level=0.25, summary={"data/source": "faces:n=6000"}),
        ),
        Case(
            "a folder with faces in its name is still FER2013",
            cases.flat(summary={"data/source": "/data/faces/fer2013.csv"}),
        ),
    ),
    silent_on=(
        Case("empty", cases.run()),
        Case("healthy", cases.healthy()),
        Case("overfit", cases.overfit()),
        Case("still rising", cases.rising()),
        Case("other data, no peers", cases.flat(summary={"data/source": "faces:n=6000"})),
    ),
)
