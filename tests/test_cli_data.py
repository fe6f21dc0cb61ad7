"""``fersweep data info``, as it reads in a pipe, and the FER+ votes beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_sweep.data import SPLITS, FaceSet
from fer_sweep.data.faces import make_faces, write_csv

Cli = Callable[..., Any]
USAGES = dict(zip(SPLITS, ("Training", "PublicTest", "PrivateTest"), strict=True))
VOTES = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
COLUMN_OF_LABEL = (4, 5, 6, 1, 3, 2, 0)


@pytest.fixture
def faces(tmp_path: Path) -> FaceSet:
    faces = make_faces(100, seed=3)
    write_csv(faces, tmp_path / "fer2013.csv")
    return faces


def write_votes(faces: FaceSet, path: Path, *, rows: int) -> None:
    lines = [f"Usage,Image name,{VOTES}"]
    for row in range(rows):
        votes = ["0"] * 10
        votes[COLUMN_OF_LABEL[faces.labels[row]]] = "10"
        lines.append(f"{USAGES[SPLITS[faces.splits[row]]]},x.png,{','.join(votes)}")
    path.write_text("\n".join(lines) + "\n")


def test_what_is_piped_is_neither_wrapped_nor_padded(run_cli: Cli, faces: FaceSet) -> None:
    result = run_cli("data", "info", "--data", "fer2013.csv")

    lines = result.out.splitlines()
    assert result.code == 0
    assert any(
        line.endswith("the published FER2013 has 28709 train, 3589 val, 3589 test.")
        for line in lines
    )
    assert [line for line in lines if line != line.rstrip()] == []


def test_fer_plus_votes_are_checked_and_counted(
    run_cli: Cli, faces: FaceSet, tmp_path: Path
) -> None:
    write_votes(faces, tmp_path / "fer2013new.csv", rows=100)

    result = run_cli("data", "info", "--data", "fer2013.csv", "--fer-plus", "fer2013new.csv")

    assert result.code == 0
    assert (
        "1000 FER+ votes for 100 images; their majority and the label agree on 100.0%" in result.out
    )


def test_fer_plus_votes_of_other_rows_are_an_error(
    run_cli: Cli, faces: FaceSet, tmp_path: Path
) -> None:
    write_votes(faces, tmp_path / "fer2013new.csv", rows=99)

    result = run_cli("data", "info", "--data", "fer2013.csv", "--fer-plus", "fer2013new.csv")

    assert result.code == 2
    assert "99 rows of votes for 100 images" in result.err
