"""Write a set in the exact formats FER2013 comes in, for demonstrations and tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_sweep.data.faceset import CLASSES, PIXELS, TRAIN, UNLABELLED, FaceSet
from fer_sweep.errors import DataError

Layout = Literal["fer2013", "icml", "train", "test"]

_USAGES = ("Training", "PublicTest", "PrivateTest")
_ROWS_AT_ONCE = 256


def write_csv(
    faces: FaceSet,
    path: Path,
    *,
    layout: Layout = "fer2013",
    progress: Callable[[float, str], None] | None = None,
) -> None:
    """Write one of Kaggle's CSV files, row by row.

    Args:
        faces: The set; its order is kept.
        path: The file; its folder is made if missing. It appears when it is complete.
        layout: ``fer2013`` (``emotion,pixels,Usage``), ``icml`` (``emotion, Usage, pixels``), ``train``
            (``emotion,pixels``, the training images) or ``test`` (``pixels``, the others, no labels).
        progress: Called with the fraction written and a line for the user.

    Raises:
        DataError: If the file cannot be written.
        ValueError: If there is no such layout, or a row that needs a label has none.
    """
    if layout not in get_args(Layout):
        raise ValueError(f"layout must be one of {', '.join(get_args(Layout))}, got {layout!r}")
    rows = _rows_of(faces, layout)
    if layout != "test" and (faces.labels[rows] == UNLABELLED).any():
        raise ValueError(f"layout {layout!r} needs a label for every row")
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(_HEADERS[layout])
            for done, line in enumerate(_lines(faces, rows, layout), start=1):
                stream.write(line)
                if progress is not None and done % _ROWS_AT_ONCE == 0:
                    progress(done / len(rows), f"writing {path.name}: {done} of {len(rows)}")
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}). Choose another place."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_folders(
    faces: FaceSet, folder: Path, *, validation: str | None = None, suffix: str = ".png"
) -> None:
    """Write image folders ``train/<class>/Training_<number>.png`` and ``test/<class>/…``.

    Args:
        faces: The set; every row needs a label.
        folder: Made if missing.
        validation: Name of the folder for the validation images; None puts them into ``test`` as
            ``PublicTest_<number>``, as the folder copy of FER2013 on Kaggle does.
        suffix: ``.png`` (the same pixels), ``.jpg`` or ``.jpeg`` (slightly different ones).

    Raises:
        DataError: If an image cannot be written.
    """
    names = ("train", validation or "test", "test")
    try:
        for row in range(len(faces)):
            split = int(faces.splits[row])
            target = folder / names[split] / CLASSES[faces.labels[row]]
            target.mkdir(parents=True, exist_ok=True)
            file = target / f"{_USAGES[split]}_{row}{suffix}"
            Image.fromarray(faces.images[row]).save(file, quality=95)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror}). Choose another place."
        ) from error


_HEADERS: dict[str, bytes] = {
    "fer2013": b"emotion,pixels,Usage\n",
    "icml": b"emotion, Usage, pixels\n",
    "train": b"emotion,pixels\n",
    "test": b"pixels\n",
}


def _rows_of(faces: FaceSet, layout: str) -> NDArray[np.int64]:
    if layout == "train":
        return np.flatnonzero(faces.splits == TRAIN)
    if layout == "test":
        return np.flatnonzero(faces.splits != TRAIN)
    return np.arange(len(faces))


def _lines(faces: FaceSet, rows: NDArray[np.int64], layout: str) -> Iterator[bytes]:
    quote = b'"' if layout in ("train", "test") else b""
    for row in rows:
        pixels = quote + pixel_text(faces.images[row]) + quote
        label, usage = str(faces.labels[row]).encode(), _USAGES[faces.splits[row]].encode()
        match layout:
            case "fer2013":
                yield label + b"," + pixels + b"," + usage + b"\n"
            case "icml":
                yield label + b"," + usage + b"," + pixels + b"\n"
            case "train":
                yield label + b"," + pixels + b"\n"
            case _:
                yield pixels + b"\n"


def pixel_text(image: NDArray[np.uint8]) -> bytes:
    """One image as FER2013 writes it: 2304 numbers with a space between them."""
    values = image.reshape(PIXELS)
    return _DIGITS[values][_IS_USED[values]].tobytes()[:-1]


def _build_digit_table() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The characters of each grey value with a space behind, shape (256, 4), and which of them count."""
    texts = [f"{value} ".ljust(4, "\0").encode() for value in range(256)]
    table = np.frombuffer(b"".join(texts), np.uint8).reshape(256, 4)
    return table, table != 0


_DIGITS, _IS_USED = _build_digit_table()
