"""Metrics against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fer_sweep.metrics import accuracy, confusion_matrix, macro_f1, per_class_f1


def test_confusion_counts_true_classes_by_row() -> None:
    confusion = confusion_matrix([0, 0, 0, 1, 2], [0, 1, 1, 1, 0], 3)
    assert confusion.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]


def test_confusion_of_nothing_is_all_zero() -> None:
    assert confusion_matrix([], [], 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        pytest.param([0, 1], [0], id="different lengths"),
        pytest.param([[0, 1]], [[0, 1]], id="two dimensions"),
        pytest.param([0, -1], [0, 0], id="unlabelled"),
        pytest.param([0, 1], [0, 3], id="class out of range"),
    ],
)
def test_confusion_refuses_what_it_cannot_count(labels: list[int], predictions: list[int]) -> None:
    with pytest.raises(ValueError, match=r"shape|lie in"):
        confusion_matrix(labels, predictions, 3)


def test_accuracy_is_the_share_on_the_diagonal() -> None:
    assert accuracy(np.array([[3, 1], [2, 4]])) == pytest.approx(0.7)


def test_f1_of_each_class_follows_precision_and_recall() -> None:
    # class 0: precision 3/5, recall 3/4; class 1: precision 4/5, recall 4/6
    confusion = np.array([[3, 1], [2, 4]])
    expected = [2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4), 2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6)]
    assert per_class_f1(confusion) == pytest.approx(expected)
    assert macro_f1(confusion) == pytest.approx(sum(expected) / 2)


def test_a_rare_class_that_is_always_missed_costs_its_whole_share() -> None:
    confusion = np.array([[98, 0], [2, 0]])
    assert accuracy(confusion) == 0.98
    assert macro_f1(confusion) == pytest.approx((2 * 98 / 198 + 0) / 2)


def test_a_class_that_does_not_occur_is_left_out_of_macro_f1() -> None:
    confusion = np.array([[5, 0, 0], [0, 5, 0], [0, 0, 0]])
    assert math.isnan(per_class_f1(confusion)[2])
    assert macro_f1(confusion) == 1.0


def test_nothing_counted_is_not_a_number() -> None:
    empty = np.zeros((2, 2), dtype=np.int64)
    assert math.isnan(accuracy(empty))
    assert math.isnan(macro_f1(empty))
