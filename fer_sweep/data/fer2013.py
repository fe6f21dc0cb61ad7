"""Read Kaggle's CSV files of FER2013: ``fer2013.csv``, ``icml_face_data.csv``, ``train.csv``, ``test.csv``.

One row is one image: ``emotion,pixels,Usage`` in any order, with or without quotes and spaces. Kaggle's
competition files have no ``Usage``, and ``test.csv`` no ``emotion``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fer_sweep.data.faceset import CLASSES, SIDE, TEST, TRAIN, UNLABELLED, VAL
from fer_sweep.data.pixels import parse_pixels
from fer_sweep.data.problems import Problems
from fer_sweep.errors import DataError

USAGES = {b"Training": TRAIN, b"PublicTest": VAL, b"PrivateTest": TEST}

_LABELS = {str(label).encode(): label for label in range(len(CLASSES))}
_CHUNK = 1 << 20
"""Bytes parsed at once: the working arrays of one megabyte stay in the processor's cache."""

_FILE_TYPES = {
    b"PK\x03\x04": "a zip archive: unzip it and give the CSV file inside",
    b"\x1f\x8b": "a gzip archive: unpack it and give the CSV file inside",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"\x89PNG": "an image: give the folder that holds the class folders",
    b"\xff\xd8\xff": "an image: give the folder that holds the class folders",
}


