"""Subsets keep every class's share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_sweep.data import stratified_subset
from fer_sweep.data.subset import split_off

FER2013 = np.random.default_rng(1).permutation(
    np.repeat(np.arange(7), [3995, 436, 4097, 7215, 4830, 3171, 4965])
)

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(np.array)


@pytest.mark.parametrize("size", [7, 100, 1000, 3589, 28000])
def test_classes_keep_their_share(size: int) -> None:
    chosen = FER2013[stratified_subset(FER2013, size, seed=0)]

    exact = np.bincount(FER2013) * size / len(FER2013)
    assert np.abs(np.bincount(chosen, minlength=7) - exact).max() <= 1
    assert len(chosen) == size


@given(LABELS, st.integers(0, 210), st.integers(0, 210), st.integers(0, 5))
def test_smaller_subset_lies_inside_the_larger(
    labels: np.ndarray, a: int, b: int, seed: int
) -> None:
    small, large = (stratified_subset(labels, size, seed) for size in sorted((a, b)))

    assert set(small) <= set(large)
    assert len(large) == min(max(a, b), len(labels))
    assert (np.diff(large) > 0).all()


def test_same_seed_same_subset_other_seed_another() -> None:
    first, again, other = (stratified_subset(FER2013, 1000, seed) for seed in (0, 0, 1))

    np.testing.assert_array_equal(first, again)
    assert len(np.intersect1d(first, other)) < 100


def test_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        stratified_subset(FER2013, -1, seed=0)


def test_held_out_share_of_every_class() -> None:
    held_out = split_off(FER2013, np.arange(len(FER2013)), 0.1, seed=0)

    np.testing.assert_allclose(
        np.bincount(FER2013[held_out]), np.bincount(FER2013) * 0.1, atol=0.51
    )


@given(LABELS, st.integers(1, 40), st.integers(0, 5))
def test_groups_are_never_torn_apart(labels: np.ndarray, different: int, seed: int) -> None:
    groups = np.random.default_rng(seed).integers(0, different, len(labels))

    held_out = split_off(labels, groups, 0.3, seed)

    assert not set(groups[held_out]) & set(groups[~held_out])


def test_one_huge_group_does_not_keep_a_class_from_being_split() -> None:
    groups = np.concatenate([np.zeros(50, int), np.arange(1, 51)])

    for seed in range(10):
        assert split_off(np.zeros(100, int), groups, 0.1, seed).sum() == 10
