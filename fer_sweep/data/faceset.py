"""A labelled set of face images: what every reader makes and what training starts from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Expression names; the position is the label in FER2013's CSV files (not the alphabetical order)."""

SPLITS = ("train", "val", "test")
"""FER2013 calls them Training, PublicTest and PrivateTest."""

TRAIN, VAL, TEST = range(3)
SIDE = 48
PIXELS = SIDE * SIDE
UNLABELLED = -1


@dataclass(frozen=True)
class FaceSet:
    """Images, labels and splits, in the order of their source.

    Attributes:
        images: Grey images, shape ``(N, 48, 48)``, C order; may be a read-only memory map.
        labels: Positions in ``CLASSES``, shape ``(N,)``; -1 where the source has no label.
        splits: Positions in ``SPLITS``, shape ``(N,)``.
        source: Where the images came from, as the user would recognise it.
        key: 16 hexadecimal digits, the same for the same content and options.
        notes: What the user should see: duplicates across splits, unusual counts, a split made by us.
        votes: FER+ votes, shape ``(N, 10)``, columns as in ``ferplus.VOTE_CLASSES``; None without FER+.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8]
    source: str
    key: str
    notes: tuple[str, ...]
    votes: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.images.shape != (n, SIDE, SIDE) or self.images.dtype != np.uint8:
            raise ValueError(
                f"images must be uint8 (N, 48, 48), got {self.images.dtype} {self.images.shape}"
            )
        if self.labels.shape != (n,) or self.splits.shape != (n,):
            raise ValueError(
                f"{n} images need {n} labels and splits, got {self.labels.shape} and {self.splits.shape}"
            )
        if self.votes is not None and self.votes.shape != (n, 10):
            raise ValueError(f"votes must have shape ({n}, 10), got {self.votes.shape}")

    def __len__(self) -> int:
        """The number of images of all splits, labelled or not."""
        return len(self.images)

    def indices(self, split: str) -> NDArray[np.int64]:
        """The labelled rows of one split, ascending.

        Raises:
            ValueError: If ``split`` is not one of ``SPLITS``.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        rows = (self.splits == SPLITS.index(split)) & (self.labels != UNLABELLED)
        return np.flatnonzero(rows)


def content_key(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    splits: NDArray[np.uint8],
    votes: NDArray[np.uint8] | None = None,
) -> str:
    """Hash what training can see of a set: 16 hexadecimal digits.

    Two files with the same faces (Kaggle's ``fer2013.csv`` and ``icml_face_data.csv``, LF or CRLF)
    share a key; one changed pixel, label or split changes it.
    """
    digest = hashlib.blake2b(digest_size=8)
    arrays = (images, labels, splits) if votes is None else (images, labels, splits, votes)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
