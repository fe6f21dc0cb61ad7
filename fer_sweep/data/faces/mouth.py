"""Draw the mouth: lips, opening, teeth and corners, moved by the lower action units."""

from __future__ import annotations

import numpy as np

from fer_sweep.data.faces.canvas import EDGE, Canvas, bump, inside
from fer_sweep.data.faces.params import Column, Expression, Person, Scene


def mouth_line(expression: Expression, person: Person) -> Column:
    """Height of the closed mouth's middle: a dropped jaw lowers it, a raised chin or lip lifts it."""
    lowered = 0.045 * expression.au(26) - 0.02 * expression.au(17) - 0.01 * expression.au(10)
    return person.mouth_y + lowered


def draw_mouth(canvas: Canvas, expression: Expression, person: Person, scene: Scene) -> None:
    """Add the mouth of each face to the canvas.

    ``m`` runs from -1 at the left corner to 1 at the right; the closed line ``centre`` bends with the
    corners, and the lips open around it by ``gap``.
    """
    au = expression.au
    smile = au(12)
    half_width = 1 + 0.26 * smile + 0.24 * au(20) - 0.24 * au(23) - 0.24 * au(26) + 0.05 * au(15)
    m = canvas.u / (person.mouth_width * half_width)
    profile = np.clip(1 - m * m, 0, 1)
    swell = np.sqrt(profile)
    ends = canvas.face * inside((np.abs(m) - 1) / 0.06)

    lean = 1 + np.sign(canvas.u) * expression.tilt(2)
    corner = (0.115 * au(15) - 0.125 * smile) * lean + 0.012 * au(20) + person.mouth_rest
    middle = mouth_line(expression, person)
    centre = middle + corner * (np.minimum(m * m, np.float32(1.4)) - 0.35)
    gap = (0.075 * au(25) + 0.17 * au(26)) * (0.6 + 0.4 * profile) * swell + 0.004
    top = centre - gap * (0.30 + 0.20 * np.minimum(smile, 1)) - 0.055 * au(10) * swell
    bottom = centre + gap * 0.85

    thickness = person.lip * swell * (1 - 0.65 * np.minimum(au(23), 1.2)) * (1 - 0.2 * smile)
    thickness = thickness * (1 + 0.15 * au(17)) + 0.006
    lips = inside((top - thickness - canvas.v) / (EDGE * 0.5)) * ends
    lips = lips * inside((canvas.v - bottom - 1.25 * thickness) / (EDGE * 0.5))
    shine = bump((canvas.v - bottom - 0.6 * thickness) / 0.03)
    canvas.image = canvas.image * (1 - lips * (person.lip_dark - 0.06 * shine))

    opened = inside((top - canvas.v) / (EDGE * 0.35)) * inside((canvas.v - bottom) / (EDGE * 0.35))
    opened = opened * ends * np.clip((bottom - top) / 0.03, 0, 1)
    shown = np.clip(0.35 + smile + 0.6 * au(10) + 0.7 * au(20) - 0.55 * au(26), 0, 1)
    height = np.minimum(0.06 + 0.05 * smile + 0.05 * au(10), 0.14)
    teeth = shown * inside((canvas.v - top - height) / (EDGE * 0.4))
    teeth = teeth * inside((np.abs(m) - 0.82) / 0.06)
    enamel = scene.teeth * (0.45 + 0.5 * person.skin)
    canvas.paint(opened, 0.08 + teeth * (enamel - 0.08))

    closed = bump((canvas.v - centre) / 0.016) * ends * np.clip(1 - gap / 0.03, 0, 1)
    canvas.darken(0.55 * closed)
    dimples = bump((np.abs(m) - 1) / 0.10) * bump((canvas.v - middle - corner * 0.7) / 0.028)
    canvas.darken(0.28 * canvas.face * dimples)
