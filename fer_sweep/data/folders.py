"""Read image folders: ``train/<class>/*.jpg``, ``validation/<class>/…``, ``test/<class>/…``.

The folder copies of FER2013 name their classes, so labels come from names and never from the
alphabetical order that torchvision's ``ImageFolder`` uses (there neutral is 4; in the CSV files it is 6).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fer_sweep.data.faceset import CLASSES, SIDE, SPLITS, TEST, TRAIN, VAL
from fer_sweep.data.problems import Problems
from fer_sweep.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")

_SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "publictest": VAL,
    "test": TEST,
    "testing": TEST,
    "privatetest": TEST,
}
_SYNONYMS = {
    "angry": ("anger",),
    "disgust": ("disgusted",),
    "fear": ("afraid", "fearful", "scared"),
    "happy": ("happiness", "joy"),
    "sad": ("sadness",),
    "surprise": ("surprised", "suprise"),
    "neutral": ("neutrality", "normal"),
}
_LABELS = {name: label for label, name in enumerate(CLASSES)}
_LABELS |= {word: _LABELS[name] for name, words in _SYNONYMS.items() for word in words}
_LABELS |= {str(label): label for label in range(len(CLASSES))}
# What Pillow raises on damaged files, from all its decoders.
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
_PREFIXES = {"training_": TRAIN, "publictest_": VAL, "privatetest_": TEST}


@dataclass(frozen=True)
class ImageFolder:
    """The images found below a folder, before any is opened.

    Attributes:
        root: The folder the user named.
        files: Every image, in a fixed order.
        labels: Shape ``(N,)``.
        splits: Shape ``(N,)``.
        notes: What the user should know about the layout.
    """

    root: Path
    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8]
    notes: tuple[str, ...]


def find_images(root: Path) -> ImageFolder | None:
    """List the images below ``root``; None if it has neither split nor class folders.

    Split folders may also lie one folder deeper, if only one folder has them. Without any, class folders
    directly in ``root`` are training images. ``PublicTest_`` and ``PrivateTest_`` in file names tell
    validation from test where the folders do not.

    Raises:
        DataError: If a folder inside a split is no known class, or there are no images.
    """
    home = _find_home(root)
    if home is None:
        return None
    split_folders = [
        (f, _SPLIT_NAMES[_plain(f.name)]) for f in _folders(home) if _plain(f.name) in _SPLIT_NAMES
    ]
    listing = _Listing(root)
    for folder, split in split_folders or [(home, TRAIN)]:
        listing.add_split(folder, split)
    return listing.finish(has_val=any(split == VAL for _, split in split_folders))


def read_images(
    folder: ImageFolder, progress: Callable[[float], None] | None = None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Open every image as 48x48 grey.

    Returns:
        Images, shape ``(N, 48, 48)``, and notes about those that had to be converted.

    Raises:
        DataError: If any image cannot be read; all of them are counted.
    """
    images = np.zeros((len(folder.files), SIDE, SIDE), np.uint8)
    problems = Problems(str(folder.root), "image")
    resized = coloured = 0
    for row, file in enumerate(folder.files):
        try:
            with Image.open(file) as image:
                resized += image.size != (SIDE, SIDE)
                coloured += image.mode != "L"
                images[row] = _as_grey(image)
        except UnidentifiedImageError:
            problems.add(str(file), "is not an image, whatever its name says")
        except _UNREADABLE as error:
            problems.add(str(file), f"cannot be read ({str(error).rstrip('.')})")
        if progress is not None and row % 256 == 0:
            progress(row / len(folder.files))
    problems.raise_if_any("Replace or remove these files.")
    counts = ((resized, f"resized to {SIDE}x{SIDE}"), (coloured, "converted to grey"))
    notes = (f"{count} of {len(images)} images were {how}" for count, how in counts if count)
    return images, tuple(f"{folder.root}: {note}." for note in notes)


def _as_grey(image: Image.Image) -> NDArray[np.uint8]:
    grey = image.convert("L")
    if grey.size != (SIDE, SIDE):
        # Averaging over the area of a pixel: large photographs would alias otherwise.
        grey = grey.resize(
            (SIDE, SIDE), Image.Resampling.BOX if _shrinks(grey) else Image.Resampling.BICUBIC
        )
    return np.asarray(grey)


def _shrinks(image: Image.Image) -> bool:
    return min(image.size) >= SIDE


def _find_home(root: Path) -> Path | None:
    """The folder that holds the split or class folders: ``root``, or the only such folder inside."""
    if _has_layout(root):
        return root
    inner = [folder for folder in _folders(root) if _has_layout(folder)]
    return inner[0] if len(inner) == 1 else None


def _has_layout(folder: Path) -> bool:
    names = {_plain(inner.name) for inner in _folders(folder)}
    return (
        bool(names & {"train", "training"})
        or len({_LABELS[n] for n in names & _LABELS.keys()}) >= 2
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


class _Listing:
    """Images collected folder by folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: list[Path] = []
        self._labels: list[int] = []
        self._splits: list[int] = []
        self._others = 0
        self._unknown: list[str] = []

    def add_split(self, folder: Path, split: int) -> None:
        """Collect the class folders of one split."""
        for inner in _folders(folder):
            label = _LABELS.get(_plain(inner.name))
            if label is None:
                self._unknown.append(f"{inner}: no known expression.")
                continue
            names = sorted(
                entry.name for entry in os.scandir(inner) if not entry.name.startswith(".")
            )
            files = [inner / name for name in names if name.lower().endswith(SUFFIXES)]
            self._others += len(names) - len(files)
            self._files += files
            self._labels += [label] * len(files)
            self._splits += [split] * len(files)

    def finish(self, *, has_val: bool) -> ImageFolder:
        """Everything found.

        Raises:
            DataError: If there were unknown folders or no images.
        """
        if self._unknown:
            known = ", ".join(CLASSES)
            fix = f"Class folders may be called {known} (or anger, happiness, sadness …); rename or remove the others."
            raise DataError("\n".join([*self._unknown, fix]))
        if not self._files:
            kinds = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
            raise DataError(
                f"{self._root}: the class folders hold no images. Put {kinds} files into them."
            )
        splits = np.array(self._splits, np.uint8)
        notes = []
        if not has_val:
            splits, note = _recover_splits(self._files, splits)
            notes += [f"{self._root}: {note}"] if note else []
        if self._others:
            plural = "files are" if self._others > 1 else "file is"
            notes.append(
                f"{self._root}: {self._others} {plural} not named like an image; not used."
            )
        return ImageFolder(
            self._root, tuple(self._files), np.array(self._labels, np.int64), splits, tuple(notes)
        )


def _recover_splits(
    files: Sequence[Path], splits: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], str]:
    """Use FER2013's file names where validation and test images lie together."""
    named = np.array([_split_in_name(file.name) for file in files])
    mixed = splits == TEST if (splits == TEST).any() else np.ones(len(files), bool)
    if not (named[mixed] == VAL).any():
        return splits, ""
    recovered = np.where(mixed & (named >= 0), named, splits).astype(np.uint8)
    counts = ", ".join(
        f"{np.count_nonzero(recovered == i)} {name}" for i, name in enumerate(SPLITS)
    )
    return recovered, f"splits recovered from the file names ({counts})."


def _split_in_name(name: str) -> int:
    return next((s for prefix, s in _PREFIXES.items() if name.lower().startswith(prefix)), -1)
