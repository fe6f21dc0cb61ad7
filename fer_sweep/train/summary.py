"""What a trial was: the facts a reader needs beside its curves."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fer_sweep
from fer_sweep.train.data import ResidentData
from fer_sweep.train.device import Precision, device_name
from fer_sweep.train.models import count_macs, count_params
from fer_sweep.train_config import TrainConfig

Summary = dict[str, Any]

_BEST = {
    "best/epoch": "epoch",
    "best/val_accuracy": "val/accuracy",
    "best/val_loss": "val/loss",
    "best/val_macro_f1": "val/macro_f1",
    "best/train_accuracy": "train/accuracy",
    "best/train_eval_accuracy": "train_eval/accuracy",
}


def describe_trial(
    config: TrainConfig, data: ResidentData, model: nn.Module, precision: Precision, n_train: int
) -> Summary:
    """The summary of a trial before its first epoch, under flat keys."""
    return {
        "n_train": n_train,
        "n_val": len(data.val),
        "seed": config.seed,
        "params": count_params(model),
        "macs": count_macs(model),
        "device": device_name(precision.device),
        "precision": precision.format,
        "versions/torch": torch.__version__,
        "versions/fersweep": fer_sweep.__version__,
        "data/key": data.key,
        "data/source": data.source,
        "git_commit": git_commit(Path.cwd()),
    }


def describe_best(row: dict[str, float]) -> Summary:
    """The summary's part about the best epoch, from that epoch's row."""
    return {key: row[column] for key, column in _BEST.items()}


@lru_cache(maxsize=8)
def git_commit(folder: Path) -> str:
    """The commit checked out around ``folder``; empty outside a repository or without git."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
