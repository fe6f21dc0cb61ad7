"""What is wrong with a web-scraped set: copies across splits, black images, images without a face.

Source: shapes and rates follow what was counted in FER2013: 5.2 % redundant images, 8 % of PublicTest
and of PrivateTest byte-identical to a Training image (97 % of them with the same label), 12 black
images and 0.5 % that ten FER+ annotators called "not a face".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_sweep.data.faces.params import BLOCK, Stream, block_rng
from fer_sweep.data.faces.spec import FaceSpec
from fer_sweep.data.faceset import CLASSES, SIDE, TRAIN

_SAME_LABEL = 0.97
"""How often a copy carries the label of its original."""


def add_defects(
    spec: FaceSpec, images: NDArray[np.uint8], labels: NDArray[np.int64], splits: NDArray[np.uint8]
) -> None:
    """Spoil some images of a set in place; rows of a split must be in the order they were drawn.

    Black images and non-faces come first, so that they are copied like any other.
    """
    for split in np.unique(splits):
        _replace_faces(spec, int(split), images, np.flatnonzero(splits == split))
    originals = np.flatnonzero(splits == TRAIN)
    for split in np.unique(splits):
        _copy_originals(
            spec, int(split), images, labels, np.flatnonzero(splits == split), originals
        )


def _replace_faces(
    spec: FaceSpec, split: int, images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> None:
    for block, first in enumerate(range(0, len(rows), BLOCK)):
        rng = block_rng(spec, Stream.DEFECT, split, block)
        fate = rng.random(BLOCK)
        patches = rng.integers(20, 235, (BLOCK, 6, 6), dtype=np.uint8)
        for row, chance, patch in zip(rows[first : first + BLOCK], fate, patches, strict=False):
            if chance < spec.blank:
                images[row] = 0
            elif chance < spec.blank + spec.non_faces:
                images[row] = np.kron(patch, np.ones((SIDE // 6, SIDE // 6), np.uint8))


def _copy_originals(
    spec: FaceSpec,
    split: int,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    originals: NDArray[np.int64],
) -> None:
    """Replace a fraction of ``rows`` by training images; inside training, only by earlier ones."""
    for block, first in enumerate(range(0, len(rows), BLOCK)):
        rng = block_rng(spec, Stream.COPY, split, block)
        draws = rng.random((BLOCK, 3))
        other_labels = rng.integers(0, len(CLASSES), BLOCK)
        for offset, row in enumerate(rows[first : first + BLOCK]):
            is_copy, where, same_label = draws[offset]
            choices = first + offset if split == TRAIN else len(originals)
            if is_copy >= spec.duplicates or not choices:
                continue
            original = originals[int(where * choices)]
            images[row] = images[original]
            labels[row] = labels[original] if same_label < _SAME_LABEL else other_labels[offset]
