"""From hyperparameters to an optimizer and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fer_sweep.train_config import TrainConfig


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimizer; weight decay acts on convolution and linear weights only.

    Decaying biases and batch-norm scales shrinks nothing that overfits and slows batch-norm networks:
    Jia et al. 2018, arXiv:1807.11205, section 3.2.
    """
    decayed = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    ids = {id(weight) for weight in decayed}
    free = [p for p in model.parameters() if id(p) not in ids]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    lr = config.learning_rate
    match config.optimizer:
        case "adam":
            return torch.optim.Adam(groups, lr=lr, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Use this learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = value


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of one optimizer step.

    Args:
        config: Gives the peak and the schedule.
        step: The step, 0-based.
        steps: Steps of the whole trial.

    Source: cosine without restarts, Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5.
    """
    if config.lr_schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together, a scalar on their device, without waiting for it."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm
