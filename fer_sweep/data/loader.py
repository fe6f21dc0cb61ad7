"""Turn what the user calls ``data`` into a ``FaceSet``: find it, read it, check it, cache it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fer_sweep.data.cache import load_or_build, take_fingerprint
from fer_sweep.data.faces.generator import faces_of, spec_key
from fer_sweep.data.faces.spec import FaceSpec, is_spec, parse_spec
from fer_sweep.data.faceset import FaceSet
from fer_sweep.errors import DataError

Progress = Callable[[float, str], None]

_HOW = (
    "Give a CSV file or folder with --data PATH, the environment variable FERSWEEP_DATA or `data` in "
    "fersweep.toml; `--data faces` draws procedural faces with no download."
)


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

    Raises:
        DataError: If there is no such data, or it is malformed; the text names file and line.
    """
    if not data:
        raise DataError(f"data: no data set was named. {_HOW}")
    if not is_spec(data):
        raise DataError(f"{data}: files are not read yet. {_HOW}")
    return _load_procedural(parse_spec(data), cache, progress)


def _load_procedural(spec: FaceSpec, cache: Path, progress: Progress | None) -> FaceSet:
    fingerprint = take_fingerprint((), spec_key(spec))
    faces = load_or_build(cache, str(spec), fingerprint, lambda: faces_of(spec, progress))
    return replace(faces, source=str(spec))
