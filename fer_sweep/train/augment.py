"""Training augmentation, batched on the device: uint8 faces in, normalised floats out.

Everything random comes from the generator that is passed in, on its own device, and nothing waits for
the host. A policy resamples a face at most once. Borders are reflected, never black, except in
``readme``, which is torchvision's ``RandomHorizontalFlip`` and ``RandomRotation(10)``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fer_sweep.errors import ConfigError
from fer_sweep.train import geometry, tones
from fer_sweep.train.draw import Draw

PIXEL_MEAN, PIXEL_STD = 0.5077, 0.2551
"""Mean and standard deviation of FER2013's training pixels, on a scale of 0 to 1."""

RANDAUG_LEVEL = 7 / 30
"""Magnitude 7 of RandAugment's 30; the operations' full strengths below are torchvision's."""


def augment(images: Tensor, policy: str, generator: torch.Generator) -> Tensor:
    """Augment and normalise a batch for training.

    Args:
        images: Faces, uint8, shape ``(B, 48, 48)``; not changed.
        policy: One of ``train_config.AUGMENTATIONS``.
        generator: Source of randomness, on the device of ``images``.

    Returns:
        Normalised faces, float32, shape ``(B, 1, 48, 48)``.

    Raises:
        ConfigError: If there is no such policy.
    """
    return _policy(policy)(images, Draw(len(images), generator))


def eval_transform(policy: str) -> Callable[[Tensor], Tensor]:
    """The fixed view on which to evaluate a network that was trained with ``policy``.

    Only ``crop44`` has a view of its own, the centre crop: its network has seen faces enlarged by 48/44.

    Returns:
        A function from uint8 ``(B, 48, 48)`` to normalised float32 ``(B, 1, 48, 48)``.

    Raises:
        ConfigError: If there is no such policy.
    """
    _policy(policy)
    return _centre_crop if policy == "crop44" else normalise


def normalise(images: Tensor) -> Tensor:
    """Standardise uint8 faces ``(B, H, W)`` to float32 ``(B, 1, H, W)``."""
    return images.mul(1 / (255 * PIXEL_STD)).sub_(PIXEL_MEAN / PIXEL_STD).unsqueeze(1)


def _none(images: Tensor, draw: Draw) -> Tensor:
    del draw
    return normalise(images)


def _flip(images: Tensor, draw: Draw) -> Tensor:
    flipped = draw.coin(0.5)[:, None, None]
    return normalise(torch.where(flipped, images.flip(2), images))


def _readme(images: Tensor, draw: Draw) -> Tensor:
    """Flip half, then rotate within +-10 degrees: nearest pixel, black corners."""
    table = geometry.flip_rotate_table(images.device)
    moved = geometry.gather_pixels(images, table[draw.integers(len(table))])
    return normalise(moved.view_as(images))


def _medium(images: Tensor, draw: Draw) -> Tensor:
    """Flip; mostly a small affine move; sometimes a change of light or a square cut out."""
    window = draw.uniform(0.9, 1.1).reciprocal()
    moves = (
        geometry.rotation(draw.uniform(-10, 10))
        @ geometry.shift(draw.uniform(-0.1, 0.1), draw.uniform(-0.1, 0.1))
        @ geometry.scale(window, window)
    )
    moves = geometry.only(draw.coin(0.8), moves) @ geometry.mirror(draw.coin(0.5))
    faces = geometry.resample(_unit(images), moves)
    lit = draw.coin(0.5)
    faces = tones.brightness(faces, torch.where(lit, draw.uniform(0.8, 1.2), 1.0))
    faces = tones.contrast(faces, torch.where(lit, draw.uniform(0.8, 1.2), 1.0))
    side = draw.uniform(8, 16)
    return _erase(_standardise(faces), draw, side, side, probability=0.25)


def _crop44(images: Tensor, draw: Draw) -> Tensor:
    """Flip half, take a random 44x44 window, enlarge it."""
    table = geometry.crop_table(images.device)
    crops = geometry.gather_pixels(images, table[draw.integers(len(table))])
    return geometry.enlarge(normalise(crops.view(-1, geometry.CROP, geometry.CROP)))


def _centre_crop(images: Tensor) -> Tensor:
    margin = (geometry.SIZE - geometry.CROP) // 2
    return geometry.enlarge(normalise(images[:, margin:-margin, margin:-margin]))


