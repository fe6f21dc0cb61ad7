"""Draw a block of faces: from the background forward, each function adds one thing to the canvas.

Numbers without a name are lengths in half image widths, or darkness in [0, 1]; they were chosen by
looking at contact sheets, so that a person names the expressions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_sweep.data.faces.canvas import EDGE, Canvas, Layer, bump, inside, open_canvas
from fer_sweep.data.faces.mouth import draw_mouth, mouth_line
from fer_sweep.data.faces.params import Column, Expression, Occluder, Person, Scene
from fer_sweep.data.faceset import SIDE


def render(
    expression: Expression,
    person: Person,
    scene: Scene,
    *,
    texture: np.random.Generator,
    noise: np.random.Generator,
) -> NDArray[np.uint8]:
    """Draw one block of faces, shape ``(B, 48, 48)``."""
    canvas = open_canvas(person, scene, 0.10 * expression.au(26), texture)
    _draw_neck_and_hair(canvas, person)
    _draw_skin(canvas, expression, person, scene)
    _draw_fringe(canvas, person)
    _draw_eyes(canvas, expression, person, scene)
    _draw_brows(canvas, expression, person)
    _draw_glasses(canvas, person)
    draw_mouth(canvas, expression, person, scene)
    _draw_occluder(canvas, person, scene, texture)
    return _photograph(canvas.image, scene, noise)


def _draw_neck_and_hair(canvas: Canvas, person: Person) -> None:
    neck = inside((np.abs(canvas.head_x) - 0.42) / EDGE) * inside((0.55 - canvas.head_y) / EDGE)
    canvas.paint(neck, person.skin * 0.65)
    rim = np.sqrt(
        (canvas.head_x / (person.face_width * (1.10 + person.hair_side))) ** 2
        + ((canvas.head_y + 0.12) / (person.face_height * 1.05)) ** 2
    )
    hair = inside((rim - 1) / EDGE) * inside((canvas.head_y - person.hair_length) / 0.1)
    canvas.paint(hair * (person.baldness > 0.08), person.hair * (0.9 + 0.1 * canvas.texture))


def _draw_skin(canvas: Canvas, expression: Expression, person: Person, scene: Scene) -> None:
    """Shaded skin with everything that darkens it: wrinkles, folds, nose, cheeks, beard."""
    length = np.sqrt(scene.light_x**2 + scene.light_y**2 + 1)
    lambert = canvas.head_x / person.face_width * scene.light_x
    lambert = lambert + canvas.head_y / person.face_height * scene.light_y + canvas.bulge
    lambert = np.clip(lambert / length, 0, 1)
    skin = person.skin * (scene.ambient + (1.15 - scene.ambient) * lambert) + 0.012 * canvas.texture
    dark = _forehead(canvas, expression, person)
    dark = dark + _nose_and_folds(canvas, expression, person, scene)
    dark = dark + _lower_face(canvas, expression, person)
    cheek = bump((np.abs(canvas.u) - person.eye_distance * 1.05) / 0.15)
    cheek = expression.au(6) * cheek * bump((canvas.v - person.eye_y - 0.27) / 0.10)
    canvas.paint(canvas.face, skin * (1 - np.clip(dark, 0, np.float32(0.8))) * (1 + 0.10 * cheek))


def _forehead(canvas: Canvas, expression: Expression, person: Person) -> Layer:
    """Wrinkles across the forehead (brows up) and the furrow between the brows (brows down)."""
    u, v = canvas.u, canvas.v
    lift = 0.5 * (expression.au(1) + expression.au(2))
    wrinkles = sum(bump((v + y + 0.05 * lift) / 0.022) for y in (0.53, 0.62, 0.71))
    furrow = bump((np.abs(u) - 0.055) / 0.022) * bump((v - person.eye_y + 0.17) / 0.09)
    dark: Layer = 0.05 * lift * (0.4 + person.age) * wrinkles * bump(u / 0.42)
    dark += 0.16 * expression.au(4) * furrow
    return dark


def _nose_and_folds(canvas: Canvas, expression: Expression, person: Person, scene: Scene) -> Layer:
    """The nose with its wrinkles, and the folds from its wings to beyond the mouth corners."""
    u, v, across = canvas.u, canvas.v, np.abs(canvas.u)
    sneer = expression.au(9)
    tip = person.eye_y + 0.22 + person.nose_length - 0.03 * sneer
    wrinkles = bump((v - person.eye_y - 0.03) / 0.018) + bump((v - person.eye_y - 0.09) / 0.018)
    dark: Layer = 0.14 * sneer * wrinkles * bump(u / 0.10)
    shadow_side = np.sign(scene.light_x + 1e-3)
    bridge = u + shadow_side * (0.05 + 0.04 * np.clip((v - person.eye_y) / 0.4, 0, 1))
    along = inside((person.eye_y - 0.02 - v) / 0.04) * inside((v - tip) / 0.04)
    dark = dark + 0.14 * bump(bridge / 0.035) * along
    nostrils = bump((across - person.nose_width * (0.62 + 0.15 * sneer)) / 0.035)
    dark = dark + 0.40 * nostrils * bump((v - tip - 0.015) / 0.026)
    dark = dark + 0.12 * bump(u / (person.nose_width * 1.1)) * bump((v - tip - 0.045) / 0.02)

    smile, mouth_y = expression.au(12), mouth_line(expression, person)
    depth = 0.10 * person.age + 0.55 * smile + 0.6 * expression.au(10) + 0.55 * sneer
    t = np.clip((v - tip) / (mouth_y - tip + 0.04), 0, 1)
    reach = person.mouth_width * (0.98 + 0.18 * smile) + 0.03 - person.nose_width
    fold = bump((across - person.nose_width * 1.15 - reach * t * (1.7 - 0.7 * t)) / 0.03)
    ends = inside((tip - 0.02 - v) / 0.03) * inside((v - mouth_y - 0.03) / 0.04)
    dark += 0.13 * np.clip(depth, 0, np.float32(1.2)) * fold * ends
    return dark


def _lower_face(canvas: Canvas, expression: Expression, person: Person) -> Layer:
    """Chin, bags and crow's feet, beard."""
    u, v, across = canvas.u, canvas.v, np.abs(canvas.u)
    mouth_y = mouth_line(expression, person)
    dark: Layer = 0.12 * expression.au(17) * bump((v - mouth_y - 0.22) / 0.03) * bump(u / 0.12)
    dark = dark + 0.05 * bump((v - mouth_y - 0.17) / 0.03) * bump(u / 0.13)
    bags = bump((across - person.eye_distance) / 0.12) * bump((v - person.eye_y - 0.12) / 0.025)
    dark = dark + 0.10 * person.age * bags
    corner = person.eye_distance + person.eye_width + 0.05
    feet = bump((across - corner) / 0.035) * bump((v - person.eye_y - 0.02) / 0.05)
    dark = dark + 0.10 * expression.au(6) * feet
    jaw = inside((person.mouth_y - 0.13 - v - 0.9 * u * u + 0.05 * bump(u / 0.12)) / 0.04)
    around_lips = bump(u / 0.30) * bump((v - mouth_y) / 0.07)
    stubble = (1 + 0.3 * canvas.texture) * (1 - 0.8 * around_lips)
    return dark + person.beard * jaw * stubble


