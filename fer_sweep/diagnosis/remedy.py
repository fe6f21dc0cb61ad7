"""What to change in the sweep's space, most promising first.

Order and sizes follow paired public runs on FER2013: augmentation with dropout closed a gap of 40 points, dropout alone
of 42 to 11, a small weight decay did nothing (one seed each, observational).
"""

from __future__ import annotations

import math
from typing import Any

from fer_sweep.diagnosis.rule import Change
from fer_sweep.history import History

_SMALLER = {
    "vgg_small": ("cnn8_bn", "cnn4_bn"),
    "resnet34": ("resnet18", "resnet18_w32"),
    "resnet18": ("resnet18_w32", "cnn4_bn"),
    "cnn8_bn": ("cnn4_bn",),
}
_LARGER = {
    "cnn1": ("cnn4_bn", "cnn8_bn"),
    "cnn2": ("cnn4_bn", "cnn8_bn"),
    "cnn4": ("cnn4_bn", "cnn8_bn"),
    "cnn4_bn": ("cnn8_bn", "resnet18_w32"),
    "cct_tiny": ("cnn8_bn", "resnet18_w32"),
    "cnn8_bn": ("vgg_small", "resnet18_w32"),
}


def regularise(history: History, *, best: int) -> tuple[Change, ...]:
    """For a run that learns its training images by heart; ``best`` is its best epoch."""
    changes = []
    size = number(history, "train_size")
    if size:
        changes.append(Change("train_size", (0,), f"all training images; now {size:g}"))
    augment = history.config.get("augment")
    if augment in (None, "none", "flip"):
        changes.append(
            Change(
                "augment", ("readme", "medium"), "new variants of every image, the strongest cure"
            )
        )
    elif augment in ("readme", "crop44"):
        changes.append(Change("augment", ("medium", "strong"), "one notch stronger"))
    dropout = number(history, "dropout")
    if (dropout or 0) < 0.6:
        values = tuple(round(min((dropout or 0) + step, 0.6), 2) for step in (0.15, 0.3))
        now = "the next best cure" if dropout is None else f"now {dropout:g}"
        changes.append(Change("dropout", tuple(dict.fromkeys(values)), now))
    smaller = _SMALLER.get(str(history.config.get("arch")))
    if smaller:
        changes.append(Change("arch", smaller, "less capacity to memorise with"))
    epochs = max(math.ceil(1.3 * best), best + 2)
    if epochs < history.epochs_done:
        changes.append(
            Change(
                "epochs", (epochs,), f"validation was best at epoch {best}; keep that checkpoint"
            )
        )
    return tuple(changes)


def let_it_finish(history: History) -> Change | None:
    """For a run that ended before its configured epochs: its own plan comes first; None if it kept to that."""
    planned = number(history, "epochs")
    if planned is None or history.epochs_done >= planned:
        return None
    return Change("", (), f"let it finish: it ended at epoch {history.epochs_done} of {planned:g}")


def train_longer(history: History) -> tuple[Change, ...]:
    """For a run that stopped while it was improving."""
    length = max(history.epochs_done, 1)
    longer = Change("epochs", (math.ceil(1.5 * length), 2 * length), f"now {length}")
    changes = [let_it_finish(history) or longer]
    rate = number(history, "learning_rate")
    if rate:
        changes.append(
            Change(
                "learning_rate", (rounded(2 * rate), rounded(3 * rate)), f"or faster: now {rate:g}"
            )
        )
    return tuple(changes)


def more_capacity(history: History) -> tuple[Change, ...]:
    """For a run that does not fit its own training images."""
    changes = []
    larger = _LARGER.get(str(history.config.get("arch")))
    if larger:
        changes.append(Change("arch", larger, "more capacity"))
    rate = number(history, "learning_rate")
    if rate:
        changes.append(
            Change("learning_rate", (rounded(rate / 3), rounded(3 * rate)), f"now {rate:g}")
        )
    dropout, decay = number(history, "dropout"), number(history, "weight_decay")
    if dropout and dropout > 0.2:
        changes.append(Change("dropout", (0.0, 0.2), f"now {dropout:g}"))
    if decay:
        changes.append(Change("weight_decay", (0.0, rounded(decay / 10)), f"now {decay:g}"))
    return tuple(changes) or (
        Change("", (), "try a larger network and a learning rate 3 times higher and lower"),
    )


def calm_down(history: History) -> tuple[Change, ...]:
    """For a run whose loss exploded."""
    changes = []
    rate = number(history, "learning_rate")
    if rate:
        changes.append(
            Change(
                "learning_rate",
                (rounded(rate / 10), rounded(rate / 3)),
                f"now {rate:g}: lower the upper bound",
            )
        )
    else:
        changes.append(Change("", (), "lower the learning rate 3 to 10 times"))
    batch = number(history, "batch_size")
    if batch and batch < 128:
        changes.append(
            Change(
                "batch_size", (int(batch * 2), int(batch * 4)), f"now {batch:g}: calmer gradients"
            )
        )
    if history.config.get("arch") in ("cnn1", "cnn2", "cnn4"):
        changes.append(Change("arch", ("cnn4_bn",), "batch-norm bears high learning rates"))
    return tuple(changes)


def number(history: History, name: str) -> float | None:
    """A numeric hyperparameter of the run, or None; common short names are tried too."""
    short = {"learning_rate": "lr", "batch_size": "bs", "weight_decay": "wd"}.get(name, name)
    for key in (name, short):
        value: Any = history.config.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def rounded(value: float) -> float:
    """Two significant digits, as a person would write it in a sweep."""
    return float(f"{value:.2g}")
