"""Byte-identical images are counted exactly."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fer_sweep.data import duplicates
from fer_sweep.data.duplicates import (
    DuplicateReport,
    find_leaked,
    group_identical,
    report_duplicates,
)

TRAIN, VAL, TEST = 0, 1, 2


def images_of(numbers: list[int]) -> np.ndarray:
    """One random image for each different number."""
    return np.stack(
        [np.random.default_rng(n).integers(0, 256, (48, 48), dtype=np.uint8) for n in numbers]
    )


def test_report_counts_within_and_across_splits() -> None:
    #          train .............  val ......  test .......
    numbers = [1, 1, 1, 2, 3, 4, 5, 1, 1, 6, 7, 2, 6, 8, 8]
    splits = np.array([TRAIN] * 7 + [VAL] * 4 + [TEST] * 4, np.uint8)
    labels = np.array([0, 0, 3, 1, 1, 1, 1, 0, 0, 2, 2, 1, 2, 6, -1])

    report = report_duplicates(images_of(numbers), labels, splits)

    assert report == DuplicateReport(
        images=15,
        unique=8,
        redundant=7,
        groups=4,
        sizes=(7, 4, 4),
        within=(2, 1, 1),
        val_in_train=2,
        test_in_train=1,
        test_in_val=1,
        contradictory_groups=1,
        contradictory=5,
    )


def test_notes_say_what_the_user_should_know() -> None:
    report = DuplicateReport(
        35887, 34034, 1853, 1516, (28709, 3589, 3589), (1236, 26, 17), 270, 1, 0, 57, 160
    )

    assert report.notes() == (
        "270 of 3589 validation images are byte-identical to a training image.",
        "1 of 3589 test images is byte-identical to a training image.",
        "1853 of 35887 images repeat another one (1236 inside train, 26 inside val, 17 inside test).",
        "160 images in 57 groups of identical images carry different labels.",
    )


def test_no_duplicates_no_notes() -> None:
    report = report_duplicates(
        images_of([1, 2, 3]), np.array([0, 1, 2]), np.array([0, 1, 2], np.uint8)
    )

    assert report.notes() == ()


def test_leaked_are_the_training_copies_only() -> None:
    splits = np.array([TRAIN, TRAIN, TRAIN, TRAIN, VAL, VAL, TEST], np.uint8)

    leaked = find_leaked(images_of([1, 2, 1, 3, 1, 4, 3]), splits)

    np.testing.assert_array_equal(leaked, [True, False, True, True, False, False, False])


def test_one_of_something_is_said_in_the_singular() -> None:
    report = report_duplicates(
        images_of([1, 1]), np.array([0, 1]), np.array([TRAIN, TRAIN], np.uint8)
    )

    assert report.notes() == (
        "1 of 2 images repeats another one (1 inside train).",
        "2 images in 1 group of identical images carry different labels.",
    )


def test_one_different_pixel_is_another_image() -> None:
    images = images_of([1] * 100)
    for row in range(1, 100):
        images[row, row % 48, row // 3] ^= 1 << (row % 8)

    assert len(set(group_identical(images))) == 100


def test_numbers_follow_the_first_appearance() -> None:
    np.testing.assert_array_equal(group_identical(images_of([9, 4, 9, 7, 4])), [0, 1, 0, 2, 1])


def test_equal_hashes_do_not_make_images_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_hash_rows", lambda images: np.zeros(len(images), np.uint64))

    np.testing.assert_array_equal(group_identical(images_of([9, 4, 9, 7, 4])), [0, 1, 0, 2, 1])


def test_shifted_images_have_different_hashes() -> None:
    image = images_of([1])[0]
    shifted = np.stack([np.roll(image, (i, j), (0, 1)) for i in range(48) for j in range(48)])

    assert len(np.unique(duplicates._hash_rows(shifted))) == len(shifted)


def test_as_many_images_as_fer2013_take_less_than_a_second() -> None:
    images = np.random.default_rng(0).integers(0, 256, (35887, 48, 48), dtype=np.uint8)
    images[30000:32000] = images[:2000]
    labels, splits = (
        np.zeros(35887, np.int64),
        np.repeat([0, 1, 2], [28709, 3589, 3589]).astype(np.uint8),
    )
    start = time.perf_counter()

    report = report_duplicates(images, labels, splits)

    assert report.redundant == 2000
    assert time.perf_counter() - start < 1
