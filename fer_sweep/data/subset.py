"""Choose part of a labelled set so that every class keeps its share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified_subset(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Positions of ``size`` labels in the proportions of all of them.

    Subsets of one seed are nested: the smaller one lies inside the larger one, so that a sweep over
    ``train_size`` adds images and never exchanges them.

    Args:
        labels: Class of each image, shape ``(N,)``.
        size: How many to choose; all of them if at least N.
        seed: Another seed, other images.

    Returns:
        Ascending positions, shape ``(min(size, N),)``. Each class gets its share rounded up or down.

    Raises:
        ValueError: If ``size`` is negative.

    Example:
        >>> stratified_subset(np.array([0, 1, 0, 1, 0, 0]), 3, seed=0).shape
        (3,)
    """
    if size < 0:
        raise ValueError(f"size must not be negative, got {size}")
    # Each class spreads its images evenly over (0, 1), in shuffled order; taking the smallest values
    # then takes every class in proportion, at every size.
    rng = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        place[rng.permutation(rows)] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.sort(np.argsort(place, kind="stable")[:size])


def split_off(
    labels: NDArray[np.int64], groups: NDArray[np.int64], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Choose images to hold out, the same share of every class, never part of a group.

    Args:
        labels: Class of each image, shape ``(N,)``.
        groups: Images with the same number stay together (copies of one image), shape ``(N,)``.
        fraction: How much of each class to hold out, in (0, 1).
        seed: Another seed, other images.

    Returns:
        True for the held-out images, shape ``(N,)``; the share is exact up to the size of a group.
    """
    _, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    sizes = np.bincount(numbers)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(first), bool)
    for label in np.unique(labels):
        wanted = round(fraction * np.count_nonzero(labels == label))
        for group in rng.permutation(np.flatnonzero(labels[first] == label)):
            if sizes[group] <= wanted:
                chosen[group] = True
                wanted -= sizes[group]
    return chosen[numbers]
