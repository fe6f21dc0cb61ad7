"""Moving pixels: affine maps composed per image, and tables for the moves that are worth caching.

A map is a matrix from output to input in the coordinates of ``grid_sample``, -1 to 1 across the image,
so that maps multiply in the order in which a pixel is traced back to its source.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812 — torch's own name for it
from torch import Tensor

SIZE = 48
CROP = 44
ROTATION_LIMIT_DEG = 10.0
ROTATION_STEP_DEG = 0.1
"""Resolution of the rotation table: half a step moves a corner by 0.03 pixels."""


def rotation(degrees: Tensor) -> Tensor:
    """Maps ``(B, 3, 3)`` that turn images counter-clockwise."""
    angle = torch.deg2rad(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _affine(cos, -sin, zero, sin, cos, zero)


def shear(x: Tensor, y: Tensor) -> Tensor:
    """Maps ``(B, 3, 3)`` that slant rows by ``x`` and columns by ``y`` (tangents)."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _affine(one, x, zero, y, one, zero)


def shift(x: Tensor, y: Tensor) -> Tensor:
    """Maps ``(B, 3, 3)`` that translate by fractions of the image."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _affine(one, zero, -2 * x, zero, one, -2 * y)


def scale(x: Tensor, y: Tensor) -> Tensor:
    """Maps ``(B, 3, 3)`` that show a window of ``x`` by ``y`` of the image; -1 mirrors."""
    zero = torch.zeros_like(x)
    return _affine(x, zero, zero, zero, y, zero)


def mirror(flipped: Tensor) -> Tensor:
    """Maps ``(B, 3, 3)`` that swap left and right where ``flipped`` ``(B,)`` is true."""
    sign = 1 - 2 * flipped.float()
    return scale(sign, torch.ones_like(sign))


def only(chosen: Tensor, maps: Tensor) -> Tensor:
    """``maps`` where ``chosen`` ``(B,)`` is true, the identity elsewhere."""
    return torch.where(chosen[:, None, None], maps, torch.eye(3, device=maps.device))


def resample(images: Tensor, maps: Tensor) -> Tensor:
    """Apply maps ``(B, 3, 3)`` to floats ``(B, 1, H, W)``: bilinear, borders reflected."""
    grid = F.affine_grid(maps[:, :2], list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def gather_pixels(images: Tensor, sources: Tensor) -> Tensor:
    """Build images pixel by pixel from where each pixel comes from.

    Args:
        images: Faces, shape ``(B, 48, 48)``.
        sources: Flat source positions, int64, shape ``(B, P)``; 48 * 48 stands for black.

    Returns:
        Pixels, shape ``(B, P)``, in the type of ``images``.
    """
    flat = images.flatten(1)
    return torch.cat([flat, flat.new_zeros(len(flat), 1)], dim=1).gather(1, sources)


@lru_cache(maxsize=8)
def flip_rotate_table(device: torch.device) -> Tensor:
    """Sources of every rotation within +-10 degrees, unflipped then flipped: 2 x 201 rows.

    The arithmetic is that of ``torchvision.transforms.functional.rotate`` with nearest sampling, which
    flips before it rotates. The table has 7 MB and is read instead of computing 2304 sines a face.

    Returns:
        Int64, shape ``(402, 2304)``, for ``gather_pixels``; row ``i`` turns by ``-10 + 0.1 i`` degrees.
    """
    steps = round(ROTATION_LIMIT_DEG / ROTATION_STEP_DEG)
    degrees = torch.arange(-steps, steps + 1, dtype=torch.float64) * ROTATION_STEP_DEG
    angle = torch.deg2rad(degrees)[:, None, None]
    centre = (SIZE - 1) / 2
    x = torch.arange(SIZE, dtype=torch.float64)[None, None, :] - centre
    y = torch.arange(SIZE, dtype=torch.float64)[None, :, None] - centre
    column = (angle.cos() * x - angle.sin() * y + centre).add(0.5).floor().long()
    row = (angle.sin() * x + angle.cos() * y + centre).add(0.5).floor().long()
    inside = (column >= 0) & (column < SIZE) & (row >= 0) & (row < SIZE)
    tables = [
        torch.where(inside, row * SIZE + source_column, SIZE * SIZE).flatten(1)
        for source_column in (column, SIZE - 1 - column)
    ]
    return torch.cat(tables).to(device)


@lru_cache(maxsize=8)
def crop_table(device: torch.device) -> Tensor:
    """Sources of every 44x44 crop, unflipped then flipped.

    Returns:
        Int64, shape ``(50, 1936)``, for ``gather_pixels``.
    """
    offsets = torch.arange(SIZE - CROP + 1)
    span = torch.arange(CROP)
    row = (offsets[:, None] + span)[:, None, :, None]
    column = (offsets[:, None] + span)[None, :, None, :]
    tables = [
        (row * SIZE + source_column).flatten(0, 1).flatten(1)
        for source_column in (column, SIZE - 1 - column)
    ]
    return torch.cat(tables).to(device)


def enlarge(crops: Tensor) -> Tensor:
    """Resize floats ``(B, 1, 44, 44)`` to 48x48, bilinear."""
    return F.interpolate(crops, size=(SIZE, SIZE), mode="bilinear", align_corners=False)


def _affine(*entries: Tensor) -> Tensor:
    """Stack the first two rows of a matrix, each entry ``(B,)``, into ``(B, 3, 3)``."""
    zero, one = torch.zeros_like(entries[0]), torch.ones_like(entries[0])
    return torch.stack([*entries, zero, zero, one], dim=1).view(-1, 3, 3)
