"""Changing grey values: batched versions of the usual photometric operations.

Images are floats in [0, 1], shape ``(B, 1, H, W)``; strengths have shape ``(B,)``, and a factor of 1
leaves an image as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 — torch's own name for it
from torch import Tensor

LEVELS = 256


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the grey values."""
    return _blend(torch.zeros_like(images), images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move the grey values away from the image's mean, or towards it."""
    return _blend(images.mean(dim=(1, 2, 3), keepdim=True), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Move away from the smoothed image, or towards it; the border stays as it is."""
    kernel = torch.ones(1, 1, 3, 3, device=images.device)
    kernel[0, 0, 1, 1] = 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(images, kernel / 13)
    return _blend(smooth, images, factor)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each image to use all grey values; one without two grey levels stays as it is."""
    low = images.amin(dim=(1, 2, 3), keepdim=True)
    span = images.amax(dim=(1, 2, 3), keepdim=True) - low
    level = 1 / LEVELS
    return torch.where(span > level, (images - low) / span.clamp_min(level), images)


def equalise(images: Tensor) -> Tensor:
    """Flatten each image's histogram of 256 grey values; a flat image stays as it is."""
    grey = images.mul(LEVELS - 1).round().long().flatten(1)
    counts = torch.zeros(len(images), LEVELS, device=images.device)
    counts.scatter_add_(1, grey, torch.ones_like(grey, dtype=counts.dtype))
    darker = counts.cumsum(1) - counts
    spread = darker.gather(1, grey.amax(dim=1, keepdim=True))
    equal = (darker.gather(1, grey) / spread.clamp_min(1)).view_as(images)
    return torch.where((spread > 0)[:, :, None, None], equal, images)


def _blend(base: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(base, images, factor[:, None, None, None]).clamp_(0, 1)
