"""Procedural faces: repeatable, shaped like FER2013, and steered by their knobs."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from fer_sweep.data import FaceSet, load_faces
from fer_sweep.data.duplicates import report_duplicates
from fer_sweep.data.faces import (
    FaceSpec,
    draw_faces,
    faces_of,
    is_spec,
    make_faces,
    parse_spec,
    write_csv,
    write_folders,
)
from fer_sweep.data.faces.params import PRIOR
from fer_sweep.errors import DataError

CLEAN = {"duplicates": 0, "blank": 0, "non_faces": 0}


def test_same_knobs_same_bytes() -> None:
    first, again, other = (make_faces(200, seed=seed) for seed in (5, 5, 6))

    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.key == again.key != other.key
    assert (first.images != other.images).mean() > 0.9


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_smaller_set_is_the_beginning_of_the_larger(split: str) -> None:
    small, large = (make_faces(n, seed=2, duplicates=0) for n in (130, 700))
    rows, more = small.indices(split), large.indices(split)[: len(small.indices(split))]

    np.testing.assert_array_equal(small.images[rows], large.images[more])
    np.testing.assert_array_equal(small.labels[rows], large.labels[more])


def test_splits_are_eighty_ten_ten() -> None:
    faces = make_faces(500)

    assert [len(faces.indices(split)) for split in ("train", "val", "test")] == [400, 50, 50]


@pytest.mark.parametrize("split", [0, 1, 2])
def test_every_split_has_the_proportions_of_fer2013(split: int) -> None:
    drawn = draw_faces(FaceSpec(n=2000, **CLEAN))
    labels = drawn.true_labels[drawn.splits == split]

    counts = np.bincount(labels, minlength=7)

    np.testing.assert_allclose(counts, PRIOR * len(labels), atol=3)


def test_label_noise_is_the_fraction_of_wrong_labels() -> None:
    for noise in (0, 0.12, 0.3):
        drawn = draw_faces(FaceSpec(n=1000, label_noise=noise, **CLEAN))

        assert (drawn.labels != drawn.true_labels).mean() == pytest.approx(noise, abs=0.03)


def test_duplicates_is_the_fraction_of_copies_in_validation() -> None:
    for duplicates in (0, 0.08, 0.4):
        faces = make_faces(1500, duplicates=duplicates, blank=0)

        report = report_duplicates(faces.images, faces.labels, faces.splits)

        assert report.val_in_train / 150 == pytest.approx(duplicates, abs=0.06)


def test_grey_values_are_distributed_like_fer2013() -> None:
    grey = make_faces(2000).images / 255

    assert grey.mean() == pytest.approx(0.508, abs=0.04)
    assert grey.std() == pytest.approx(0.255, abs=0.02)
    assert grey.std((1, 2)).mean() == pytest.approx(0.212, abs=0.02)


def fisher_accuracy(faces: FaceSet) -> float:
    """Validation accuracy of a ridge-regression classifier on the pixels."""
    train, val = faces.indices("train"), faces.indices("val")
    pixels = faces.images.reshape(len(faces), -1)[:, ::2] / 255.0
    pixels -= pixels.mean(1, keepdims=True)
    targets = np.eye(7)[faces.labels[train]]
    gram = pixels[train].T @ pixels[train] + 20 * np.eye(pixels.shape[1])
    weights = np.linalg.solve(gram, pixels[train].T @ targets)
    return float(((pixels[val] @ weights).argmax(1) == faces.labels[val]).mean())


@pytest.mark.slow
def test_expressions_can_be_learned_and_difficulty_makes_it_harder() -> None:
    easy, usual, hard = (
        fisher_accuracy(make_faces(3000, difficulty=d, label_noise=0)) for d in (0.1, 0.6, 1.2)
    )

    assert easy > 0.6
    assert easy > usual + 0.1 > hard + 0.2
    assert hard > 0.25


@pytest.mark.parametrize(
    "knob",
    ["difficulty=.3", "occlusion=.9", "intensity=.5", "ambiguity=1", "n_ident=3", "non_faces=.4"],
)
def test_every_knob_changes_the_images_and_the_key(knob: str) -> None:
    usual, changed = faces_of(parse_spec("faces:n=64")), faces_of(parse_spec(f"faces:n=64,{knob}"))

    assert (usual.images != changed.images).any()
    assert usual.key != changed.key


def test_few_people_look_alike_without_their_scene() -> None:
    """With one person, frontal and clean, neutral faces differ only by light and noise."""
    one, many = (
        draw_faces(FaceSpec(n=300, n_ident=n, difficulty=0, occlusion=0, duplicates=0, non_faces=0))
        for n in (1, 0)
    )

    spreads = []
    for drawn in (one, many):
        neutral = drawn.images[drawn.true_labels == 6][:, 10:40, 10:40] / 255
        spreads.append((neutral - neutral.mean((1, 2), keepdims=True)).std(0).mean())
    assert spreads[0] < 0.7 * spreads[1]


def test_blank_images_are_black() -> None:
    faces = make_faces(200, blank=0.5)

    assert 60 < (faces.images.reshape(200, -1).max(1) == 0).sum() < 140


def test_spec_text_round_trips() -> None:
    for text in (
        "faces",
        "faces:n=4000,seed=7",
        "faces:n=50,seed=0,difficulty=.5,label_noise=0.3,duplicates=0",
    ):
        spec = parse_spec(text)
        assert parse_spec(str(spec)) == spec
    assert parse_spec("faces: n = 4000 , difficulty=.5 ") == FaceSpec(n=4000, difficulty=0.5)


def test_spec_is_told_from_a_path() -> None:
    assert [
        is_spec(text) for text in ("faces", "faces:", "faces:n=9", "faces/", "faces.csv", "./faces")
    ] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_unknown_knobs_and_values_are_listed_with_the_known_ones() -> None:
    with pytest.raises(DataError) as caught:
        parse_spec("faces:n=many,blur=3,seed=1.5,difficulty,label_noise=x,seed=1,n=1")

    text = str(caught.value)
    assert "n: must be a whole number (got 'many')" in text
    assert "blur: no such knob" in text
    assert "seed: must be a whole number (got '1.5')" in text
    assert "difficulty: has no value. Write difficulty=0.6" in text
    assert "label_noise: must be a number (got 'x')" in text
    for knob in fields(FaceSpec):
        assert f"{knob.name}={knob.default}" in text


@pytest.mark.parametrize(
    "text", ["n=3", "n=2000000", "seed=-1", "difficulty=2", "duplicates=-.1", "label_noise=nan"]
)
def test_values_out_of_range_name_the_range(text: str) -> None:
    with pytest.raises(
        DataError, match=rf"faces: {text.partition('=')[0]}: must be between .* and .* \(got"
    ):
        parse_spec(f"faces:{text}")


def test_progress_is_reported_up_to_one() -> None:
    seen: list[tuple[float, str]] = []

    make_faces(300, progress=lambda done, text: seen.append((done, text)))

    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (1.0, "drawing faces: 300 of 300")


def test_load_faces_serves_the_same_set_from_the_cache(tmp_path: Path) -> None:
    reported: list[float] = []
    sets = [
        load_faces(
            "faces:n=100,seed=3", cache=tmp_path, progress=lambda done, text: reported.append(done)
        )
        for _ in range(2)
    ]

    assert len(reported) == len(set(reported))
    np.testing.assert_array_equal(sets[1].images, make_faces(100, seed=3).images)
    assert sets[0].key == sets[1].key == make_faces(100, seed=3).key
    assert sets[1].source == "faces:n=100,seed=3"


def test_written_csv_appears_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "out" / "fer2013.csv"

    def interrupt(done: float, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_csv(make_faces(300), path, progress=interrupt)

    assert not list(path.parent.iterdir())


def test_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(
        DataError, match=r"fer2013\.csv: cannot be written \(.*\)\. Choose another place"
    ):
        write_csv(make_faces(20), tmp_path / "file" / "fer2013.csv")
    with pytest.raises(DataError, match=r"fer: cannot be written"):
        write_folders(make_faces(20), tmp_path / "file" / "fer")


def test_rows_without_label_cannot_be_written_with_one(tmp_path: Path) -> None:
    faces = make_faces(20)
    faces = replace(faces, labels=np.full(20, -1))

    with pytest.raises(ValueError, match="needs a label"):
        write_csv(faces, tmp_path / "fer2013.csv")


@pytest.mark.slow
def test_six_thousand_faces_take_less_than_ten_seconds() -> None:
    start = time.process_time()

    make_faces(6000)

    assert time.process_time() - start < 10
