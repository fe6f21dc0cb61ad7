"""Turn what the user calls ``data`` into a ``FaceSet``: find it, read it, check it, cache it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fer_sweep.data.cache import load_or_build, take_fingerprint
from fer_sweep.data.duplicates import find_leaked, group_identical, report_duplicates
from fer_sweep.data.faces.generator import faces_of, spec_key
from fer_sweep.data.faces.spec import is_spec, parse_spec
from fer_sweep.data.faceset import CLASSES, SPLITS, TRAIN, VAL, FaceSet, content_key
from fer_sweep.data.ferplus import read_votes
from fer_sweep.data.source import Reading, Source, find_source
from fer_sweep.data.subset import split_off
from fer_sweep.errors import DataError

Progress = Callable[[float, str], None]

VAL_FRACTION = 0.1
"""Share of each class that becomes validation where the source has none; PublicTest is 11 %."""

_PUBLISHED = {"train": 28709, "val": 3589, "test": 3589}
"""Source: Goodfellow et al. 2013, arXiv:1307.0414."""

_HOW = (
    "Give a CSV file or folder with --data PATH, the environment variable FERSWEEP_DATA or `data` in "
    "fersweep.toml; `--data faces` draws procedural faces with no download."
)


@dataclass(frozen=True)
class _Options:
    """What else decides about the content of a set."""

    fer_plus: Path | None
    drop_duplicates: bool
    seed: int


def load_faces(
    data: str | None,
    *,
    cache: Path,
    fer_plus: Path | None = None,
    drop_duplicates: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> FaceSet:
    """Load the data set that the user named.

    Args:
        data: A FER2013 CSV file, a folder with one or with images, or ``faces`` / ``faces:n=6000,seed=0``
            for procedural faces.
        cache: Folder for the parsed images; made if missing.
        fer_plus: FER+ votes (``fer2013new.csv``) for ``fer2013.csv``.
        drop_duplicates: Remove training images that are identical to a validation or test image.
        seed: Chooses the validation images where the source has none.
        progress: Called with the fraction done, 0 to 1, and a line for the user.

    Returns:
        The set; its images are usually a read-only memory map.

    Raises:
        DataError: If there is no such data, or it is malformed; the text names file and line.
    """
    if not data:
        raise DataError(f"data: no data set was named. {_HOW}")
    options = _Options(fer_plus, drop_duplicates, seed)
    report = progress or (lambda fraction, text: None)
    if is_spec(data):
        return _load_procedural(data, cache, options, report)
    path = Path(data).expanduser()
    source = find_source(path)
    files = [*source.files] if fer_plus is None else [*source.files, fer_plus]
    try:
        fingerprint = take_fingerprint(files, repr(options))
    except OSError as error:
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}). Check the path."
        ) from error

    def build() -> FaceSet:
        reading = source.read(lambda done: report(done, f"reading {path.name}: {done:.0%}"))
        return _check(data, source, reading, options)

    faces = load_or_build(cache, f"{path.resolve()} {options!r}", fingerprint, build)
    return replace(faces, source=data)


def _load_procedural(data: str, cache: Path, options: _Options, report: Progress) -> FaceSet:
    spec = parse_spec(data)
    if options.fer_plus is not None:
        raise DataError(
            f"{options.fer_plus}: FER+ votes belong to fer2013.csv, not to procedural faces."
        )
    key = spec_key(spec, "drop_duplicates" if options.drop_duplicates else "")

    def build() -> FaceSet:
        faces = faces_of(spec, report)
        faces = replace(
            faces, notes=report_duplicates(faces.images, faces.labels, faces.splits).notes()
        )
        return replace(_drop_leaked(faces) if options.drop_duplicates else faces, key=key)

    faces = load_or_build(cache, f"{spec} {options!r}", take_fingerprint((), key), build)
    return replace(faces, source=str(spec))


def _check(data: str, source: Source, reading: Reading, options: _Options) -> FaceSet:
    """Everything that is the same for all sources on disk."""
    notes = [*reading.notes]
    votes = None
    if options.fer_plus is not None:
        if not reading.has_usage:
            raise DataError(
                f"{options.fer_plus}: FER+ votes refer to the rows of fer2013.csv, and {data} has other "
                "ones. Give fer2013.csv."
            )
        votes, note = read_votes(options.fer_plus, reading.labels, reading.splits)
        notes.append(note)
    faces = FaceSet(reading.images, reading.labels, reading.splits, data, "", (), votes)
    if not len(faces.indices("train")):
        raise DataError(f"{data}: has no training images with labels. Give the complete data set.")
    notes += _count_notes(faces, source)
    if not len(faces.indices("val")):
        faces, note = _split_validation(faces, options.seed)
        notes.append(note)
    notes += report_duplicates(faces.images, faces.labels, faces.splits).notes()
    faces = replace(faces, notes=tuple(notes))
    if options.drop_duplicates:
        faces = _drop_leaked(faces)
    return replace(faces, key=content_key(faces.images, faces.labels, faces.splits, faces.votes))


def _count_notes(faces: FaceSet, source: Source) -> list[str]:
    """Compare with the published FER2013, and look for classes with no training image."""
    counts = {split: int(np.count_nonzero(faces.splits == i)) for i, split in enumerate(SPLITS)}
    notes = []
    if counts != _PUBLISHED:
        found, published = (
            ", ".join(f"{count} {split}" for split, count in c.items())
            for c in (counts, _PUBLISHED)
        )
        notes.append(f"{faces.source}: {found} images; the published FER2013 has {published}.")
    present = np.bincount(faces.labels[faces.indices("train")], minlength=len(CLASSES))
    missing = [name for name, count in zip(CLASSES, present, strict=True) if not count]
    if missing:
        notes.append(f"{faces.source}: no training image shows {', '.join(missing)}.")
    return notes


def _split_validation(faces: FaceSet, seed: int) -> tuple[FaceSet, str]:
    """Make a validation split out of training images; copies of an image stay on one side."""
    rows = faces.indices("train")
    groups = group_identical(faces.images[rows])
    chosen = rows[split_off(faces.labels[rows], groups, VAL_FRACTION, seed)]
    if not len(chosen):
        raise DataError(
            f"{faces.source}: has no validation images, and {len(rows)} training images are too few to "
            "hold some out. Give the complete data set."
        )
    splits = faces.splits.copy()
    splits[chosen] = VAL
    note = (
        f"{faces.source}: has no validation split; {len(chosen)} of {len(rows)} training images "
        f"({VAL_FRACTION:.0%} of each class, seed {seed}) became one."
    )
    return replace(faces, splits=splits), note


def _drop_leaked(faces: FaceSet) -> FaceSet:
    """Remove the training copies of validation and test images."""
    leaked = find_leaked(faces.images, faces.splits)
    keep = ~leaked
    count = int(np.count_nonzero(leaked))
    images, labels, splits = faces.images[keep], faces.labels[keep], faces.splits[keep]
    votes = None if faces.votes is None else faces.votes[keep]
    total = int(np.count_nonzero(faces.splits == TRAIN))
    note = (
        f"{count} of {total} training images {'was' if count == 1 else 'were'} removed: "
        "identical to a validation or test image."
    )
    return FaceSet(images, labels, splits, faces.source, faces.key, (*faces.notes, note), votes)