def _draw_fringe(canvas: Canvas, person: Person) -> None:
    line = person.hairline + 0.18 * np.abs(canvas.u - person.parting * 0.4)
    hair = canvas.face * inside((canvas.v - line) / 0.05) * (person.baldness > 0.15)
    canvas.paint(hair, person.hair * (0.9 + 0.12 * canvas.texture))


def _draw_eyes(canvas: Canvas, expression: Expression, person: Person, scene: Scene) -> None:
    """Both eyes at once, mirrored at the middle of the face; only gaze and lids differ by side."""
    side = np.sign(canvas.u)
    out = np.abs(canvas.u) - person.eye_distance
    across, down = out / person.eye_width, canvas.v - person.eye_y
    lid = 1 + side * expression.tilt(1)
    squint, wide = expression.au(6), expression.au(5)
    opening = 1 + lid * (wide - 0.62 * expression.au(7)) - 0.55 * squint - 0.25 * expression.au(9)
    upper = person.eye_height * np.clip(opening, 0.10, 2.2) * (1 - 0.25 * expression.au(4))
    lower = 0.8 + 0.25 * wide - 0.45 * squint - 0.3 * expression.au(7)
    lower = person.eye_height * np.clip(lower, 0.15, 1.3)
    arch = np.clip(1 - across**2, 0, 1)
    top, bottom = -upper * np.sqrt(arch * np.sqrt(arch)), lower * arch
    opened = inside((top - down) / (EDGE * 0.45)) * inside((down - bottom) / (EDGE * 0.45))
    opened = opened * inside((np.abs(across) - 0.97) / 0.1)
    socket = 0.16 * bump(across / 1.25) * bump((down + 0.04) / 0.11)
    canvas.darken(canvas.face * socket * (1 - opened))

    white = 0.55 + 0.38 * person.skin * scene.ambient / 0.6
    iris_x, iris_y = side * out - 0.05 * scene.gaze_x, down + 0.008 - 0.02 * scene.gaze_y
    iris = inside((np.sqrt(iris_x**2 + iris_y**2) / 0.066 - 1) / 0.18)
    canvas.paint(opened, white + iris * (person.iris - white))
    lashes = 0.55 * bump((down - top) / 0.020) * inside((np.abs(across) - 1.02) / 0.08)
    lashes = lashes + 0.2 * bump((down - bottom) / 0.016) * inside((np.abs(across) - 0.95) / 0.08)
    canvas.darken(canvas.face * lashes)


def _draw_brows(canvas: Canvas, expression: Expression, person: Person) -> None:
    """Both brows; ``along`` runs from 0 at the inner end to 1 at the outer end."""
    frown = expression.au(4)
    inner_end = person.eye_distance - person.brow_length - 0.035 * frown
    along = (np.abs(canvas.u) - inner_end) / (2 * person.brow_length)
    raised = 0.115 * expression.au(1) * (1 + np.sign(canvas.u) * expression.tilt(0))
    y = person.eye_y - person.brow_height + person.brow_slope * (along - 0.5)
    y = y - 0.045 * bump((along - 0.6) / 0.45) - raised * np.clip(1 - along, 0, 1)
    y = y - 0.105 * expression.au(2) * np.clip(along * 1.2, 0, 1)
    y = y + 0.095 * frown * np.clip(1.15 - along, 0, 1.2)
    y = y + 0.03 * expression.au(9) - 0.01 * expression.au(5)
    thickness = person.brow_thickness * np.maximum(1.1 - 0.35 * along, 0.3)
    brow = bump((canvas.v - y) / thickness) * inside(-along / 0.06) * inside((along - 1) / 0.08)
    canvas.darken(canvas.face * brow * person.brow_dark)


def _draw_glasses(canvas: Canvas, person: Person) -> None:
    rows = np.flatnonzero(person.glasses)
    if not len(rows):
        return
    across, down = np.abs(canvas.u[rows]), canvas.v[rows] - person.eye_y[rows]
    distance, width = person.eye_distance[rows], person.eye_width[rows] * 1.45
    ring = np.sqrt(((across - distance) / width) ** 2 + ((down - 0.01) / 0.17) ** 2)
    bridge = 0.8 * bump((down + 0.03) / 0.02) * inside((across - distance * 0.5) / 0.05)
    rim = np.clip(bump((ring - 1) / 0.13) + bridge, 0, 1)
    canvas.image[rows] *= 1 - 0.75 * canvas.face[rows] * rim


def _draw_occluder(
    canvas: Canvas, person: Person, scene: Scene, texture: np.random.Generator
) -> None:
    """Hide part of the face, in the images whose scene says so."""
    x, y = canvas.x, canvas.y
    side, height = np.sign(scene.occluder_x), scene.occluder_y
    mask: Layer
    pattern = (texture.random((len(scene.gain), 1, SIDE // 2)) > 0.45).repeat(2, axis=2)
    for row in np.flatnonzero(scene.occluder):
        grey = scene.occluder_grey[row]
        match Occluder(int(scene.occluder[row, 0, 0])):
            case Occluder.HAND:
                palm_x = (x - scene.occluder_x[row] * 0.6) / 0.34
                palm_y = (y - 0.95 + 0.25 * height[row]) / 0.5
                mask = inside((np.sqrt(palm_x**2 + palm_y**2) - 1) / 0.06)
                grey = person.skin[row] * 0.85 * (0.9 + 0.1 * canvas.texture[row])
            case Occluder.BAR:
                mask = inside((0.80 - 0.35 * height[row] - x * side[row]) / EDGE)
            case Occluder.WATERMARK:
                strip = np.abs(y - scene.occluder_x[row] * 0.7) < 0.06
                mask = 0.45 * (strip & pattern[row]).astype(np.float32)
                grey = np.where(grey > 0.5, np.float32(1), np.float32(0))
            case Occluder.FRINGE:
                mask = inside((0.05 - x * side[row] + 0.6 * (y + 0.3)) / 0.05)
                mask, grey = mask * inside((y - 0.05) / 0.1), person.hair[row]
            case _:
                continue
        canvas.image[row] += mask * (grey - canvas.image[row])


def _photograph(image: Layer, scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Contrast, exposure and gamma, blur, sensor noise, 8 bits."""
    image = np.clip((image - 0.5) * scene.gain + 0.5 + scene.offset, 0, 1) ** scene.gamma
    for _pass in range(3):
        weight = 0.25 * np.clip(scene.blur**2 - 0.5 * _pass, 0, 0.5)
        image = _blur(_blur(image, weight, axis=1), weight, axis=2)
    image = image + scene.noise * rng.standard_normal(image.shape, dtype=np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _blur(image: Layer, weight: Column, *, axis: int) -> Layer:
    """Give ``weight`` of each pixel to both neighbours along ``axis``; the border keeps its own."""
    lines = np.moveaxis(image, axis, 0)
    before = np.concatenate([lines[:1], lines[:-1]])
    after = np.concatenate([lines[1:], lines[-1:]])
    neighbours = np.moveaxis(before + after, 0, axis)
    blurred: Layer = image + weight * (neighbours - 2 * image)
    return blurred
