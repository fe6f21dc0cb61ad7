"""The registry: what each architecture is, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from fer_sweep.errors import ConfigError
from fer_sweep.train.models import REGISTRY, build_model, count_macs, count_params
from fer_sweep.train_config import ARCHITECTURES


def conv(inputs: int, outputs: int, kernel: int = 3, *, bias: bool = False) -> int:
    return inputs * outputs * kernel**2 + (outputs if bias else 0)


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def norm(*widths: int) -> int:
    return 2 * sum(widths)


def stack(*widths: int, bias: bool) -> int:
    """3x3 convolutions from one channel through ``widths``."""
    return sum(conv(i, o, bias=bias) for i, o in zip((1, *widths), widths, strict=False))


def resnet(
    widths: Sequence[int],
    blocks: Sequence[int],
    attention: Callable[[int], int] = lambda _: 0,
) -> int:
    """Parameters of a basic-block network with a 3x3 stem."""
    total, channels = conv(1, widths[0]) + norm(widths[0]), widths[0]
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            total += conv(channels, width) + conv(width, width) + norm(width, width)
            total += attention(width)
            if stage and not block:
                total += conv(channels, width, 1) + norm(width)
            channels = width
    return total + linear(channels, 7)


def squeeze_excite(width: int) -> int:
    return linear(width, width // 16) + linear(width // 16, width)


def cbam(width: int) -> int:
    return squeeze_excite(width) + conv(2, 1, 7) + norm(1)


def encoder_layer(dim: int) -> int:
    mlp = linear(dim, 2 * dim) + linear(2 * dim, dim)
    return linear(dim, 3 * dim) + linear(dim, dim) + mlp + norm(dim, dim)


W32, W64 = (32, 64, 128, 256), (64, 128, 256, 512)
FOUR = (32, 64, 128, 128)
LAYERS = {
    "cnn1": stack(32, bias=True) + linear(18432, 128) + linear(128, 7),
    "cnn2": stack(32, 64, bias=True) + linear(9216, 128) + linear(128, 7),
    "cnn4": stack(*FOUR, bias=True) + linear(1152, 256) + linear(256, 7),
    "cnn4_bn": stack(*FOUR, bias=False) + norm(*FOUR) + linear(1152, 256) + linear(256, 7),
    "cnn8_bn": 1_765_479,
    "vgg_small": stack(*(w for w in W64 for _ in "ab"), bias=False)
    + norm(*W64, *W64)
    + linear(512, 512)
    + linear(512, 7),
    "resnet18_w32": resnet(W32, (2, 2, 2, 2)),
    "resnet18": resnet(W64, (2, 2, 2, 2)),
    "resnet34": resnet(W64, (3, 4, 6, 3)),
    "se_resnet18_w32": resnet(W32, (2, 2, 2, 2), squeeze_excite),
    "cbam_resnet18_w32": resnet(W32, (2, 2, 2, 2), cbam),
    "cct_tiny": stack(64, 128, bias=True)
    + 144 * 128
    + 4 * encoder_layer(128)
    + norm(128)
    + linear(128, 1)
    + linear(128, 7),
}
PUBLISHED = {  # parameters and MACs as the design table prints them: fer2013.md, section 4
    "cnn1": ("2.36M", "3.0M"),
    "cnn2": ("1.20M", "12.5M"),
    "cnn4": ("0.54M", "27.5M"),
    "cnn4_bn": ("0.54M", "27.5M"),
    "cnn8_bn": ("1.77M", "118M"),
    "vgg_small": ("4.95M", "469M"),
    "resnet18_w32": ("2.80M", "312M"),
    "resnet18": ("11.2M", "1.25G"),
    "resnet34": ("21.3M", "2.61G"),
    "se_resnet18_w32": ("2.82M", "312M"),
    "cbam_resnet18_w32": ("2.82M", "313M"),
    "cct_tiny": ("0.62M", "141M"),
}


def as_printed(count: int, like: str) -> str:
    """``count`` in the unit and with the decimals of ``like``."""
    decimals = len(like[:-1].partition(".")[2])
    return f"{count / {'M': 1e6, 'G': 1e9}[like[-1]]:.{decimals}f}{like[-1]}"


def test_registry_has_exactly_the_architectures_of_the_config() -> None:
    assert tuple(REGISTRY) == ARCHITECTURES


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_parameters_are_those_of_the_layer_list(arch: str) -> None:
    params = count_params(build_model(arch, dropout=0))
    assert params == LAYERS[arch]
    assert as_printed(params, PUBLISHED[arch][0]) == PUBLISHED[arch][0]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_multiply_accumulates_are_those_of_the_table(arch: str) -> None:
    macs = count_macs(build_model(arch, dropout=0.5))
    assert as_printed(macs, PUBLISHED[arch][1]) == PUBLISHED[arch][1]


def test_counting_leaves_the_network_as_it_was() -> None:
    model = build_model("cnn4_bn", dropout=0).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert count_macs(model) == count_macs(model)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_network_maps_faces_to_finite_logits_near_chance(arch: str) -> None:
    torch.manual_seed(0)
    model = build_model(arch, dropout=0.3).eval()
    with torch.inference_mode():
        logits = model(torch.randn(2, 1, 48, 48))
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float32
    # ln 7 = 1.95: an untrained network that is sure of itself starts with a useless loss
    assert torch.nn.functional.cross_entropy(logits, torch.tensor([0, 3])) < 2.6


def test_logits_stay_float32_under_autocast() -> None:
    model = build_model("cnn1", dropout=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.randn(2, 1, 48, 48)).dtype == torch.float32


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_dropout_is_whole_before_the_classifier_and_half_after_stages(arch: str) -> None:
    def rates(kind: type[nn.Dropout | nn.Dropout2d], dropout: float) -> list[float]:
        model = build_model(arch, dropout=dropout)
        return [m.p for m in model.modules() if isinstance(m, kind)]

    assert rates(nn.Dropout2d, 0.0) == []
    assert set(rates(nn.Dropout, 0.0)) == {0.0}
    assert set(rates(nn.Dropout2d, 0.4)) == {0.2}
    assert rates(nn.Dropout, 0.4)[-1] == 0.4
    stages = {"cnn1": 1, "cnn2": 2, "cct_tiny": 2}.get(arch, 4)
    assert len(rates(nn.Dropout2d, 0.4)) == stages


@pytest.mark.parametrize("arch", ["resnet18_w32", "se_resnet18_w32", "cbam_resnet18_w32"])
def test_residual_branches_start_silent(arch: str) -> None:
    model = build_model(arch, dropout=0)
    stem = nn.Sequential(*list(model.children())[:3]).eval()
    first_block = list(model.children())[3].eval()
    features = stem(torch.randn(1, 1, 48, 48))
    torch.testing.assert_close(first_block(features), features)


def test_unknown_architecture_names_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"got 'resnet50'.*cnn1, cnn2.*cct_tiny"):
        build_model("resnet50", dropout=0)
