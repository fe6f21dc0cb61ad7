"""How well the rules find overfitting and val-above-train on labelled real curves, next to published detectors.

    python benchmarks/diagnosis.py --curves DIR

DIR holds ``INDEX.csv`` (name, n_train, n_val, own_label, label2, source_label) and one ``<name>.csv`` per run (epoch, train_loss,
train_acc, val_loss, val_acc). The detectors are re-implemented from their documentation or source, with their defaults.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_sweep.diagnosis import diagnose
from fer_sweep.history import Floats, History, build_history


@dataclass(frozen=True)
class Labelled:
    history: History
    label: str
    second: str
    author: str

    def curves(self) -> tuple[Floats, Floats, Floats, Floats]:
        names = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
        _, (train_loss, val_loss, train, val) = self.history.align(*names)
        return train_loss, val_loss, train, val


Detector = Callable[[Labelled], bool]


def load(folder: Path) -> list[Labelled]:
    with (folder / "INDEX.csv").open(encoding="utf-8") as file:
        index = list(csv.DictReader(file))
    runs = []
    for entry in index:
        with (folder / f"{entry['name']}.csv").open(encoding="utf-8") as file:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        sizes = {"n_train": int(entry["n_train"] or 0), "n_val": int(entry["n_val"] or 0)}
        history = build_history(rows, run_id=entry["name"], summary=sizes)
        runs.append(Labelled(history, entry["own_label"], entry["label2"], entry["source_label"]))
    return runs


def ours(*codes: str) -> Detector:
    def fires(run: Labelled) -> bool:
        return any(finding.code in codes for finding in diagnose([run.history])[0].findings)

    return fires


def sagemaker_overfit(run: Labelled) -> bool:
    """SageMaker Debugger Overfit: (val - train) / train > 0.1 at any epoch."""
    train, val, _, _ = run.curves()
    return bool(np.any((val - train) / train > 0.1))


def umlaut_overfit(run: Labelled) -> bool:
    """UMLAUT (CHI 2021): any epoch at which validation loss rose and training loss did not."""
    train, val, _, _ = run.curves()
    return bool(np.any((np.diff(val) > 0) & (np.diff(train) <= 0)))


def prechelt_gl5_any(run: Labelled) -> bool:
    """Prechelt 1998, GL_5 at any epoch."""
    val = run.curves()[1]
    return bool(np.any(100 * (val / np.minimum.accumulate(val) - 1) > 5))


def prechelt_gl5_last(run: Labelled) -> bool:
    """Prechelt 1998, GL_5 at the last epoch."""
    val = run.curves()[1]
    return bool(100 * (val[-1] / val.min() - 1) > 5)


def gap_10(run: Labelled) -> bool:
    """AutoTrainer's idea: training accuracy ends more than 10 points above validation."""
    _, _, train, val = run.curves()
    return bool(train[-1] - val[-1] > 0.10)


def last_val_above(run: Labelled) -> bool:
    _, _, train, val = run.curves()
    return bool(val[-1] > train[-1])


def any_val_above(run: Labelled) -> bool:
    _, _, train, val = run.curves()
    return bool(np.any(val > train))


def umlaut_val_above(run: Labelled) -> bool:
    """UMLAUT: from epoch index 3 on, validation accuracy above 0.95 or more than 0.05 above training."""
    _, _, train, val = run.curves()
    return bool(np.any((val[3:] > 0.95) | (val[3:] - train[3:] > 0.05)))


OVERFIT: dict[str, Detector] = {
    "fersweep FS101 or FS102": ours("FS101", "FS102"),
    "fersweep FS101 alone": ours("FS101"),
    "SageMaker Overfit, any epoch": sagemaker_overfit,
    "UMLAUT overfit": umlaut_overfit,
    "Prechelt GL5, any epoch": prechelt_gl5_any,
    "Prechelt GL5, last epoch": prechelt_gl5_last,
    "gap > 10 points at the end": gap_10,
}
VAL_ABOVE: dict[str, Detector] = {
    "fersweep FS201": ours("FS201"),
    "last epoch val > train": last_val_above,
    "any epoch val > train": any_val_above,
    "UMLAUT val too high": umlaut_val_above,
}


def score(
    detector: Detector, runs: Sequence[Labelled], truth: Callable[[Labelled], bool]
) -> tuple[float, float, float]:
    hits = [(detector(run), truth(run)) for run in runs]
    true_positive = sum(fired and real for fired, real in hits)
    precision = true_positive / max(sum(fired for fired, _ in hits), 1)
    recall = true_positive / max(sum(real for _, real in hits), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def table(
    title: str,
    detectors: dict[str, Detector],
    runs: Sequence[Labelled],
    truth: Callable[[Labelled], bool],
) -> None:
    positives = sum(truth(run) for run in runs)
    print(f"\n{title}: {positives} of {len(runs)} runs")
    print(f"  {'':32s}  precision  recall    F1")
    for name, detector in detectors.items():
        precision, recall, f1 = score(detector, runs, truth)
        print(f"  {name:32s}      {precision:5.2f}   {recall:5.2f}  {f1:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--curves", type=Path, required=True, help="folder with INDEX.csv and one CSV per run"
    )
    runs = load(parser.parse_args().curves)
    table("overfit", OVERFIT, runs, lambda run: run.label == "overfit")
    by_author = [
        run for run in runs if run.author in ("overfit", "some overfitting", "healthy", "underfit")
    ]
    table(
        "overfit, the authors' own words", OVERFIT, by_author, lambda run: "overfit" in run.author
    )
    table("val above train", VAL_ABOVE, runs, lambda run: run.label == "val-above-train")
    table(
        "val above train, also as second label",
        VAL_ABOVE,
        runs,
        lambda run: "val-above-train" in (run.label, run.second),
    )
    table(
        "underfit",
        {"fersweep FS301": ours("FS301")},
        runs,
        lambda run: "underfit" in (run.label, run.second),
    )
    table(
        "losses differ",
        {"fersweep FS203": ours("FS203")},
        runs,
        lambda run: run.second == "loss-mismatch",
    )


if __name__ == "__main__":
    main()