@dataclass(frozen=True)
class CsvFaces:
    """The rows of one CSV file, in order.

    Attributes:
        images: Shape ``(N, 48, 48)``.
        labels: Shape ``(N,)``; all -1 if the file has no ``emotion``.
        splits: Shape ``(N,)``; None if the file has no ``Usage``.
        is_labelled: Whether the file has an ``emotion`` column.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8] | None
    is_labelled: bool


@dataclass(frozen=True)
class _Header:
    """Positions of the columns; None for one that is not there."""

    width: int
    pixels: int
    emotion: int | None
    usage: int | None


def read_csv(path: Path, progress: Callable[[float], None] | None = None) -> CsvFaces:
    """Read every row of one CSV file.

    Args:
        path: The file.
        progress: Called with the fraction of the file that has been read.

    Raises:
        DataError: If the file is no such CSV file, or if any row is malformed; rows are never skipped.
    """
    try:
        with path.open("rb") as stream:
            return _read_rows(path, stream, progress or (lambda fraction: None))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error


def _read_rows(path: Path, stream: BinaryIO, progress: Callable[[float], None]) -> CsvFaces:
    header = _read_header(path, stream)
    size = os.fstat(stream.fileno()).st_size
    rows = _Rows(path, header)
    for chunk in _whole_lines(stream):
        rows.add(chunk)
        progress(stream.tell() / size)
    return rows.finish()


def _read_header(path: Path, stream: BinaryIO) -> _Header:
    start = stream.read(4096)
    if not start.strip():
        raise DataError(f"{path}: the file is empty. Copy or download it again.")
    for magic, kind in _FILE_TYPES.items():
        if start.startswith(magic):
            raise DataError(f"{path}: not a CSV file but {kind}.")
    if b"\0" in start:
        raise DataError(f"{path}: not a CSV file but binary data. Give fer2013.csv or a folder.")
    stream.seek(0)
    line = stream.readline(1 << 16)
    text = line.decode("utf-8-sig", "replace").strip()
    names = [name.strip().strip('"').strip().lower() for name in text.split(",")]
    if "pixels" not in names:
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        hint = " Separate the columns with commas." if ";" in text else ""
        raise DataError(
            f"{path}:1: no column named pixels (got {shown!r}).{hint} "
            "The first line must be emotion,pixels,Usage or, as in Kaggle's train.csv, emotion,pixels."
        )
    positions = {name: position for position, name in enumerate(names)}
    return _Header(
        len(names), positions["pixels"], positions.get("emotion"), positions.get("usage")
    )


def _whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    """The rest of the file in pieces that end at line ends."""
    rest = b""
    while chunk := stream.read(_CHUNK):
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            yield rest + head + newline
            rest = tail
        else:
            rest += tail
    if rest:
        yield rest


class _Rows:
    """The rows read so far, and what was wrong with the others."""

    def __init__(self, path: Path, header: _Header) -> None:
        self._path = path
        self._header = header
        self._problems = Problems(str(path), "row")
        self._line = 1
        self._cut_line = 0
        self._blank_lines: list[int] = []
        self._labels: list[int] = []
        self._splits: list[int] = []
        self._pixels: list[NDArray[np.uint8]] = []

    def add(self, piece: bytes) -> None:
        """Parse a piece of the file; only the last one may lack its line end."""
        lines = piece.split(b"\n")
        if lines[-1]:
            self._cut_line = self._line + len(lines)
        else:
            lines.pop()
        rejected: list[tuple[int, str]] = []
        texts: list[bytes] = []
        line_of_text: list[int] = []
        for line in lines:
            self._line += 1
            line = line.strip()
            if not line:
                self._blank_lines.append(self._line)
                continue
            rejected += self._take_blank_lines()
            try:
                texts.append(self._take_row(line.split(b",")))
                line_of_text.append(self._line)
            except ValueError as error:
                rejected.append((self._line, str(error)))
        pixels, wrong = parse_pixels(texts)
        rejected += [(line_of_text[position], reason) for position, reason in wrong.items()]
        for line_number, reason in sorted(rejected):
            self._reject(line_number, reason)
        self._pixels.append(pixels)

    def finish(self) -> CsvFaces:
        """All rows.

        Raises:
            DataError: If any row was malformed, or there was none.
        """
        self._problems.raise_if_any("Repair these lines, or copy or download the file again.")
        if not self._labels:
            raise DataError(f"{self._path}: has a header but no rows. Copy or download it again.")
        has_usage = self._header.usage is not None
        return CsvFaces(
            images=np.concatenate(self._pixels).reshape(-1, SIDE, SIDE),
            labels=np.array(self._labels, np.int64),
            splits=np.array(self._splits, np.uint8) if has_usage else None,
            is_labelled=self._header.emotion is not None,
        )

    def _take_row(self, fields: list[bytes]) -> bytes:
        """Keep the label and split of one row, and hand back its pixel text."""
        header = self._header
        if len(fields) != header.width:
            raise ValueError(f"has {len(fields)} columns where the header has {header.width}")
        label, split = UNLABELLED, TRAIN
        if header.emotion is not None:
            label = _parse_emotion(fields[header.emotion].strip(b' "'))
        if header.usage is not None:
            split = _parse_usage(fields[header.usage].strip(b' "'))
        self._labels.append(label)
        self._splits.append(split)
        return fields[header.pixels].strip(b' "')

    def _reject(self, line: int, what: str) -> None:
        if line == self._cut_line:
            what += " (the file ends inside this line, as when a download was cut off)"
        self._problems.add(f"{self._path}:{line}", what)

    def _take_blank_lines(self) -> list[tuple[int, str]]:
        """Lines without anything are fine at the end of a file, and nowhere else."""
        blank = [(line, "the line is empty") for line in self._blank_lines]
        self._blank_lines.clear()
        return blank


def _parse_emotion(field: bytes) -> int:
    if field in _LABELS:
        return _LABELS[field]
    last = len(CLASSES) - 1
    if field.lstrip(b"-").isdigit():
        raise ValueError(f"emotion {_show(field)} is outside 0 to {last}")
    raise ValueError(f"emotion {_show(field)} is not a whole number from 0 to {last}")


def _parse_usage(field: bytes) -> int:
    if field in USAGES:
        return USAGES[field]
    known = ", ".join(name.decode() for name in USAGES)
    raise ValueError(f"Usage {_show(field)} is not one of {known}")


def _show(field: bytes) -> str:
    return repr(field[:20].decode("utf-8", "replace"))
