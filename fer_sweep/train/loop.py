"""Train one network, one row per epoch; knows neither W&B nor sweeps.

Images stay on the device as uint8, batches are gathered and augmented there, and sums of the losses
stay there too: the host waits for the device at the end of an epoch, not in it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 — torch's own name for it
from torch import Tensor

from fer_sweep.errors import FersweepError
from fer_sweep.train.augment import augment, eval_transform
from fer_sweep.train.checkpoint import CheckpointError, save_checkpoint
from fer_sweep.train.data import ResidentData
from fer_sweep.train.device import Format, Precision, choose_format
from fer_sweep.train.evaluate import EvaluationStopped, evaluate
from fer_sweep.train.models import build_model
from fer_sweep.train.optim import (
    build_optimizer,
    gradient_norm,
    learning_rate,
    set_learning_rate,
)
from fer_sweep.train.summary import describe_best, describe_trial
from fer_sweep.train_config import TrainConfig

Row = dict[str, float]

_logger = logging.getLogger(__name__)


class NonFiniteLoss(FersweepError):  # noqa: N818 — says what happened
    """A loss became NaN or infinite: every later step would be wasted.

    Attributes:
        summary: What the trial had to show until then, as in ``TrainResult``.
    """

    def __init__(self, message: str, summary: dict[str, Any]) -> None:
        super().__init__(message)
        self.summary = summary


@dataclass(frozen=True)
class TrainResult:
    """How a trial ended.

    Attributes:
        summary: The best epoch's values and what the trial was, under flat keys.
        stopped: True when ``should_stop`` ended it before its last epoch.
    """

    summary: dict[str, Any]
    stopped: bool


def train(
    config: TrainConfig,
    data: ResidentData,
    log: Callable[[Row], None],
    should_stop: Callable[[], bool],
    *,
    checkpoint: Path | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    describe: Callable[[dict[str, Any]], None] | None = None,
    number_format: Format | None = None,
) -> TrainResult:
    """Train the network of one config from scratch.

    The same config, data and thread count give the same rows to the last bit on a CPU; torch's global
    random stream is left as it was.

    Args:
        config: The hyperparameters.
        data: Images on the device to train on.
        log: Receives one row after each epoch, before the next begins: ``epoch`` (1-based),
            ``train/loss`` and ``train/accuracy`` (running mean over the epoch, augmented, train mode),
            ``train_eval/loss`` and ``train_eval/accuracy`` (eval mode, clean, a fixed stratified part of
            the training images as large as val), ``val/loss``, ``val/accuracy``, ``val/macro_f1``,
            ``best/val_accuracy`` (so far), ``lr`` (of the epoch's first step), ``grad_norm`` (mean over
            the steps), ``time/epoch_s`` (with evaluation) and ``images_per_s`` (without). Losses are
            plain cross-entropy in nats, whatever is optimised.
        should_stop: Asked after every batch, of evaluation too; True ends the trial without a row for
            that epoch.
        checkpoint: Where to keep the weights of the best epoch; None keeps none. Weights that cannot be
            written are no reason to lose the results: ``checkpoint/problem`` in the summary says why.
        on_batch: Receives batches done and batches of the epoch, after every batch.
        describe: Receives once, before the first epoch, the summary's part that is known by then: a trial
            that does not get to its end has it on record.
        number_format: Overrides the device's fastest number format.

    Raises:
        NonFiniteLoss: If a loss is NaN or infinite, after its row was logged.
        ConfigError: If ``train_size`` does not fit the data.
    """
    precision = Precision(data.device, number_format or choose_format(data.device))
    with torch.random.fork_rng(devices=[data.device] if data.device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        trial = _Trial(config, data, precision)
        if describe:
            describe(dict(trial.summary))
        for epoch in range(1, config.epochs + 1):
            start = time.perf_counter()
            running = trial.train_epoch(epoch, should_stop, on_batch)
            if running is None:
                return TrainResult(trial.summary, stopped=True)
            try:
                row = trial.finish_epoch(epoch, running, should_stop)
            except EvaluationStopped:
                return TrainResult(trial.summary, stopped=True)
            row["time/epoch_s"] = time.perf_counter() - start
            log(row)
            trial.check_finite(row)
            if checkpoint:
                trial.save_best(checkpoint, epoch)
    return TrainResult(trial.summary, stopped=False)


class _Trial:
    """One trial's network, optimizer, random stream and best epoch."""

    def __init__(self, config: TrainConfig, data: ResidentData, precision: Precision) -> None:
        self.config = config
        self.precision = precision
        self.images = data.training_images(config.train_size)
        self.clean = self.images.stratified(min(len(self.images), len(data.val)))
        self.val = data.val
        self.view = eval_transform(config.augment)
        model = build_model(config.arch, dropout=config.dropout)
        model = model.to(data.device).to(memory_format=torch.channels_last)
        self.model = model.train()
        self.optimizer = build_optimizer(self.model, config)
        self.scaler = precision.scaler()
        self.generator = torch.Generator(data.device).manual_seed(config.seed)
        self.batches = math.ceil(len(self.images) / config.batch_size)
        self.summary = describe_trial(config, data, self.model, precision, len(self.images))

    def train_epoch(
        self,
        epoch: int,
        should_stop: Callable[[], bool],
        on_batch: Callable[[int, int], None] | None,
    ) -> Row | None:
        """One pass over the training images; None if it was stopped."""
        start = time.perf_counter()
        device = self.precision.device
        first_step = (epoch - 1) * self.batches
        order = torch.randperm(len(self.images), device=device, generator=self.generator)
        loss_sum, hits, norm_sum = (torch.zeros((), device=device) for _ in range(3))
        for batch, rows in enumerate(order.split(self.config.batch_size)):
            set_learning_rate(self.optimizer, self._learning_rate(first_step + batch))
            loss, correct, norm = self._step(self.images.images[rows], self.images.labels[rows])
            loss_sum += loss
            hits += correct
            norm_sum += norm
            if on_batch:
                on_batch(batch + 1, self.batches)
            if should_stop():
                return None
        totals: list[float] = torch.stack(
            [loss_sum, hits, norm_sum]
        ).tolist()  # waits for the device
        return {
            "train/loss": totals[0] / len(self.images),
            "train/accuracy": totals[1] / len(self.images),
            "lr": self._learning_rate(first_step),
            "grad_norm": totals[2] / self.batches,
            "images_per_s": len(self.images) / (time.perf_counter() - start),
        }

    def _learning_rate(self, step: int) -> float:
        return learning_rate(self.config, step, self.config.epochs * self.batches)

    def _step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One optimizer step: the batch's summed plain loss, its hits and its gradient norm."""
        inputs = augment(images, self.config.augment, self.generator)
        with self.precision.autocast():
            logits = self.model(inputs)
        log_probabilities = F.log_softmax(logits.float(), dim=1)
        plain = F.nll_loss(log_probabilities, labels)
        smoothing = self.config.label_smoothing
        objective = plain
        if smoothing:
            objective = (1 - smoothing) * plain - smoothing * log_probabilities.mean()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(objective).backward()
        self.scaler.unscale_(self.optimizer)
        norm = gradient_norm(self.model.parameters())
        if self.scaler.is_enabled():
            norm = norm.nan_to_num(posinf=0.0)  # a step that fp16 scaling skips is no explosion
        self.scaler.step(self.optimizer)
        self.scaler.update()
        hits = (logits.detach().argmax(dim=1) == labels).sum()
        return plain.detach() * len(labels), hits, norm

    def finish_epoch(self, epoch: int, running: Row, should_stop: Callable[[], bool]) -> Row:
        """Evaluate, remember the best epoch, and put the row together."""
        clean = evaluate(self.model, self.clean, self.view, self.precision, should_stop)
        val = evaluate(self.model, self.val, self.view, self.precision, should_stop)
        row: Row = {
            "epoch": epoch,
            "train/loss": running["train/loss"],
            "train/accuracy": running["train/accuracy"],
            "train_eval/loss": clean.loss,
            "train_eval/accuracy": clean.accuracy,
            "val/loss": val.loss,
            "val/accuracy": val.accuracy,
            "val/macro_f1": val.macro_f1,
        }
        if val.accuracy > self.summary.get("best/val_accuracy", -1.0):
            self.summary |= describe_best(row)
        row["best/val_accuracy"] = self.summary["best/val_accuracy"]
        return row | {key: running[key] for key in ("lr", "grad_norm", "images_per_s")}

    def check_finite(self, row: Row) -> None:
        """Raise NonFiniteLoss if the network of this row is beyond repair."""
        for key in ("train/loss", "train_eval/loss", "val/loss"):
            if not math.isfinite(row[key]):
                rate = self.config.learning_rate
                raise NonFiniteLoss(
                    f"{self.config.arch}: epoch {row['epoch']:.0f}: {key} is not finite (got {row[key]} "
                    f"at learning_rate {rate:g}). Lower learning_rate, to {rate / 10:g} at first, or "
                    "choose an architecture with batch-norm.",
                    self.summary,
                )

    def save_best(self, path: Path, epoch: int) -> None:
        """Write the weights if this epoch is the best so far; the summary says so if that fails."""
        if self.summary["best/epoch"] != epoch:
            return
        accuracy = self.summary["best/val_accuracy"]
        try:
            save_checkpoint(path, self.model, self.config, epoch=epoch, val_accuracy=accuracy)
        except CheckpointError as error:
            _logger.warning("%s", error)
            self.summary["checkpoint/problem"] = str(error)
        else:
            self.summary.pop("checkpoint/problem", None)
