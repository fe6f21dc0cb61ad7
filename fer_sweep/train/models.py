"""The architectures: one table from name to network, and what a network costs.

Every network maps images ``(B, 1, 48, 48)`` to logits ``(B, K)``. One knob, ``dropout``, acts before
the classifier, and by half as ``Dropout2d`` after every stage.

Max-pool stands before ReLU everywhere: the two commute (both are monotone), and ReLU then touches a
quarter of the values. Measured on one AVX512-BF16 core: 1.5x on cnn1, 1.1x on cnn4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 — torch's own name for it
from torch import Tensor, nn

from fer_sweep.errors import ConfigError

IMAGE_SIZE = 48


class Classifier(nn.Linear):
    """The last layer, always in float32: half-precision logits tie, and ties bias the argmax."""

    def forward(self, features: Tensor) -> Tensor:
        """Logits of features ``(B, D)``, float32 whatever the autocast state."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


class PlainNet(nn.Sequential):
    """Stages of 3x3 convolutions, each ending in a 2x2 max-pool, then one hidden layer.

    Args:
        stages: Channels of each convolution, grouped by stage.
        hidden: Units of the hidden fully connected layer.
        batch_norm: Normalise after every convolution.
        conv_bias: Give convolutions a bias; by default only where no batch-norm follows.
        global_pool: Average over space before the hidden layer instead of flattening.
        dropout: Probability before the classifier.
        num_classes: Number of logits K.
    """

    def __init__(
        self,
        *,
        stages: Sequence[Sequence[int]],
        hidden: int,
        dropout: float,
        num_classes: int,
        batch_norm: bool = True,
        conv_bias: bool | None = None,
        global_pool: bool = False,
    ) -> None:
        bias = not batch_norm if conv_bias is None else conv_bias
        layers: list[nn.Module] = []
        channels, size = 1, IMAGE_SIZE
        for stage in stages:
            for position, width in enumerate(stage, start=1):
                layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=bias))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                if position == len(stage):
                    layers.append(nn.MaxPool2d(2))
                layers.append(nn.ReLU(inplace=True))
                channels = width
            layers += _stage_dropout(dropout)
            size //= 2
        if global_pool:
            layers.append(nn.AdaptiveAvgPool2d(1))
            size = 1
        layers += [nn.Flatten(), nn.Linear(channels * size**2, hidden), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.Dropout(dropout), Classifier(hidden, num_classes))
        _init_kaiming(self)


class SqueezeExcite(nn.Module):
    """Channel attention from global averages.

    Source: Hu et al. 2018, arXiv:1709.01507, section 3.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, C, H, W)`` scaled per channel."""
        gate: Tensor = self.excite(F.relu(self.squeeze(features.mean(dim=(2, 3)))))
        return features * gate.sigmoid()[:, :, None, None]


class Cbam(nn.Module):
    """Channel attention, then spatial attention.

    Source: Woo et al. 2018, arXiv:1807.06521, section 3.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, C, H, W)`` scaled per channel, then per position."""
        pooled = torch.stack(
            [
                F.adaptive_avg_pool2d(features, 1).flatten(1),
                F.adaptive_max_pool2d(features, 1).flatten(1),
            ]
        )
        gate = self.excite(F.relu(self.squeeze(pooled))).sum(dim=0).sigmoid()
        features = features * gate[:, :, None, None]
        mean = features.mean(dim=1, keepdim=True)
        peak = features.max(dim=1, keepdim=True).values  # amax's gradient is twice as slow in bf16
        return features * self.norm(self.spatial(torch.cat([mean, peak], dim=1))).sigmoid()


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, an optional attention, and the shortcut.

    Source: He et al. 2016, arXiv:1512.03385, figure 5. The last scale starts at zero, so that a block
    starts as the identity: Goyal et al. 2017, arXiv:1706.02677, section 5.1.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        attention: Callable[[int], nn.Module] | None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.attention = attention(channels) if attention else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, C, H, W)`` to ``(B, C', H/stride, W/stride)``."""
        branch = F.relu(self.norm1(self.conv1(features)), inplace=True)
        branch = self.attention(self.norm2(self.conv2(branch)))
        return F.relu(branch + self.shortcut(features), inplace=True)


class ResNet(nn.Sequential):
    """Basic blocks behind a stem that keeps 48x48.

    The ImageNet stem (7x7, stride 2, pool) would leave 2x2 of a 48-pixel face at the end.

    Args:
        widths: Channels of each stage; every stage but the first halves the image.
        blocks: Basic blocks of each stage.
        attention: Builds the module applied to a block's branch before the sum.
        dropout: Probability before the classifier.
        num_classes: Number of logits K.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        dropout: float,
        num_classes: int,
        attention: Callable[[int], nn.Module] | None = None,
    ) -> None:
        channels = widths[0]
        layers: list[nn.Module] = [
            nn.Conv2d(1, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(BasicBlock(channels, width, stride, attention))
                channels = width
            layers += _stage_dropout(dropout)
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]
        super().__init__(*layers, Classifier(channels, num_classes))
        _init_kaiming(self)
        for module in self.modules():
            if isinstance(module, BasicBlock):
                nn.init.zeros_(module.norm2.weight)


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens ``(B, T, D)``."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mixed tokens, in the shape of ``tokens``."""
        batch, count, dim = tokens.shape
        qkv = self.qkv(tokens).view(batch, count, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = _attend(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, count, dim))


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention over ``(B, heads, T, D)``.

    Torch's fused kernel is right everywhere but in bf16 on a CPU, where its gradient takes four times as
    long as three plain products (167 against 41 ms at B=128, T=144, one AVX512-BF16 core).
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value)
    scaled = (query * query.shape[-1] ** -0.5).contiguous()
    scores = scaled @ key.transpose(-2, -1).contiguous()
    return scores.softmax(dim=-1).to(value.dtype) @ value.contiguous()


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer with an MLP of twice the width."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``(B, T, D)`` to tokens of the same shape."""
        tokens = tokens + self.dropout(self.attention(self.norm1(tokens)))
        return tokens + self.dropout(self.mlp(self.norm2(tokens)))


