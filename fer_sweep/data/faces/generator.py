"""Make a whole set of procedural faces: splits, labels, images, defects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_sweep.data.faces.defects import add_defects
from fer_sweep.data.faces.params import (
    BLOCK,
    Person,
    Stream,
    block_rng,
    confuse_labels,
    sample_expression,
    sample_people,
    sample_scenes,
    select_people,
    sequence_labels,
)
from fer_sweep.data.faces.render import render
from fer_sweep.data.faces.spec import FaceSpec
from fer_sweep.data.faceset import SIDE, SPLITS, TRAIN, FaceSet

VERSION = 1
"""Raise it when the same spec gives other bytes, so that no cache serves the old ones."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class DrawnFaces:
    """A procedural set with what only its maker knows.

    Attributes:
        images: Shape ``(N, 48, 48)``; training images first, then validation, then test.
        labels: Observed labels, ``label_noise`` of them wrong, shape ``(N,)``.
        true_labels: What was drawn, shape ``(N,)``; meaningless where a defect replaced the image.
        splits: Shape ``(N,)``.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    true_labels: NDArray[np.int64]
    splits: NDArray[np.uint8]


def draw_faces(spec: FaceSpec, progress: Progress | None = None) -> DrawnFaces:
    """Draw the faces of ``spec``.

    The images of each split are the first ones of an endless list: with a larger ``n`` they are the same
    and more follow (only copies across splits are drawn anew).

    Args:
        spec: The knobs.
        progress: Called with the fraction done and a line for the user.
    """
    sizes = split_sizes(spec.n)
    splits = np.repeat(np.arange(len(SPLITS), dtype=np.uint8), sizes)
    images = np.empty((spec.n, SIDE, SIDE), np.uint8)
    labels = np.empty(spec.n, np.int64)
    true_labels = np.empty(spec.n, np.int64)
    people = _draw_people(spec)
    done = 0
    for split, size in enumerate(sizes):
        wanted = sequence_labels(spec, split, -(-size // BLOCK) * BLOCK)
        for block in range(-(-size // BLOCK)):
            rows = slice(done, done + min(BLOCK, size - block * BLOCK))
            true = wanted[block * BLOCK : (block + 1) * BLOCK]
            count = rows.stop - rows.start
            images[rows] = _draw_block(spec, split, block, true, people)[:count]
            observed = confuse_labels(
                true, block_rng(spec, Stream.LABEL, split, block), spec.label_noise
            )
            labels[rows], true_labels[rows] = observed[:count], true[:count]
            done = rows.stop
            if progress is not None:
                progress(done / spec.n, f"drawing faces: {done} of {spec.n}")
    add_defects(spec, images, labels, splits)
    return DrawnFaces(images, labels, true_labels, splits)


def make_faces(
    n: int = FaceSpec.n,
    *,
    seed: int = FaceSpec.seed,
    progress: Progress | None = None,
    **knobs: Any,
) -> FaceSet:
    """Draw ``n`` procedural faces as a set ready for training.

    Args:
        n: Images of all splits together, 80 % train, 10 % val, 10 % test.
        seed: Another seed, other faces.
        progress: Called with the fraction done and a line for the user.
        **knobs: The other fields of ``FaceSpec``, such as ``difficulty`` or ``label_noise``.

    Raises:
        DataError: If a knob is out of range.
    """
    return faces_of(FaceSpec(n=n, seed=seed, **knobs), progress)


def faces_of(spec: FaceSpec, progress: Progress | None = None) -> FaceSet:
    """Draw the faces of ``spec`` as a set ready for training."""
    drawn = draw_faces(spec, progress)
    return FaceSet(
        images=drawn.images,
        labels=drawn.labels,
        splits=drawn.splits,
        source=str(spec),
        key=spec_key(spec),
        notes=(),
    )


def spec_key(spec: FaceSpec, options: str = "") -> str:
    """16 hexadecimal digits for what ``spec`` draws, known without drawing it.

    Rounding may differ between processors in single grey values, so that hashing the pixels would give
    machines of one sweep different keys for the same request.
    """
    return hashlib.blake2b(f"{VERSION} {spec!r} {options}".encode(), digest_size=8).hexdigest()


def split_sizes(n: int) -> tuple[int, int, int]:
    """Train, val and test sizes in FER2013's proportions.

    Example:
        >>> split_sizes(6000)
        (4800, 600, 600)
    """
    tenth = round(n / 10)
    return n - 2 * tenth, tenth, tenth


def _draw_people(spec: FaceSpec) -> Person | None:
    """The bank of ``n_ident`` people that all splits share; None when everyone is different."""
    if not spec.n_ident:
        return None
    return sample_people(spec.n_ident, block_rng(spec, Stream.PEOPLE, TRAIN, 0))


def _draw_block(
    spec: FaceSpec, split: int, block: int, labels: NDArray[np.int64], people: Person | None
) -> NDArray[np.uint8]:
    person_rng = block_rng(spec, Stream.PERSON, split, block)
    if people is None:
        person = sample_people(len(labels), person_rng)
    else:
        person = select_people(people, person_rng.integers(0, spec.n_ident, len(labels)))
    return render(
        sample_expression(spec, labels, block_rng(spec, Stream.EXPRESSION, split, block)),
        person,
        sample_scenes(spec, len(labels), block_rng(spec, Stream.SCENE, split, block)),
        texture=block_rng(spec, Stream.TEXTURE, split, block),
        noise=block_rng(spec, Stream.NOISE, split, block),
    )
