"""The training loop: its rows, repeatability, stopping and failure."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from fer_sweep.errors import ConfigError, FersweepError
from fer_sweep.train import NonFiniteLoss, ResidentData, TrainResult, train
from fer_sweep.train.augment import normalise
from fer_sweep.train.checkpoint import load_checkpoint
from fer_sweep.train.data import Split
from fer_sweep.train.device import Format, Precision
from fer_sweep.train.evaluate import evaluate
from fer_sweep.train.models import build_model, count_macs, count_params
from fer_sweep.train_config import ARCHITECTURES, AUGMENTATIONS, TrainConfig

ROW_KEYS = {
    "epoch", "train/loss", "train/accuracy", "train_eval/loss", "train_eval/accuracy", "val/loss",
    "val/accuracy", "val/macro_f1", "best/val_accuracy", "lr", "grad_norm", "time/epoch_s", "images_per_s",
}  # fmt: skip
SUMMARY_KEYS = {
    "best/epoch", "best/val_accuracy", "best/val_loss", "best/val_macro_f1", "best/train_accuracy",
    "best/train_eval_accuracy", "n_train", "n_val", "seed", "params", "macs", "device", "precision",
    "versions/torch", "versions/fersweep", "data/key", "data/source", "git_commit",
}  # fmt: skip
TIMINGS = {"time/epoch_s", "images_per_s"}


Row = dict[str, float]


def never() -> bool:
    return False


def run(data: ResidentData, **kwargs: Any) -> tuple[list[Row], TrainResult]:
    """Train to the end; rows without what a clock decides, and the result."""
    options = {k: kwargs.pop(k) for k in ("checkpoint", "on_batch", "number_format") if k in kwargs}
    rows: list[Row] = []
    config = TrainConfig(**{"arch": "cnn4_bn", "batch_size": 32, "epochs": 2, **kwargs})
    result = train(config, data, rows.append, never, **options)
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows], result


@pytest.fixture
def tiny(data: ResidentData) -> ResidentData:
    """64 training and 32 validation faces."""
    return ResidentData(data.train.stratified(64), data.val, data.key, data.source)


# -- what is logged --------------------------------------------------------------------------------


def test_one_complete_row_per_epoch_from_1(tiny: ResidentData) -> None:
    rows: list[Row] = []
    train(TrainConfig(epochs=3), tiny, rows.append, never)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert set(row) == ROW_KEYS
        assert all(type(value) in (int, float) for value in row.values())
        assert row["time/epoch_s"] > 64 / row["images_per_s"] > 0


def test_a_network_learns_its_training_faces(data: ResidentData) -> None:
    rows, result = run(data, epochs=4, arch="cnn4_bn")
    assert rows[-1]["train/loss"] < 0.8 * rows[0]["train/loss"]
    assert rows[-1]["train_eval/accuracy"] > 0.4
    assert not result.stopped


def test_summary_is_complete_and_describes_the_best_epoch(data: ResidentData) -> None:
    rows, result = run(data, epochs=4, learning_rate=3e-3, seed=5)
    summary = result.summary
    assert set(summary) == SUMMARY_KEYS
    best = max(rows, key=lambda row: row["val/accuracy"])  # the first of equals
    assert summary["best/epoch"] == best["epoch"]
    for key in (
        "val/accuracy",
        "val/loss",
        "val/macro_f1",
        "train/accuracy",
        "train_eval/accuracy",
    ):
        assert summary["best/" + key.replace("/", "_")] == best[key]
    model = build_model("cnn4_bn", dropout=0)
    assert summary["params"] == count_params(model)
    assert summary["macs"] == count_macs(model)
    assert (summary["n_train"], summary["n_val"], summary["seed"]) == (256, 32, 5)
    assert (summary["data/key"], summary["data/source"]) == (data.key, data.source)
    assert summary["device"] == "cpu"
    assert summary["versions/torch"] == torch.__version__


def test_best_accuracy_is_the_running_maximum(data: ResidentData) -> None:
    rows, _ = run(data, epochs=5, learning_rate=0.01)
    accuracies = [row["val/accuracy"] for row in rows]
    expected = [max(accuracies[: n + 1]) for n in range(5)]
    assert [row["best/val_accuracy"] for row in rows] == expected


def test_summary_names_the_commit_of_the_working_folder(
    tiny: ResidentData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    )
    monkeypatch.chdir(folder)
    _, result = run(tiny, epochs=1)
    assert result.summary["git_commit"] == head.stdout.strip()
    outside = tmp_path / "outside"
    outside.mkdir()
    monkeypatch.chdir(outside)
    assert run(tiny, epochs=1)[1].summary["git_commit"] == ""


def test_smoothing_changes_the_optimised_loss_only(tiny: ResidentData) -> None:
    """One epoch of one batch: the logged loss is that of the first forward pass, smoothed or not."""
    smooth, _ = run(tiny, epochs=1, batch_size=64, label_smoothing=0.3)
    plain, _ = run(tiny, epochs=1, batch_size=64)
    assert smooth[0]["train/loss"] == plain[0]["train/loss"]
    assert smooth[0]["grad_norm"] != plain[0]["grad_norm"]
    assert smooth[0]["val/loss"] != plain[0]["val/loss"]


def test_gradient_norm_and_loss_are_those_of_a_hand_written_step(tiny: ResidentData) -> None:
    torch.manual_seed(0)
    model = build_model("cnn2", dropout=0)
    loss = torch.nn.functional.cross_entropy(
        model(normalise(tiny.train.images)), tiny.train.labels, label_smoothing=0.2
    )
    loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    norm = torch.cat(gradients).norm().item()
    rows, _ = run(
        tiny, arch="cnn2", epochs=1, batch_size=64, number_format="fp32", label_smoothing=0.2
    )
    assert rows[0]["grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_cosine_falls_from_the_peak_towards_zero(tiny: ResidentData) -> None:
    rows, _ = run(tiny, arch="cnn1", epochs=4, lr_schedule="cosine", learning_rate=0.01)
    expected = [0.01 * 0.5 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert [row["lr"] for row in rows] == pytest.approx(expected)
    rows, _ = run(tiny, arch="cnn1", epochs=2, learning_rate=0.01)
    assert [row["lr"] for row in rows] == [0.01, 0.01]


# -- repeatability ---------------------------------------------------------------------------------


def test_same_seed_same_rows_to_the_last_bit(tiny: ResidentData) -> None:
    options = {"dropout": 0.3, "augment": "readme", "seed": 3}
    torch.manual_seed(1)
    first, _ = run(tiny, **options)
    torch.manual_seed(2)
    assert run(tiny, **options)[0] == first
    assert run(tiny, **options | {"seed": 4})[0] != first


def test_the_global_random_stream_is_left_as_it_was(tiny: ResidentData) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    run(tiny, epochs=1, dropout=0.5)
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluation_changes_nothing_it_evaluates(data: ResidentData) -> None:
    """Buffers, mode and random stream: training is the same with and without it."""
    torch.manual_seed(0)
    model = build_model("cnn4_bn", dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    evaluate(model, data.val, normalise, Precision(data.device, "fp32"))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_clean_training_metrics_are_in_eval_mode_and_without_augmentation(
    tiny: ResidentData, tmp_path: Path
) -> None:
    path = tmp_path / "best.pt"
    rows, _ = run(
        tiny, epochs=1, dropout=0.6, augment="strong", checkpoint=path, number_format="fp32"
    )
    model = load_checkpoint(path).model
    clean = tiny.train.stratified(32)
    with torch.inference_mode():
        logits = model(normalise(clean.images))
    loss = torch.nn.functional.cross_entropy(logits, clean.labels).item()
    assert rows[0]["train_eval/loss"] == pytest.approx(loss, rel=1e-4)


def test_all_trials_of_a_size_train_on_the_same_faces(data: ResidentData) -> None:
    first = data.training_images(64)
    again = data.training_images(64)
    assert torch.equal(first.images, again.images)
    counts = first.labels.bincount(minlength=7) / 64
    whole = data.train.labels.bincount(minlength=7) / 256
    assert (counts - whole).abs().max() < 0.03


# -- stopping and failing --------------------------------------------------------------------------


def test_stop_ends_the_epoch_at_the_next_batch_without_its_row(data: ResidentData) -> None:
    rows: list[Row] = []
    batches: list[tuple[int, int]] = []
    config = TrainConfig(arch="cnn1", batch_size=32, epochs=5)  # 8 batches an epoch

    result = train(
        config,
        data,
        rows.append,
        lambda: len(batches) == 11,
        on_batch=lambda done, total: batches.append((done, total)),
    )
    assert result.stopped
    assert [row["epoch"] for row in rows] == [1]
    assert batches == [(n, 8) for n in range(1, 9)] + [(n, 8) for n in range(1, 4)]
    assert result.summary["best/epoch"] == 1


def test_stop_is_heard_during_evaluation(data: ResidentData) -> None:
    rows: list[Row] = []
    asked: list[None] = []

    def stop_after_training() -> bool:
        asked.append(None)
        return len(asked) > 8

    config = TrainConfig(arch="cnn1", batch_size=32, epochs=5)  # 8 batches an epoch
    result = train(config, data, rows.append, stop_after_training)
    assert result.stopped
    assert rows == []
    assert len(asked) == 9, "the first batch of evaluation was not needed any more"


def test_what_a_trial_is_is_told_before_its_first_epoch(tiny: ResidentData) -> None:
    told: list[object] = []
    config = TrainConfig(arch="cnn1", epochs=2)
    train(config, tiny, lambda row: told.append(row["epoch"]), never, describe=told.append)
    described, *epochs = told
    assert epochs == [1, 2]
    assert isinstance(described, dict)
    assert set(described) == {key for key in SUMMARY_KEYS if not key.startswith("best/")}
    assert (described["n_train"], described["n_val"]) == (64, 32)


def test_stop_before_the_first_row_has_a_summary_without_a_best_epoch(data: ResidentData) -> None:
    rows: list[Row] = []
    result = train(TrainConfig(arch="cnn1"), data, rows.append, lambda: True)
    assert rows == []
    assert result.stopped
    assert result.summary["n_train"] == 256
    assert not [key for key in result.summary if key.startswith("best/")]


def test_divergence_is_logged_then_raised_with_the_fix(tiny: ResidentData) -> None:
    rows: list[Row] = []
    config = TrainConfig(arch="cnn4", optimizer="sgd", learning_rate=10, batch_size=8, epochs=20)
    with pytest.raises(
        NonFiniteLoss, match=r"cnn4: epoch \d+: .*learning_rate 10\)\. Lower.*to 1 "
    ) as e:
        train(config, tiny, rows.append, never)
    assert isinstance(e.value, FersweepError)
    assert not math.isfinite(rows[-1]["train/loss"])
    assert set(rows[-1]) == ROW_KEYS
    assert len(rows) < 20
    assert e.value.summary["n_train"] == 64


@pytest.mark.parametrize("size", [6, 257])
def test_a_train_size_that_does_not_fit_says_what_does(data: ResidentData, size: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"train_size: must be 0 \(all\) or 7 to 256.*got {size}"
    ):
        run(data, train_size=size)


def test_the_last_small_batch_is_used(data: ResidentData) -> None:
    seen: list[tuple[int, int]] = []
    run(
        data,
        arch="cnn1",
        train_size=70,
        epochs=1,
        on_batch=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_batch_of_one_face_trains_under_batch_norm(data: ResidentData) -> None:
    rows, _ = run(data, train_size=33, epochs=1)
    assert math.isfinite(rows[0]["train/loss"])


# -- everything on offer runs ----------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_trains_a_step(data: ResidentData, arch: str) -> None:
    few = ResidentData(
        data.train.stratified(8),
        Split(data.val.images[:8], data.val.labels[:8]),
        data.key,
        data.source,
    )
    rows, _ = run(few, arch=arch, batch_size=8, epochs=1, dropout=0.3)
    assert math.isfinite(rows[0]["val/loss"])
    assert rows[0]["grad_norm"] > 0


@pytest.mark.parametrize("policy", AUGMENTATIONS)
def test_every_augmentation_trains(tiny: ResidentData, policy: str) -> None:
    rows, _ = run(tiny, arch="cnn1", augment=policy, epochs=1)
    assert math.isfinite(rows[0]["train/loss"])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_optimizer_lowers_the_loss(data: ResidentData, optimizer: str) -> None:
    rate = 0.02 if optimizer == "sgd" else 1e-3
    rows, _ = run(
        data, arch="cnn2", optimizer=optimizer, learning_rate=rate, epochs=4, weight_decay=1e-4
    )
    assert rows[-1]["train/loss"] < rows[0]["train/loss"]


@pytest.mark.parametrize("number_format", ["fp32", "bf16"])
def test_number_formats_agree_on_the_first_losses(
    tiny: ResidentData, number_format: Format
) -> None:
    reference, _ = run(tiny, arch="cnn4", epochs=1, number_format="fp32")
    rows, result = run(tiny, arch="cnn4", epochs=1, number_format=number_format)
    assert result.summary["precision"] == number_format
    assert rows[0]["train/loss"] == pytest.approx(reference[0]["train/loss"], rel=0.02)