def _strong(images: Tensor, draw: Draw) -> Tensor:
    """Random resized crop, flip, rotation, change of light, and half the faces lose a rectangle."""
    area, ratio = draw.uniform(0.8, 1.0), draw.uniform(0.9, 1.1)
    width, height = (area * ratio).sqrt().clamp_max(1), (area / ratio).sqrt().clamp_max(1)
    free_x, free_y = (1 - width) / 2, (1 - height) / 2
    moves = (
        geometry.shift(free_x * draw.uniform(-1, 1), free_y * draw.uniform(-1, 1))
        @ geometry.scale(width, height)
        @ geometry.mirror(draw.coin(0.5))
        @ geometry.rotation(draw.uniform(-15, 15))
    )
    faces = geometry.resample(_unit(images), moves)
    faces = tones.brightness(faces, draw.uniform(0.7, 1.3))
    faces = tones.contrast(faces, draw.uniform(0.7, 1.3))
    erased = draw.uniform(0.02, 0.2) * geometry.SIZE**2
    stretch = draw.uniform(-1, 1).mul_(1.2).exp_()  # sides 1:3.3 to 3.3:1, as RandomErasing's
    width, height = (erased * stretch).sqrt(), (erased / stretch).sqrt()
    return _erase(_standardise(faces), draw, width, height, probability=0.5)


def _randaug(images: Tensor, draw: Draw) -> Tensor:
    """Flip half, then two of eleven operations per face, moves before changes of light.

    RandAugment's fourteen without posterise, solarise and colour. An operation that was not drawn runs
    with strength zero, which is the identity, so no face waits for another.

    Source: Cubuk et al. 2020, arXiv:1909.13719, section 3.
    """
    first, second = _randaug_strengths(draw), _randaug_strengths(draw)
    moves = _randaug_moves(first) @ _randaug_moves(second) @ geometry.mirror(draw.coin(0.5))
    faces = geometry.resample(_unit(images), moves)
    for strength in (first, second):
        faces = tones.brightness(faces, 1 + 0.9 * strength["brightness"])
        faces = tones.contrast(faces, 1 + 0.9 * strength["contrast"])
        faces = tones.sharpness(faces, 1 + 0.9 * strength["sharpness"])
        chosen = {name: strength[name][:, None, None, None] != 0 for name in strength}
        faces = torch.where(chosen["autocontrast"], tones.autocontrast(faces), faces)
        faces = torch.where(chosen["equalise"], tones.equalise(faces), faces)
    return _standardise(faces)


_RANDAUG_OPERATIONS = (
    "identity", "rotate", "shear_x", "shear_y", "shift_x", "shift_y",
    "brightness", "contrast", "sharpness", "autocontrast", "equalise",
)  # fmt: skip


def _randaug_strengths(draw: Draw) -> dict[str, Tensor]:
    """One operation per face: its signed magnitude where it was drawn, else 0, each ``(B,)``."""
    drawn = draw.integers(len(_RANDAUG_OPERATIONS))
    magnitude = draw.sign() * RANDAUG_LEVEL
    return {
        name: torch.where(drawn == code, magnitude, 0.0)
        for code, name in enumerate(_RANDAUG_OPERATIONS)
    }


def _randaug_moves(strength: dict[str, Tensor]) -> Tensor:
    furthest = 150 / 331  # torchvision's: 150 pixels of a 331-pixel image
    return (
        geometry.rotation(30 * strength["rotate"])
        @ geometry.shear(0.3 * strength["shear_x"], 0.3 * strength["shear_y"])
        @ geometry.shift(furthest * strength["shift_x"], furthest * strength["shift_y"])
    )


def _unit(images: Tensor) -> Tensor:
    """Uint8 ``(B, 48, 48)`` to floats in [0, 1], ``(B, 1, 48, 48)``."""
    return images.mul(1 / 255).unsqueeze(1)


def _standardise(faces: Tensor) -> Tensor:
    return faces.sub(PIXEL_MEAN).div_(PIXEL_STD)


def _erase(
    faces: Tensor, draw: Draw, width: Tensor, height: Tensor, *, probability: float
) -> Tensor:
    """Set one rectangle to the mean grey, 0, in a share of the faces; sides in pixels, ``(B,)``."""
    pixel = torch.arange(geometry.SIZE, device=faces.device)
    left = (draw.uniform(0, 1) * (geometry.SIZE - width))[:, None]
    top = (draw.uniform(0, 1) * (geometry.SIZE - height))[:, None]
    across = (pixel >= left) & (pixel < left + width[:, None])
    down = (pixel >= top) & (pixel < top + height[:, None])
    hit = down[:, None, :, None] & across[:, None, None, :]
    return faces.masked_fill(hit & draw.coin(probability)[:, None, None, None], 0.0)


_POLICIES: dict[str, Callable[[Tensor, Draw], Tensor]] = {
    "none": _none,
    "flip": _flip,
    "readme": _readme,
    "medium": _medium,
    "crop44": _crop44,
    "strong": _strong,
    "randaug": _randaug,
}


def _policy(name: str) -> Callable[[Tensor, Draw], Tensor]:
    if name not in _POLICIES:
        raise ConfigError(
            f"augment: no such policy (got {name!r}). Choose one of: {', '.join(_POLICIES)}."
        )
    return _POLICIES[name]
