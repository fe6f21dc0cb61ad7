"""The best weights of a trial on disk: whole or not there, and readable without the run."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fer_sweep.errors import FersweepError
from fer_sweep.train.models import build_model
from fer_sweep.train_config import TrainConfig

FORMAT = 1


class CheckpointError(FersweepError):
    """A checkpoint cannot be written or read; the text names the file and the reason."""


@dataclass(frozen=True)
class Checkpoint:
    """A network at the best epoch of its trial.

    Attributes:
        config: What it was trained with.
        model: The network, in eval mode on the CPU.
        epoch: The epoch of the weights, 1-based.
        val_accuracy: Validation accuracy at that epoch, in [0, 1].
    """

    config: TrainConfig
    model: nn.Module
    epoch: int
    val_accuracy: float


def save_checkpoint(
    path: Path, model: nn.Module, config: TrainConfig, *, epoch: int, val_accuracy: float
) -> None:
    """Replace the checkpoint at ``path``, or leave the earlier one untouched.

    Raises:
        CheckpointError: If the disk is full or the folder cannot be written.
    """
    content = {
        "format": FORMAT,
        "config": config.model_dump(),
        "model": {name: value.cpu() for name, value in model.state_dict().items()},
        "epoch": epoch,
        "val_accuracy": val_accuracy,
    }
    # torch reports a full disk as an internal RuntimeError; through memory it stays an OSError
    buffer = io.BytesIO()
    torch.save(content, buffer)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(buffer.getbuffer())
        temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        size_mb = buffer.tell() / 1e6
        raise CheckpointError(
            f"{path}: the checkpoint of epoch {epoch} cannot be written ({error.strerror or error}). "
            f"Free {size_mb:.1f} MB, or put the files elsewhere with --home."
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Rebuild a network from its checkpoint.

    Raises:
        CheckpointError: If the file is missing, damaged or not ours.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror or error}). Check the path."
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(
            f"{path}: not a checkpoint of fersweep, or damaged ({type(error).__name__}). Train again."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this version. Train again.")
    config = TrainConfig.from_parameters(content["config"], where=str(path))
    model = build_model(config.arch, dropout=config.dropout)
    model.load_state_dict(content["model"])
    return Checkpoint(config, model.eval(), content["epoch"], content["val_accuracy"])


def _remove(path: Path) -> None:
    """Remove a temporary file; the error that is under way matters more than this one."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
