"""What a procedural face shows before it is drawn: expression, person and scene.

Faces are drawn in blocks with a generator of their own each, so face ``i`` of a split is the same
however many are asked for.

Source: expressions are mixtures of facial action units (Ekman & Friesen 1978, Facial Action Coding
System) in EMFACS-like prototypes; class priors are FER2013's Training counts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_sweep.data.faces.spec import FaceSpec
from fer_sweep.data.faceset import CLASSES

BLOCK = 64
"""Faces drawn together: small enough for the working arrays to stay in the processor's cache."""

Column = NDArray[Any]
"""One float32 value for each face of a block, shape ``(B, 1, 1)``: it broadcasts over the pixels."""

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 25, 26)
_COLUMN_OF_AU = {unit: column for column, unit in enumerate(ACTION_UNITS)}

PRIOR = np.array([3995, 436, 4097, 7215, 4830, 3171, 4965]) / 28709
"""Share of each class in FER2013's Training split."""

# Each class shows one of two faces: (probability, {action unit: strength}).
_PROTOTYPES: dict[str, tuple[tuple[float, dict[int, float]], ...]] = {
    "angry": (
        (0.6, {4: 1, 5: 0.35, 7: 0.7, 23: 0.9, 17: 0.3}),
        (0.4, {4: 1, 5: 0.4, 7: 0.7, 10: 0.5, 20: 0.3, 25: 0.8, 26: 0.4}),
    ),
    "disgust": (
        (0.7, {4: 0.6, 7: 0.6, 9: 1, 10: 0.8, 17: 0.5, 15: 0.4}),
        (0.3, {4: 0.5, 9: 1, 10: 1, 25: 0.5, 7: 0.7}),
    ),
    "fear": (
        (0.6, {1: 0.9, 2: 0.45, 4: 0.6, 5: 0.8, 20: 0.9, 25: 0.6}),
        (0.4, {1: 0.9, 2: 0.7, 4: 0.4, 5: 0.9, 20: 0.5, 25: 0.8, 26: 0.55}),
    ),
    "happy": ((0.7, {6: 0.8, 12: 1, 25: 0.7}), (0.3, {6: 0.5, 12: 0.8})),
    "sad": (
        (0.75, {1: 0.8, 4: 0.5, 15: 0.9, 17: 0.5}),
        (0.25, {1: 0.6, 4: 0.7, 15: 0.7, 7: 0.7, 25: 0.4, 20: 0.3}),
    ),
    "surprise": (
        (0.7, {1: 0.9, 2: 1, 5: 0.8, 25: 0.9, 26: 1}),
        (0.3, {1: 0.8, 2: 0.9, 5: 0.7, 25: 0.5, 26: 0.3}),
    ),
    "neutral": ((1, {}), (0, {})),
}

# With whom a class is mixed, in its expressions and in wrong labels: row = true class. Shares are
# ours, shaped after the confusions published for FER2013 and the contradictory copies in it.
_CONFUSABLE = np.array(
    [
        #  an    di    fe    ha    sa    su    ne
        [0.00, 0.12, 0.25, 0.05, 0.30, 0.06, 0.22],
        [0.60, 0.00, 0.10, 0.05, 0.15, 0.03, 0.07],
        [0.18, 0.03, 0.00, 0.05, 0.32, 0.27, 0.15],
        [0.08, 0.02, 0.08, 0.00, 0.15, 0.22, 0.45],
        [0.20, 0.03, 0.25, 0.07, 0.00, 0.03, 0.42],
        [0.10, 0.02, 0.45, 0.22, 0.06, 0.00, 0.15],
        [0.18, 0.02, 0.13, 0.22, 0.40, 0.05, 0.00],
    ]
)
_CONFUSABLE /= _CONFUSABLE.sum(1, keepdims=True)

# How much more often than average a class is mislabelled; 1 on average over PRIOR.
_FLIP = np.array([0.14, 0.18, 0.19, 0.05, 0.17, 0.08, 0.12])
_FLIP /= float(_FLIP @ PRIOR)


class Stream(IntEnum):
    """Independent random streams, so that changing one knob leaves unrelated draws alone."""

    LABEL = 1
    EXPRESSION = 2
    PERSON = 3
    SCENE = 4
    TEXTURE = 5
    NOISE = 6
    DEFECT = 7
    COPY = 8
    PEOPLE = 9


def block_rng(spec: FaceSpec, stream: Stream, split: int, block: int) -> np.random.Generator:
    """The generator of one block of one split for one purpose."""
    return np.random.default_rng([spec.seed, stream, split, block])


@dataclass(frozen=True)
class Expression:
    """What the face does.

    Attributes:
        units: Strength of each action unit, 0 (absent) to 1.3, shape ``(B, 15)``.
        asymmetry: How much more the right side does it (brow, lid, mouth corner), shape ``(B, 3)``.
    """

    units: NDArray[np.float32]
    asymmetry: NDArray[np.float32]

    def au(self, unit: int) -> Column:
        """The strength of one action unit."""
        return self.units[:, _COLUMN_OF_AU[unit], None, None]

    def tilt(self, part: int) -> Column:
        """The asymmetry of the brows (0), lids (1) or mouth corners (2)."""
        return self.asymmetry[:, part, None, None]


@dataclass(frozen=True)
class Person:
    """Who it is. Lengths are in half image widths, grey values in [0, 1]."""

    face_width: Column
    face_height: Column
    jaw_taper: Column
    eye_distance: Column
    eye_y: Column
    eye_width: Column
    eye_height: Column
    iris: Column
    brow_height: Column
    brow_thickness: Column
    brow_length: Column
    brow_slope: Column
    brow_dark: Column
    nose_length: Column
    nose_width: Column
    mouth_y: Column
    mouth_width: Column
    lip: Column
    lip_dark: Column
    mouth_rest: Column
    skin: Column
    hair: Column
    hairline: Column
    hair_side: Column
    parting: Column
    baldness: Column
    hair_length: Column
    beard: Column
    glasses: Column
    age: Column


_PERSON_RANGES = {
    "face_width": (0.68, 0.86),
    "face_height": (0.94, 1.08),
    "jaw_taper": (0.05, 0.42),
    "eye_distance": (0.30, 0.40),
    "eye_y": (-0.24, -0.12),
    "eye_width": (0.135, 0.19),
    "eye_height": (0.050, 0.085),
    "iris": (0.03, 0.25),
    "brow_height": (0.15, 0.25),
    "brow_thickness": (0.018, 0.055),
    "brow_length": (0.16, 0.23),
    "brow_slope": (-0.05, 0.04),
    "brow_dark": (0.25, 0.75),
    "nose_length": (0.14, 0.26),
    "nose_width": (0.07, 0.13),
    "mouth_y": (0.46, 0.58),
    "mouth_width": (0.21, 0.31),
    "lip": (0.035, 0.075),
    "lip_dark": (0.08, 0.35),
    "mouth_rest": (-0.035, 0.03),
    "skin": (0.38, 0.80),
    "hair": (0.05, 0.60),
    "hairline": (-0.92, -0.55),
    "hair_side": (0.0, 0.22),
    "parting": (-0.5, 0.5),
    "baldness": (0.0, 1.0),
    "hair_length": (0.0, 1.0),
    "beard": (0.0, 1.0),
    "glasses": (0.0, 1.0),
    "age": (0.0, 1.0),
}
_BEARDED, _GLASSES, _LONG_HAIR = 0.15, 0.10, 0.35


class Occluder(IntEnum):
    """What hides part of the face."""

    NOTHING = 0
    HAND = 1
    BAR = 2
    WATERMARK = 3
    FRINGE = 4


_OCCLUDER_SHARES = (0.30, 0.25, 0.25, 0.20)


@dataclass(frozen=True)
class Scene:
    """Pose, light, background, what is in the way, and the camera. Angles in radians."""

    yaw: Column
    pitch: Column
    roll: Column
    shift_x: Column
    shift_y: Column
    scale: Column
    light_x: Column
    light_y: Column
    ambient: Column
    background: Column
    background_x: Column
    background_y: Column
    gaze_x: Column
    gaze_y: Column
    teeth: Column
    gain: Column
    gamma: Column
    offset: Column
    blur: Column
    noise: Column
    occluder: Column
    occluder_x: Column
    occluder_y: Column
    occluder_grey: Column


def sequence_labels(spec: FaceSpec, split: int, n: int) -> NDArray[np.int64]:
    """The true classes of a split, shape ``(n,)``: any first part has nearly FER2013's proportions.

    Multiples of the golden ratio fill [0, 1) evenly at every length (a Kronecker sequence).
    """
    start = np.random.default_rng([spec.seed, Stream.LABEL, split]).random()
    points = (start + np.arange(n) * 0.6180339887498949) % 1.0
    return np.searchsorted(np.cumsum(PRIOR)[:-1], points, side="right").astype(np.int64)


def confuse_labels(
    true: NDArray[np.int64], rng: np.random.Generator, rate: float
) -> NDArray[np.int64]:
    """What an annotator writes down: ``rate`` of the labels become a confusable class."""
    wrong = rng.random(len(true)) < _FLIP[true] * rate
    return np.where(wrong, _pick(rng, _CONFUSABLE[true]), true)


def sample_expression(
    spec: FaceSpec, labels: NDArray[np.int64], rng: np.random.Generator
) -> Expression:
    """Expressions for the true ``labels``: variant, strength, a little of a confusable class, jitter."""
    n = len(labels)
    probabilities, prototypes = _PROTOTYPE_TABLE
    variant = (rng.random(n) > probabilities[labels]).astype(int)
    strength = np.clip(spec.intensity * (0.2 + 1.06 * rng.beta(3, 1, n)), 0, 1.1)
    other = _pick(rng, _CONFUSABLE[labels])
    other_variant = (rng.random(n) > probabilities[other]).astype(int)
    mix = spec.ambiguity * spec.difficulty * rng.beta(1, 3, n)
    units = ((1 - mix) * strength)[:, None] * prototypes[labels, variant]
    units += (mix * strength)[:, None] * prototypes[other, other_variant]
    stray = np.abs(rng.normal(size=units.shape)) * (rng.random(units.shape) < 0.6)
    units = units * rng.uniform(0.6, 1.25, units.shape) + 0.12 * spec.difficulty * stray
    return Expression(
        units=np.clip(units, 0, 1.3).astype(np.float32),
        asymmetry=rng.normal(0, 0.10, (n, 3)).astype(np.float32),
    )


def sample_people(n: int, rng: np.random.Generator) -> Person:
    """``n`` different people."""
    drawn: dict[str, NDArray[Any]] = {
        name: rng.uniform(low, high, n) for name, (low, high) in _PERSON_RANGES.items()
    }
    bearded = drawn["beard"] < _BEARDED
    drawn["beard"] = np.where(bearded, 0.15 + 0.35 * drawn["beard"] / _BEARDED, 0)
    drawn["glasses"] = drawn["glasses"] < _GLASSES
    drawn["hair_length"] = np.where(drawn["hair_length"] < _LONG_HAIR, 0.9, 0.15)
    return Person(**{name: _column(values) for name, values in drawn.items()})


def select_people(people: Person, rows: NDArray[np.int64]) -> Person:
    """The people at ``rows``, repeated as asked."""
    return Person(**{knob.name: getattr(people, knob.name)[rows] for knob in fields(Person)})


def sample_scenes(spec: FaceSpec, n: int, rng: np.random.Generator) -> Scene:
    """``n`` scenes; ``spec.difficulty`` scales how far they are from a passport photograph."""
    d = spec.difficulty

    def spread(sd: float) -> NDArray[np.float64]:
        return rng.normal(0, sd * d, n)

    def between(low: float, high: float) -> NDArray[np.float64]:
        return rng.uniform(low, high, n)

    shares = [1 - spec.occlusion, *(spec.occlusion * share for share in _OCCLUDER_SHARES)]
    drawn = {
        "yaw": np.clip(spread(0.26), -1, 1),
        "pitch": np.clip(spread(0.20), -0.8, 0.8),
        "roll": spread(0.09),
        "shift_x": spread(0.035),
        "shift_y": spread(0.035) + 0.02,
        "scale": between(1.02, 1.30),
        "light_x": spread(0.5),
        "light_y": spread(0.3) - 0.25,
        "ambient": between(0.45, 0.85),
        "background": between(0.02, 0.98),
        "background_x": spread(0.2),
        "background_y": spread(0.2),
        "gaze_x": spread(0.25),
        "gaze_y": spread(0.12),
        "teeth": between(0.7, 0.97),
        "gain": 1.32 * np.exp(spread(0.22)),
        "gamma": np.exp(spread(0.22)),
        "offset": spread(0.07),
        "blur": np.exp(rng.normal(-0.8, 0.45, n)),
        "noise": np.exp(rng.normal(-4.5, 0.6, n)),
        "occluder": _pick(rng, np.tile(shares, (n, 1))),
        "occluder_x": between(-1, 1),
        "occluder_y": between(0, 1),
        "occluder_grey": between(0.1, 0.9),
    }
    return Scene(**{name: _column(values) for name, values in drawn.items()})


def _column(values: NDArray[np.generic]) -> Column:
    return values.astype(np.float32)[:, None, None]


def _pick(rng: np.random.Generator, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """One categorical draw for each row of ``shares``."""
    picked: NDArray[np.int64] = (rng.random((len(shares), 1)) > np.cumsum(shares, 1)[:, :-1]).sum(1)
    return picked


def _build_prototype_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probability of the first variant, shape (7,), and unit strengths, shape (7, 2, 15)."""
    probabilities = np.zeros(len(CLASSES))
    strengths = np.zeros((len(CLASSES), 2, len(ACTION_UNITS)))
    for label, name in enumerate(CLASSES):
        probabilities[label] = _PROTOTYPES[name][0][0]
        for variant, (_, units) in enumerate(_PROTOTYPES[name]):
            for unit, strength in units.items():
                strengths[label, variant, _COLUMN_OF_AU[unit]] = strength
    return probabilities, strengths


_PROTOTYPE_TABLE = _build_prototype_table()
