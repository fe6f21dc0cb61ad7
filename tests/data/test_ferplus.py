"""FER+ votes belong to the rows of fer2013.csv, and that is checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_sweep.data import FaceSet, load_faces
from fer_sweep.data.faces import make_faces, write_csv, write_folders
from fer_sweep.data.ferplus import VOTE_CLASSES
from fer_sweep.errors import DataError

HEADER = "Usage,Image name," + ",".join(VOTE_CLASSES)
COLUMN_OF_LABEL = (4, 5, 6, 1, 3, 2, 0)
USAGES = ("Training", "PublicTest", "PrivateTest")


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return make_faces(100, seed=3)


@pytest.fixture
def csv_file(faces: FaceSet, tmp_path: Path) -> Path:
    path = tmp_path / "fer2013.csv"
    write_csv(faces, path)
    return path


@pytest.fixture
def votes_file(faces: FaceSet, tmp_path: Path) -> Path:
    """Seven votes for the label and three for contempt; a row without image name, as in FER+."""
    lines = [HEADER]
    for row, (label, split) in enumerate(zip(faces.labels, faces.splits, strict=True)):
        votes = [0] * 10
        votes[COLUMN_OF_LABEL[label]], votes[7] = 7, 3
        name = f"fer{row:07d}.png" if row != 5 else ""
        lines.append(f"{USAGES[split]},{name}," + ",".join(map(str, votes)))
    path = tmp_path / "fer2013new.csv"
    path.write_text("\r\n".join(lines) + "\r\n")
    return path


def test_votes_are_aligned_with_the_rows(csv_file: Path, votes_file: Path, faces: FaceSet) -> None:
    loaded = load_faces(str(csv_file), cache=csv_file.parent / "cache", fer_plus=votes_file)

    assert loaded.votes is not None
    assert loaded.votes.shape == (100, 10)
    np.testing.assert_array_equal(
        loaded.votes.argmax(1), [COLUMN_OF_LABEL[label] for label in faces.labels]
    )
    assert any("agree on 100.0% of the images" in note for note in loaded.notes)


def test_votes_stay_aligned_when_duplicates_are_dropped(
    csv_file: Path, votes_file: Path, faces: FaceSet
) -> None:
    lines = csv_file.read_text().splitlines()
    pixels = lines[95].split(",")[1]
    label = lines[3].split(",")[0]
    lines[3] = f"{label},{pixels},Training"
    csv_file.write_text("\n".join(lines))

    loaded = load_faces(
        str(csv_file), cache=csv_file.parent / "cache", fer_plus=votes_file, drop_duplicates=True
    )

    assert loaded.votes is not None
    assert len(loaded) < 100
    np.testing.assert_array_equal(
        loaded.votes.argmax(1), [COLUMN_OF_LABEL[label] for label in loaded.labels]
    )


def test_votes_change_the_key_and_survive_the_cache(csv_file: Path, votes_file: Path) -> None:
    cache = csv_file.parent / "cache"
    plain = load_faces(str(csv_file), cache=cache)
    first = load_faces(str(csv_file), cache=cache, fer_plus=votes_file)
    again = load_faces(str(csv_file), cache=cache, fer_plus=votes_file)

    assert plain.votes is None
    assert plain.key != first.key == again.key
    np.testing.assert_array_equal(first.votes, again.votes)


DAMAGES: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "a row too few": (
        lambda lines: lines[:-1],
        r"99 rows of votes for 100 images\. Use the complete",
    ),
    "other splits": (
        lambda lines: [lines[0], *lines[:0:-1]],
        r"new.csv:2: the row is test, the image is train",
    ),
    "rows shuffled": (
        lambda lines: [lines[0], *lines[2:81], lines[1], *lines[81:]],
        r"only \d+% of the votes agree with the labels",
    ),
    "no votes": (
        lambda lines: [lines[0], lines[1][:-19] + "0,0,0,0,0,0,0,0,0,0", *lines[2:]],
        r"csv:2: has 0 votes",
    ),
    "too many votes": (
        lambda lines: [*lines[:2], lines[2][:-1] + "9", *lines[3:]],
        r"csv:3: has 19 votes, not 1 to 10",
    ),
    "votes in words": (
        lambda lines: [*lines[:2], lines[2][:-1] + "x", *lines[3:]],
        r"csv:3: has votes that are not",
    ),
    "a column too few": (
        lambda lines: [*lines[:2], lines[2][:-2], *lines[3:]],
        r"csv:3: has 11 columns where .* 12",
    ),
    "unknown usage": (
        lambda lines: [*lines[:2], "x" + lines[2], *lines[3:]],
        r"csv:3: Usage 'xTraining' is not one of",
    ),
    "another file": (
        lambda lines: ["emotion,pixels,Usage", *lines[1:]],
        r"csv:1: no column named neutral, happiness",
    ),
    "empty": (lambda lines: [], r"csv:1: no column named Usage"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_votes_of_other_images_are_an_error(
    change: Callable[[list[str]], list[str]], message: str, csv_file: Path, votes_file: Path
) -> None:
    votes_file.write_text("\n".join(change(votes_file.read_text().splitlines())))

    with pytest.raises(DataError, match=message):
        load_faces(str(csv_file), cache=csv_file.parent / "cache", fer_plus=votes_file)


def test_missing_votes_file_is_an_error(csv_file: Path) -> None:
    with pytest.raises(DataError, match=r"absent.csv: cannot be read"):
        load_faces(str(csv_file), cache=csv_file.parent / "cache", fer_plus=Path("absent.csv"))


def test_votes_need_the_rows_of_fer2013(faces: FaceSet, votes_file: Path, tmp_path: Path) -> None:
    write_folders(faces, tmp_path / "fer")

    with pytest.raises(DataError, match=r"votes refer to the rows of fer2013\.csv"):
        load_faces(str(tmp_path / "fer"), cache=tmp_path / "cache", fer_plus=votes_file)
    with pytest.raises(DataError, match="not to procedural faces"):
        load_faces("faces:n=20", cache=tmp_path / "cache", fer_plus=votes_file)
