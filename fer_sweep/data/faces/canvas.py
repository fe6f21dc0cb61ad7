"""The pixel grid that faces are drawn on: coordinates, soft shapes and blending."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_sweep.data.faces.params import Column, Person, Scene
from fer_sweep.data.faceset import SIDE

Layer = NDArray[Any]
"""A float32 value for each pixel, shape ``(B, 48, 48)``, or anything that broadcasts to it."""

EDGE = 0.035
"""Softness of an outline in half image widths: 0.85 pixels."""

_AXIS = ((np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) / (SIDE / 2)).astype(np.float32)


def inside(distance: Layer) -> Layer:
    """A soft mask: 1 where ``distance`` (in edge widths) is well below 0, 0 well above, 0.5 at 0.

    A cubic ramp over ±3, which costs a third of the logistic curve it stands for.
    """
    ramp = np.clip(distance * np.float32(-1 / 6) + np.float32(0.5), 0, 1)
    smooth: Layer = ramp * ramp * (np.float32(3) - np.float32(2) * ramp)
    return smooth


def bump(distance: Layer) -> Layer:
    """A soft line or dot: 1 at 0 and 0 beyond ±2.83, close to ``exp(-distance²)``."""
    falloff: Layer = np.maximum(np.float32(1) - distance * distance * np.float32(1 / 8), 0)
    falloff = falloff * falloff
    falloff = falloff * falloff
    return falloff * falloff


@dataclass
class Canvas:
    """A block of images being drawn. Coordinates run from -1 to 1, x to the right and y down.

    Attributes:
        image: Grey values, nominally in [0, 1]; drawing replaces it.
        x: Image coordinate, shape ``(1, 48)``.
        y: Image coordinate, shape ``(48, 1)``.
        head_x: Coordinate upright in the head.
        head_y: Coordinate upright in the head.
        u: Coordinate on the turned face surface: features sit here.
        v: Coordinate on the turned face surface.
        bulge: Height of the face towards the camera, 0 outside to 1.
        face: Mask of the face.
        texture: Slow random variation with unit variance.
    """

    image: Layer
    x: Layer
    y: Layer
    head_x: Layer
    head_y: Layer
    u: Layer
    v: Layer
    bulge: Layer
    face: Layer
    texture: Layer

    def paint(self, mask: Layer, grey: Layer) -> None:
        """Cover the image with ``grey`` where ``mask`` is 1."""
        self.image = self.image + mask * (grey - self.image)

    def darken(self, amount: Layer) -> None:
        """Take a fraction of the light away; ``amount`` is clipped to [0, 0.9]."""
        self.image = self.image * (1 - np.clip(amount, 0, np.float32(0.9)))


def open_canvas(person: Person, scene: Scene, jaw_drop: Column, rng: np.random.Generator) -> Canvas:
    """Lay out the coordinates of a block of heads in their poses."""
    x, y = _AXIS[None, :], _AXIS[:, None]
    cos, sin = np.cos(scene.roll), np.sin(scene.roll)
    moved_x, moved_y = (x - scene.shift_x) / scene.scale, (y - scene.shift_y) / scene.scale
    head_x, head_y = cos * moved_x + sin * moved_y, cos * moved_y - sin * moved_x
    below = np.maximum(head_y, 0)
    width = person.face_width * (1 - 0.8 * person.jaw_taper * below * np.sqrt(below))
    height = person.face_height + np.where(head_y > 0, jaw_drop, 0)
    radius2 = (head_x / width) ** 2 + (head_y / height) ** 2
    bulge = np.sqrt(np.clip(1 - radius2, 0, 1))
    texture = smooth_texture(len(person.skin), rng)
    return Canvas(
        image=scene.background + scene.background_x * x + scene.background_y * y + 0.09 * texture,
        x=x,
        y=y,
        head_x=head_x,
        head_y=head_y,
        u=head_x - 0.34 * scene.yaw * bulge,
        v=head_y - 0.28 * scene.pitch * bulge,
        bulge=bulge,
        face=inside((np.sqrt(radius2) - 1) / EDGE),
        texture=texture,
    )


def smooth_texture(n: int, rng: np.random.Generator) -> Layer:
    """``n`` fields of slow variation: 6x6 normal draws, bilinearly enlarged, shape ``(n, 48, 48)``."""
    coarse = rng.standard_normal((n, 6, 6), dtype=np.float32)
    return _ENLARGE @ coarse @ _ENLARGE.T


def _build_enlarge_matrix() -> NDArray[np.float32]:
    """The (48, 6) matrix of bilinear enlargement, held at the borders."""
    position = np.clip((np.arange(SIDE) + 0.5) / 8 - 0.5, 0, 4.999)
    left = position.astype(int)
    matrix = np.zeros((SIDE, 6), np.float32)
    matrix[np.arange(SIDE), left] = 1 - (position - left)
    matrix[np.arange(SIDE), left + 1] = position - left
    return matrix


_ENLARGE = _build_enlarge_matrix()
