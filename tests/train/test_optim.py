"""Optimizers: what is decayed, and the learning rate of each step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fer_sweep.train.models import build_model
from fer_sweep.train.optim import build_optimizer, learning_rate
from fer_sweep.train_config import ARCHITECTURES, TrainConfig


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_parameter_is_optimised_once_and_only_weights_decay(arch: str) -> None:
    model = build_model(arch, dropout=0)
    optimizer = build_optimizer(model, TrainConfig(weight_decay=0.1))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decay) == len(list(model.parameters()))
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_weight = isinstance(module, nn.Conv2d | nn.Linear) and name == "weight"
            assert decay[id(parameter)] == (0.1 if is_weight else 0.0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_the_configured_optimizer_is_built(name: str, kind: type[torch.optim.Optimizer]) -> None:
    optimizer = build_optimizer(build_model("cnn1", dropout=0), TrainConfig(optimizer=name))
    assert type(optimizer) is kind
    if name == "sgd":
        assert optimizer.defaults["momentum"] == 0.9
        assert optimizer.defaults["nesterov"]


def test_cosine_starts_at_the_peak_and_ends_just_above_zero() -> None:
    config = TrainConfig(learning_rate=0.5, lr_schedule="cosine")
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == 0.5
    assert rates[50] == pytest.approx(0.25)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_constant_rate_is_constant() -> None:
    config = TrainConfig(learning_rate=0.5)
    assert {learning_rate(config, step, 10) for step in range(10)} == {0.5}
