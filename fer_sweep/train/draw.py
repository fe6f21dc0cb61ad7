"""One random number per image of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


class Draw:
    """Draws for a batch, on the device, from the generator that makes them repeatable.

    Args:
        count: Images in the batch, B.
        generator: Source of randomness; its device is where the numbers live.
    """

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self._count = count
        self._generator = generator

    def uniform(self, low: float, high: float) -> Tensor:
        """Float32 in [low, high), shape ``(B,)``."""
        unit = torch.rand(self._count, device=self._generator.device, generator=self._generator)
        return unit.mul_(high - low).add_(low)

    def integers(self, stop: int) -> Tensor:
        """Int64 in 0..stop-1, shape ``(B,)``."""
        return torch.randint(
            stop, (self._count,), device=self._generator.device, generator=self._generator
        )

    def coin(self, probability: float) -> Tensor:
        """True with this probability, shape ``(B,)``."""
        return self.uniform(0, 1) < probability

    def sign(self) -> Tensor:
        """-1.0 or 1.0, shape ``(B,)``."""
        return self.integers(2).float().mul_(2).sub_(1)
