"""What people call their metrics, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fer_sweep.errors import ConfigError

METRICS = (
    "train/loss",
    "train/accuracy",
    "train_eval/loss",
    "train_eval/accuracy",
    "val/loss",
    "val/accuracy",
    "val/macro_f1",
)
"""What the rules read. Accuracies are fractions in [0, 1]."""
_OTHERS = ("epoch", "lr", "grad_norm", "time/epoch_s", "images_per_s", "best/val_accuracy")
_ACCURACY = {"acc", "accuracy", "acc1", "top1", "accuracy1"}
_TRAIN = {"train", "training", "tr", "trn"}
_VAL = {"val", "valid", "validation", "dev", "eval", "evaluation", "public", "publictest"}
_TEST = {"test", "testing"}
_CLEAN = {"clean"}
_NEUTRAL = {"epoch", "epochs", "avg", "average", "mean", "running", "metrics", "metric", "score", "total"} | {
    "categorical", "sparse", "multiclass", "ce", "cross", "entropy", "percent", "pct", "per", "top", "1",
}  # fmt: skip
_EPOCH_NAMES = {"epoch", "epochs", "train epoch", "trainer epoch", "current epoch"}
_LR_NAMES = {
    "lr",
    "learning rate",
    "train lr",
    "train learning rate",
    "lr adam",
    "lr sgd",
    "lr adamw",
}


def recognise(name: str) -> str | None:
    """The canonical name for a metric as people commonly call it, or None.

    A name with no split in it is Keras's training metric.

    Example:
        >>> recognise("val_acc"), recognise("Train/Loss"), recognise("accuracy"), recognise("best_val_acc")
        ('val/accuracy', 'train/loss', 'train/accuracy', None)
    """
    ranked = _recognise(name)
    return ranked[0] if ranked else None


def _recognise(name: str) -> tuple[str, int] | None:
    """Canonical name and how far-fetched it is: 0 exact, 1 split named, 2 no split, 3 test as validation."""
    if name in METRICS or name in _OTHERS:
        return name, 0
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
    tokens = re.findall(r"[a-z0-9]+", words)
    plain = " ".join(tokens)
    if plain in _EPOCH_NAMES or plain in _LR_NAMES:
        return ("epoch" if plain in _EPOCH_NAMES else "lr"), 1
    found = set(tokens)
    quantity = _quantity(found)
    splits = found & (_TRAIN | _VAL | _TEST | _CLEAN)
    rest = found - splits - _ACCURACY - _NEUTRAL - {"loss", "f1", "macro"}
    if quantity is None or rest:
        return None
    if splits & _TRAIN and splits & (_VAL | _CLEAN):
        canonical, rank = f"train_eval/{quantity}", 1
    elif splits & _TRAIN:
        canonical, rank = f"train/{quantity}", 1
    elif splits & _VAL:
        canonical, rank = f"val/{quantity}", 1
    elif splits & _TEST:
        canonical, rank = f"val/{quantity}", 3
    else:
        canonical, rank = f"train/{quantity}", 2
    return (canonical, rank) if canonical in METRICS else None


def _quantity(tokens: set[str]) -> str | None:
    kinds = [bool(tokens & _ACCURACY), "loss" in tokens, "f1" in tokens]
    if sum(kinds) != 1 or ("macro" in tokens and not kinds[2]):
        return None
    return ("accuracy", "loss", "macro_f1")[kinds.index(True)]


def parse_metric_map(texts: Iterable[str]) -> dict[str, str]:
    """Read ``--map`` options, each ``OURS=THEIRS`` such as ``train/accuracy=acc``.

    Ours is a canonical name or its short form (``train/acc``). The other order is accepted when only the right side is
    a canonical name.

    Returns:
        Canonical name to the name in the run.

    Raises:
        ConfigError: With every option that has no ``=``, names none of our metrics, or could mean both.

    Example:
        >>> parse_metric_map(["train/acc=accuracy", "top_one=val/accuracy"])
        {'train/accuracy': 'accuracy', 'val/accuracy': 'top_one'}
    """
    problems: list[str] = []
    result: dict[str, str] = {}
    names = ("epoch", "lr", *METRICS)
    for text in texts:
        left, equals, right = (part.strip() for part in text.partition("="))
        ours_left, ours_right = left in names, right in names
        if ours_left == ours_right:  # neither or both: short forms decide
            short = _short_form(left)
            ours_left, ours_right = (
                bool(short) and not ours_right,
                bool(_short_form(right)) and not short,
            )
            left, right = (short or left), (_short_form(right) or right) if ours_right else right
        if not equals or not left or not right or ours_left == ours_right:
            known = ", ".join(names)
            problems.append(
                f"--map {text}: cannot tell our metric from theirs. Write OURS=THEIRS, such as "
                f"--map val/accuracy=my_val_acc. Ours: {known}."
            )
            continue
        ours, theirs = (left, right) if ours_left else (right, left)
        if result.get(ours, theirs) != theirs:
            problems.append(
                f"--map {text}: {ours} is already mapped to {result[ours]}. Keep one of the two."
            )
        result[ours] = theirs
    if problems:
        raise ConfigError(problems)
    return result


def _short_form(name: str) -> str | None:
    """``train/acc`` for ``train/accuracy``: a split, a slash, and a common name of the quantity."""
    split, slash, _ = name.partition("/")
    return recognise(name) if slash and split in ("train", "train_eval", "val") else None


def choose_names(
    names: Iterable[str], metric_map: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Pick the run's name for each canonical metric: mapped by the user, else the least far-fetched.

    Returns:
        Their name to ours, and notes for the user.
    """
    available = sorted(set(names))
    candidates: dict[str, list[tuple[int, str]]] = {}
    for name in available:
        found = None if name in metric_map.values() else _recognise(name)
        if found and found[0] not in metric_map:
            candidates.setdefault(found[0], []).append((found[1], name))
    chosen = {ours: theirs for ours, theirs in metric_map.items() if theirs in available}
    notes = [
        f"{theirs} was not logged by this run ({ours})"
        for ours, theirs in metric_map.items()
        if ours not in chosen
    ]
    renamed: list[str] = []
    for ours, options in candidates.items():
        options.sort(key=lambda option: (option[0], len(option[1]), option[1]))
        rank, theirs = options[0]
        chosen[ours] = theirs
        if rank:
            renamed.append(f"{ours} from {theirs}")
        if len(options) > 1 and rank == options[1][0]:
            others = ", ".join(name for _, name in options[1:])
            notes.append(f"{ours} could also be {others}: choose with --map {ours}=NAME")
    if renamed:
        notes.append(f"recognised: {', '.join(renamed)}")
    return {theirs: ours for ours, theirs in chosen.items()}, notes
