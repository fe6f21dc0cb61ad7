"""Classification metrics that all follow from one confusion matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int
) -> NDArray[np.int64]:
    """Count images by true and predicted class.

    Args:
        labels: True classes, shape ``(N,)``, integers in 0..num_classes-1.
        predictions: Predicted classes, as ``labels``.
        num_classes: Number of classes K.

    Returns:
        Counts, shape ``(K, K)``; the row is the true class, the column the predicted one.

    Raises:
        ValueError: If the shapes differ or a class is outside 0..K-1.

    Example:
        >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    true = np.asarray(labels, dtype=np.int64)
    predicted = np.asarray(predictions, dtype=np.int64)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise ValueError(f"labels and predictions differ in shape: {true.shape}, {predicted.shape}")
    for classes in (true, predicted):
        if classes.size and not (classes.min() >= 0 and classes.max() < num_classes):
            raise ValueError(f"classes must lie in 0..{num_classes - 1}")
    cells = np.bincount(true * num_classes + predicted, minlength=num_classes**2)
    return cells.astype(np.int64).reshape(num_classes, num_classes)


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Fraction of images on the diagonal, in [0, 1]; NaN when nothing was counted.

    Example:
        >>> accuracy(np.array([[1, 1], [0, 2]]))
        0.75
    """
    total = int(confusion.sum())
    return float(np.trace(confusion)) / total if total else float("nan")


def per_class_f1(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 of each class, shape ``(K,)``, in [0, 1].

    A class that is neither labelled nor predicted has no F1: its entry is NaN.

    Example:
        >>> per_class_f1(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]])).round(3).tolist()
        [0.667, 0.667, nan]
    """
    hits = np.diag(confusion).astype(np.float64)
    seen = (confusion.sum(axis=0) + confusion.sum(axis=1)).astype(np.float64)
    scores = np.full(len(hits), np.nan)
    np.divide(2 * hits, seen, out=scores, where=seen > 0)
    return scores


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Unweighted mean F1 of the classes that occur, in [0, 1]; NaN when nothing was counted.

    A rare class weighs as much as a common one: FER2013 has 1.5 % disgust and 25 % happy.

    Example:
        >>> macro_f1(np.array([[2, 0], [0, 2]]))
        1.0
    """
    scores = per_class_f1(confusion)
    scores = scores[~np.isnan(scores)]
    return float(scores.mean()) if scores.size else float("nan")
