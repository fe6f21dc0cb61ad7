"""Checkpoints: complete, the best epoch's, and readable on their own."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from fer_sweep.train import ResidentData, train
from fer_sweep.train.augment import eval_transform
from fer_sweep.train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from fer_sweep.train.device import Precision
from fer_sweep.train.evaluate import evaluate
from fer_sweep.train.models import build_model
from fer_sweep.train_config import TrainConfig

CONFIG = TrainConfig(
    arch="cnn4_bn", epochs=5, batch_size=32, learning_rate=0.01, augment="crop44", dropout=0.2
)


def test_the_best_epoch_comes_back_with_its_accuracy(data: ResidentData, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "best.pt"
    rows: list[dict[str, float]] = []
    result = train(CONFIG, data, rows.append, lambda: False, checkpoint=path)
    loaded = load_checkpoint(path)
    assert loaded.config == CONFIG
    assert loaded.epoch == result.summary["best/epoch"]
    precision = Precision(data.device, result.summary["precision"])
    again = evaluate(loaded.model, data.val, eval_transform("crop44"), precision)
    assert again.accuracy == result.summary["best/val_accuracy"] == loaded.val_accuracy
    assert [file.name for file in path.parent.iterdir()] == ["best.pt"]


def test_training_with_a_checkpoint_is_training_without(data: ResidentData, tmp_path: Path) -> None:
    def losses(**options: Any) -> list[float]:
        rows: list[dict[str, float]] = []
        train(CONFIG, data, rows.append, lambda: False, **options)
        return [row["val/loss"] for row in rows]

    assert losses(checkpoint=tmp_path / "best.pt") == losses()


def test_weights_that_cannot_be_written_do_not_cost_the_trial(
    data: ResidentData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "best.pt"
    rows: list[dict[str, float]] = []
    result = train(CONFIG, data, rows.append, lambda: False, checkpoint=path)
    assert len(rows) == CONFIG.epochs
    assert not result.stopped
    assert "cannot be written" in result.summary["checkpoint/problem"]
    assert str(path) in caplog.text


def test_a_write_that_fails_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    model = build_model("cnn4", dropout=0)
    save_checkpoint(
        path, model, CONFIG.model_copy(update={"arch": "cnn4"}), epoch=1, val_accuracy=0.5
    )
    earlier = path.read_bytes()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as good as a full disk
    try:
        with pytest.raises(CheckpointError, match=r"best\.pt: .*epoch 2.*Free \d+\.\d MB.*--home"):
            save_checkpoint(path, model, CONFIG, epoch=2, val_accuracy=0.6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert path.read_bytes() == earlier
    assert list(tmp_path.glob("best.pt*")) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "best.pt"
    with pytest.raises(CheckpointError, match=r"file/best\.pt: .*cannot be written"):
        save_checkpoint(path, build_model("cnn4", dropout=0), CONFIG, epoch=1, val_accuracy=0.5)


def test_unreadable_checkpoints_say_what_they_are_not(tmp_path: Path) -> None:
    missing, text, other = tmp_path / "missing.pt", tmp_path / "text.pt", tmp_path / "other.pt"
    text.write_text("hello")
    torch.save({"weights": torch.zeros(3)}, other)
    with pytest.raises(CheckpointError, match=r"missing\.pt: cannot be read.*No such file"):
        load_checkpoint(missing)
    for path in (text, other):
        with pytest.raises(CheckpointError, match=rf"{path.name}: not a checkpoint"):
            load_checkpoint(path)
