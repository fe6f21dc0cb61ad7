"""Read FER+ votes (``fer2013new.csv``): ten people's answers for each row of ``fer2013.csv``.

Source: Barsoum et al. 2016, arXiv:1608.01041.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_sweep.data.faceset import SPLITS, UNLABELLED
from fer_sweep.data.fer2013 import USAGES
from fer_sweep.data.problems import Problems
from fer_sweep.errors import DataError

VOTE_CLASSES = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)
"""Columns of the votes in the file's order; ``NF`` means "not a face"."""

_LABEL_OF_VOTE = np.array([6, 3, 5, 4, 0, 1, 2, -1, -1, -1])
"""FER2013's label for each vote column; -1 for answers FER2013 does not have."""

_MOST_VOTES = 10
_LEAST_AGREEMENT = 0.35
"""FER+'s majority and FER2013's label agree on about two images in three; by chance on one in five."""


def read_votes(
    path: Path, labels: NDArray[np.int64], splits: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], str]:
    """Read the votes for the rows of ``fer2013.csv``, and check that they belong to them.

    Args:
        path: ``fer2013new.csv``.
        labels: Labels of ``fer2013.csv`` in file order, shape ``(N,)``.
        splits: Splits of ``fer2013.csv`` in file order, shape ``(N,)``.

    Returns:
        Votes, shape ``(N, 10)``, columns as in ``VOTE_CLASSES``; and a note on how far they agree.

    Raises:
        DataError: If the file is malformed, or is not row-aligned with the images.
    """
    votes, vote_splits = _read_rows(path)
    fix = "Use the complete fer2013.csv and the fer2013new.csv that belongs to it, in their order."
    if len(votes) != len(labels):
        raise DataError(f"{path}: {len(votes)} rows of votes for {len(labels)} images. {fix}")
    differ = np.flatnonzero(vote_splits != splits)
    if len(differ):
        raise DataError(
            f"{path}:{differ[0] + 2}: the row is {SPLITS[vote_splits[differ[0]]]}, the image is "
            f"{SPLITS[splits[differ[0]]]}; {len(differ)} rows differ. {fix}"
        )
    agreement = _agreement(votes, labels)
    if agreement < _LEAST_AGREEMENT:
        raise DataError(
            f"{path}: only {agreement:.0%} of the votes agree with the labels: not the same row order. {fix}"
        )
    return votes, (
        f"{path}: {int(votes.sum())} FER+ votes for {len(votes)} images; their majority and the label agree on "
        f"{agreement:.1%} of the images."
    )


def _read_rows(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Votes, shape ``(N, 10)``, and splits, shape ``(N,)``."""
    usages = {name.decode(): split for name, split in USAGES.items()}
    problems = Problems(str(path), "row")
    votes, splits = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            header = [name.strip() for name in next(rows, [])]
            missing = [name for name in ("Usage", *VOTE_CLASSES) if name not in header]
            if missing:
                raise DataError(
                    f"{path}:1: no column named {', '.join(missing)}. Give FER+'s fer2013new.csv."
                )
            usage_column = header.index("Usage")
            columns = [header.index(name) for name in VOTE_CLASSES]
            for row in rows:
                try:
                    votes.append(_parse_row(row, len(header), columns))
                    splits.append(usages[row[usage_column].strip()])
                except ValueError as error:
                    problems.add(f"{path}:{rows.line_num}", str(error))
                except KeyError as error:
                    problems.add(
                        f"{path}:{rows.line_num}",
                        f"Usage {error} is not one of {', '.join(usages)}",
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}). Give FER+'s fer2013new.csv.") from error
    problems.raise_if_any("Repair these lines, or copy or download the file again.")
    return np.array(votes, np.uint8).reshape(-1, len(VOTE_CLASSES)), np.array(splits, np.uint8)


def _parse_row(row: list[str], width: int, columns: list[int]) -> list[int]:
    if len(row) != width:
        raise ValueError(f"has {len(row)} columns where the header has {width}")
    try:
        counts = [int(row[column]) for column in columns]
    except ValueError:
        raise ValueError("has votes that are not whole numbers") from None
    if min(counts) < 0 or not 0 < sum(counts) <= _MOST_VOTES:
        raise ValueError(f"has {sum(counts)} votes, not 1 to {_MOST_VOTES}")
    return counts


def _agreement(votes: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """How often the majority answer is the label, where both say something."""
    majority = _LABEL_OF_VOTE[votes.argmax(1)]
    rows = (majority >= 0) & (labels != UNLABELLED)
    return float((majority == labels)[rows].mean()) if rows.any() else 0.0
