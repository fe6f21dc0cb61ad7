"""A network's loss and predictions on a fixed set of images, in eval mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 — torch's own name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_sweep.data import CLASSES
from fer_sweep.metrics import accuracy, confusion_matrix, macro_f1
from fer_sweep.train.data import Split
from fer_sweep.train.device import Precision

_BATCH = {"cpu": 256, "cuda": 1024}
"""A CPU batch that stays near its caches; a GPU batch whose activations fit a small card."""


class EvaluationStopped(Exception):  # noqa: N818 — says what happened
    """``should_stop`` ended an evaluation: there is nothing to report."""


@dataclass(frozen=True)
class Evaluation:
    """What a network scores on a split.

    Attributes:
        loss: Mean plain cross-entropy, in nats.
        confusion: Counts by true (row) and predicted (column) class, shape ``(K, K)``.
    """

    loss: float
    confusion: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Fraction classified right, in [0, 1]."""
        return accuracy(self.confusion)

    @property
    def macro_f1(self) -> float:
        """Unweighted mean F1 of the classes, in [0, 1]."""
        return macro_f1(self.confusion)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: Split,
    view: Callable[[Tensor], Tensor],
    precision: Precision,
    should_stop: Callable[[], bool] | None = None,
) -> Evaluation:
    """Score a network; neither its buffers, its mode nor any random stream changes.

    Args:
        model: The network.
        split: What to score it on.
        view: Turns uint8 faces into network input (``augment.eval_transform``).
        precision: How to compute.
        should_stop: Asked before every batch.

    Raises:
        EvaluationStopped: If ``should_stop`` said so.
    """
    was_training = model.training
    model.eval()
    size = _BATCH.get(precision.device.type, 256)
    loss = torch.zeros((), device=precision.device)
    predictions = []
    for images, labels in zip(split.images.split(size), split.labels.split(size), strict=True):
        if should_stop and should_stop():
            raise EvaluationStopped
        with precision.autocast():
            logits = model(view(images))
        loss += F.cross_entropy(logits.float(), labels, reduction="sum")
        predictions.append(logits.argmax(dim=1))
    model.train(was_training)
    return Evaluation(
        loss=loss.item() / len(split),
        confusion=confusion_matrix(
            split.labels.cpu().numpy(), torch.cat(predictions).cpu().numpy(), len(CLASSES)
        ),
    )