class CompactTransformer(nn.Module):
    """Convolutional tokenizer, transformer encoder, attention pooling over tokens.

    Source: Hassani et al. 2021, arXiv:2104.05704, section 3.
    """

    def __init__(
        self,
        *,
        stem: Sequence[int],
        depth: int,
        heads: int,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, size = 1, IMAGE_SIZE
        for width in stem:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(True)]
            layers += _stage_dropout(dropout)
            channels, size = width, size // 2
        self.tokenizer = nn.Sequential(*layers)
        self.position = nn.Parameter(torch.zeros(1, size**2, channels))
        self.encoder = nn.Sequential(
            *(EncoderLayer(channels, heads, dropout / 2) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(channels)
        self.token_weight = nn.Linear(channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = Classifier(channels, num_classes)
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        _init_kaiming(self.tokenizer)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, 1, 48, 48)``."""
        tokens = self.tokenizer(images).flatten(2).transpose(1, 2) + self.position
        tokens = self.norm(self.encoder(tokens))
        weights = self.token_weight(tokens).softmax(dim=1)
        return self.classifier(self.dropout((weights * tokens).sum(dim=1)))


_resnet18_w32 = partial(ResNet, widths=(32, 64, 128, 256), blocks=(2, 2, 2, 2))

REGISTRY: dict[str, Callable[..., nn.Module]] = {
    "cnn1": partial(PlainNet, stages=[[32]], hidden=128, batch_norm=False),
    "cnn2": partial(PlainNet, stages=[[32], [64]], hidden=128, batch_norm=False),
    "cnn4": partial(PlainNet, stages=[[32], [64], [128], [128]], hidden=256, batch_norm=False),
    "cnn4_bn": partial(PlainNet, stages=[[32], [64], [128], [128]], hidden=256),
    # Biases before batch-norm do nothing, but the network it stands for has them: 1,765,479 parameters.
    "cnn8_bn": partial(
        PlainNet, stages=[[32] * 2, [64] * 2, [128] * 2, [256] * 2], hidden=256, conv_bias=True
    ),
    "vgg_small": partial(
        PlainNet, stages=[[64] * 2, [128] * 2, [256] * 2, [512] * 2], hidden=512, global_pool=True
    ),
    "resnet18_w32": _resnet18_w32,
    "resnet18": partial(ResNet, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2)),
    "resnet34": partial(ResNet, widths=(64, 128, 256, 512), blocks=(3, 4, 6, 3)),
    "se_resnet18_w32": partial(_resnet18_w32, attention=SqueezeExcite),
    "cbam_resnet18_w32": partial(_resnet18_w32, attention=Cbam),
    "cct_tiny": partial(CompactTransformer, stem=(64, 128), depth=4, heads=4),
}
"""Architecture name to its builder; the keys are ``train_config.ARCHITECTURES``."""


def build_model(arch: str, *, dropout: float, num_classes: int = 7) -> nn.Module:
    """Build a network with freshly drawn weights (torch's global random stream).

    Args:
        arch: Name in the registry.
        dropout: Probability before the classifier, in [0, 1); half of it after every stage.
        num_classes: Number of logits K.

    Raises:
        ConfigError: If there is no such architecture.
    """
    if arch not in REGISTRY:
        raise ConfigError(
            f"arch: no such architecture (got {arch!r}). Choose one of: {', '.join(REGISTRY)}."
        )
    return REGISTRY[arch](dropout=dropout, num_classes=num_classes)


def count_params(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(model: nn.Module) -> int:
    """Multiply-accumulates of one 48x48 image: convolutions, linear layers and attention products.

    Doubling it gives FLOPs. Normalisation, activations and pooling are left out, as is usual.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, SelfAttention):
            _, tokens, dim = output.shape
            total += 2 * tokens * tokens * dim

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    was_training = model.training
    parameter = next(model.parameters())
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, device=parameter.device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return total


def _stage_dropout(dropout: float) -> list[nn.Module]:
    return [nn.Dropout2d(dropout / 2)] if dropout > 0 else []


def _init_kaiming(model: nn.Module) -> None:
    """He-initialise what a ReLU follows; the classifier keeps torch's small default.

    Convolutions keep the variance of gradients (fan out), as torchvision's do: with fan in, the max-pools
    double the activations of cnn4 and its first loss is 2.6 instead of ln 7 = 1.95 (measured on faces).

    Source: He et al. 2015, arXiv:1502.01852, section 2.2.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and not isinstance(module, Classifier):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
