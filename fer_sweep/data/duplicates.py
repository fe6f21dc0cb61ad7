"""Find byte-identical images: inside a split, across splits, and with contradictory labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_sweep.data.faceset import PIXELS, SPLITS, TEST, TRAIN, UNLABELLED, VAL


@dataclass(frozen=True)
class DuplicateReport:
    """How often images of a set are byte-identical. Counts are images unless said otherwise.

    Attributes:
        images: All of them.
        unique: Different ones.
        redundant: ``images - unique``.
        groups: Groups of two or more identical images.
        sizes: Images of each split, in the order of ``SPLITS``.
        within: For each split, images that repeat an earlier one of the same split.
        val_in_train: Validation images identical to a training image.
        test_in_train: Test images identical to a training image.
        test_in_val: Test images identical to a validation image.
        contradictory_groups: Groups whose images carry different labels.
        contradictory: Images in those groups.
    """

    images: int
    unique: int
    redundant: int
    groups: int
    sizes: tuple[int, int, int]
    within: tuple[int, int, int]
    val_in_train: int
    test_in_train: int
    test_in_val: int
    contradictory_groups: int
    contradictory: int

    def notes(self) -> tuple[str, ...]:
        """Sentences for the user, none where there is nothing to say."""
        notes = []
        for count, size, split, where in (
            (self.val_in_train, self.sizes[VAL], "validation", "a training"),
            (self.test_in_train, self.sizes[TEST], "test", "a training"),
            (self.test_in_val, self.sizes[TEST], "test", "a validation"),
        ):
            if count:
                verb = "are" if count > 1 else "is"
                notes.append(
                    f"{count} of {size} {split} images {verb} byte-identical to {where} image."
                )
        if self.redundant:
            inside = ", ".join(
                f"{n} inside {s}" for n, s in zip(self.within, SPLITS, strict=True) if n
            )
            notes.append(
                f"{self.redundant} of {self.images} images {'repeats' if self.redundant == 1 else 'repeat'} another one"
                + (f" ({inside})." if inside else ".")
            )
        if self.contradictory:
            notes.append(
                f"{self.contradictory} images in {self.contradictory_groups} "
                f"{'group' if self.contradictory_groups == 1 else 'groups'} of identical images carry different labels."
            )
        return tuple(notes)


def group_identical(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number the different images: two images get the same number exactly if all bytes agree.

    Args:
        images: Shape ``(N, 48, 48)``.

    Returns:
        Numbers from 0, without gaps, shape ``(N,)``.
    """
    # Sorting 64-bit hashes is far faster than sorting the images; comparing the images of each group
    # with its first one afterwards makes the answer exact.
    first, numbers = _number(_hash_rows(images))
    rows = np.flatnonzero(first[numbers] != np.arange(len(images)))
    if not np.array_equal(images[rows], images[first[numbers[rows]]]):
        _, numbers = _number(
            np.ascontiguousarray(images).reshape(len(images), -1).view(f"V{PIXELS}").ravel()
        )
    return numbers


def _hash_rows(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """One 64-bit number for each image: its words, mixed and weighted by odd random numbers."""
    words = np.ascontiguousarray(images).reshape(len(images), -1).view(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, words.shape[1], dtype=np.uint64)
    mixed = words ^ (words >> np.uint64(29))
    mixed *= factors | np.uint64(1)
    hashes: NDArray[np.uint64] = mixed.sum(axis=1, dtype=np.uint64)
    return hashes


def _number(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row of each different value, and the number of each row's value by first appearance."""
    _, first, numbers = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(first), np.int64)
    rank[order] = np.arange(len(first))
    return first[order], rank[numbers]


def report_duplicates(
    images: NDArray[np.uint8], labels: NDArray[np.int64], splits: NDArray[np.uint8]
) -> DuplicateReport:
    """Count the identical images of a set; about 0.1 s for all 35,887 of FER2013."""
    numbers = group_identical(images)
    unique = int(numbers.max()) + 1
    members = np.bincount(numbers, minlength=unique)
    present = [
        np.bincount(numbers[splits == split], minlength=unique) for split in range(len(SPLITS))
    ]
    sizes = [int(counts.sum()) for counts in present]
    train, val, test = present
    contradictory = _contradictory(numbers, labels, unique)
    return DuplicateReport(
        images=len(images),
        unique=unique,
        redundant=len(images) - unique,
        groups=int(np.count_nonzero(members > 1)),
        sizes=(sizes[TRAIN], sizes[VAL], sizes[TEST]),
        within=(_repeats(train), _repeats(val), _repeats(test)),
        val_in_train=int(val[train > 0].sum()),
        test_in_train=int(test[train > 0].sum()),
        test_in_val=int(test[val > 0].sum()),
        contradictory_groups=int(np.count_nonzero(contradictory)),
        contradictory=int(members[contradictory].sum()),
    )


def find_leaked(images: NDArray[np.uint8], splits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the training images that are identical to a validation or test image, shape ``(N,)``."""
    numbers = group_identical(images)
    held_out = np.zeros(int(numbers.max()) + 1, bool)
    held_out[numbers[splits != TRAIN]] = True
    leaked: NDArray[np.bool_] = held_out[numbers] & (splits == TRAIN)
    return leaked


def _repeats(counts: NDArray[np.int64]) -> int:
    return int(np.maximum(counts - 1, 0).sum())


def _contradictory(
    numbers: NDArray[np.int64], labels: NDArray[np.int64], unique: int
) -> NDArray[np.bool_]:
    """Which groups hold two different labels; unlabelled images contradict nobody."""
    labelled = labels != UNLABELLED
    lowest = np.full(unique, np.iinfo(np.int64).max)
    highest = np.full(unique, -1)
    np.minimum.at(lowest, numbers[labelled], labels[labelled])
    np.maximum.at(highest, numbers[labelled], labels[labelled])
    differ: NDArray[np.bool_] = highest > lowest
    return differ
