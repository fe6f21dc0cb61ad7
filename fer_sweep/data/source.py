"""Find out what the user's path is, and read it: a CSV file, or a folder with one or with images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fer_sweep.data.faceset import TEST
from fer_sweep.data.fer2013 import read_csv
from fer_sweep.data.folders import ImageFolder, find_images, read_images
from fer_sweep.errors import DataError

_CSV_NAMES = ("fer2013.csv", "icml_face_data.csv", "train.csv")
"""In the order torchvision prefers them."""

_UNLABELLED_NAME = "test.csv"
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


@dataclass(frozen=True)
class Reading:
    """What a source holds, before it is checked and split.

    Attributes:
        images: Shape ``(N, 48, 48)``.
        labels: Shape ``(N,)``; -1 where there is none.
        splits: Shape ``(N,)``.
        notes: What the user should know.
        has_usage: Whether the rows are those of a CSV file with ``Usage``, which FER+ refers to.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8]
    notes: tuple[str, ...]
    has_usage: bool


class Source(Protocol):
    """A data set on disk."""

    @property
    def files(self) -> Sequence[Path]:
        """Every file the images come from."""

    def read(self, progress: Callable[[float], None]) -> Reading:
        """Read it whole.

        Raises:
            DataError: If anything in it is malformed.
        """


@dataclass(frozen=True)
class CsvSource:
    """A CSV file, with Kaggle's unlabelled ``test.csv`` beside ``train.csv`` if there is one."""

    path: Path
    unlabelled: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> Sequence[Path]:
        """The CSV file, and ``test.csv``."""
        return [self.path] if self.unlabelled is None else [self.path, self.unlabelled]

    def read(self, progress: Callable[[float], None]) -> Reading:
        """Read every row.

        Raises:
            DataError: If a row is malformed, or no row has a label.
        """
        rows = read_csv(self.path, progress)
        if not rows.is_labelled:
            raise DataError(
                f"{self.path}: has no emotion column, so there is nothing to train on. Give train.csv, "
                "fer2013.csv or icml_face_data.csv, or the folder that holds them."
            )
        images, labels = rows.images, rows.labels
        splits = np.zeros(len(labels), np.uint8) if rows.splits is None else rows.splits
        notes = self.notes
        if self.unlabelled is not None:
            more = read_csv(self.unlabelled)
            images = np.concatenate([images, more.images])
            labels = np.concatenate([labels, more.labels])
            splits = np.concatenate([splits, np.full(len(more.labels), TEST, np.uint8)])
            if not more.is_labelled:
                notes += (
                    f"{self.unlabelled}: {len(more.labels)} images without labels; never used to train.",
                )
        return Reading(images, labels, splits, notes, has_usage=rows.splits is not None)


@dataclass(frozen=True)
class FolderSource:
    """Class folders with images."""

    folder: ImageFolder

    @property
    def files(self) -> Sequence[Path]:
        """Every image."""
        return self.folder.files

    def read(self, progress: Callable[[float], None]) -> Reading:
        """Open every image.

        Raises:
            DataError: If an image cannot be read.
        """
        images, notes = read_images(self.folder, progress)
        folder = self.folder
        return Reading(images, folder.labels, folder.splits, folder.notes + notes, has_usage=False)


def find_source(path: Path) -> Source:
    """Recognise the data set at ``path``.

    In a folder, CSV files come before image folders, in the order ``fer2013.csv``,
    ``icml_face_data.csv``, ``train.csv`` (with ``test.csv``), also inside an inner folder ``fer2013`` as
    torchvision lays it out; then any other single CSV file; then images.

    Raises:
        DataError: If there is nothing, or nothing that could be meant.
    """
    try:
        if path.is_file():
            return CsvSource(path)
        if path.is_dir():
            return _find_in_folder(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Check its permissions."
        ) from error
    raise DataError(
        f"{path}: no such file or folder. Give fer2013.csv or the folder that holds it; "
        "`--data faces` draws procedural faces with no download."
    )


def _find_in_folder(folder: Path) -> Source:
    for place in (folder, folder / "fer2013"):
        present = [place / name for name in _CSV_NAMES if (place / name).is_file()]
        if present:
            return _choose_csv(present)
    images = find_images(folder)
    if images is not None:
        return FolderSource(images)
    others = sorted(file for file in folder.glob("*.csv") if file.is_file())
    if len(others) == 1:
        return CsvSource(others[0])
    raise DataError(_explain_nothing(folder, others))


def _choose_csv(present: list[Path]) -> CsvSource:
    chosen, *ignored = present
    names = " and ".join(file.name for file in ignored)
    notes = (f"{chosen}: used; {names} in the same folder ignored.",) if ignored else ()
    unlabelled = chosen.with_name(_UNLABELLED_NAME)
    with_test = chosen.name == "train.csv" and unlabelled.is_file()
    return CsvSource(chosen, unlabelled if with_test else None, notes)


def _explain_nothing(folder: Path, csv_files: list[Path]) -> str:
    if csv_files:
        return f"{folder}: holds {len(csv_files)} CSV files ({_list(csv_files)}). Give the one that is meant."
    archives = sorted(file for file in folder.iterdir() if file.suffix.lower() in _ARCHIVES)
    if archives:
        return f"{folder}: holds only archives ({_list(archives)}). Unpack them first."
    return (
        f"{folder}: holds neither {', '.join(_CSV_NAMES)} nor image folders like train/happy/*.jpg. "
        "Give the file or the folder that directly holds them."
    )


def _list(files: list[Path]) -> str:
    names = [file.name for file in files[:5]]
    return ", ".join([*names, "…"] if len(files) > 5 else names)
