"""What the user calls ``data`` is found, checked and completed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fer_sweep.data import SPLITS, FaceSet, load_faces
from fer_sweep.data.duplicates import report_duplicates
from fer_sweep.data.faces import make_faces, write_csv, write_folders
from fer_sweep.errors import DataError


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return make_faces(400, seed=3, duplicates=0.1)


def load(data: Path | str, **options: object) -> FaceSet:
    return load_faces(str(data), cache=Path("cache"), **options)  # type: ignore[arg-type]


def sizes(faces: FaceSet) -> list[int]:
    return [len(faces.indices(split)) for split in SPLITS]


def write_kaggle(faces: FaceSet, folder: Path) -> None:
    write_csv(faces, folder / "train.csv", layout="train")
    write_csv(faces, folder / "test.csv", layout="test")


@pytest.mark.parametrize("data", [None, ""])
def test_no_data_names_the_ways_to_give_some(data: str | None) -> None:
    with pytest.raises(
        DataError, match=r"--data PATH.*FERSWEEP_DATA.*fersweep\.toml.*--data faces"
    ):
        load_faces(data, cache=Path("cache"))


def test_wrong_path_names_it_and_the_procedural_way() -> None:
    with pytest.raises(
        DataError, match=r"nowhere/fer2013\.csv: no such file or folder\..*--data faces"
    ):
        load("nowhere/fer2013.csv")


def test_home_is_expanded(faces: FaceSet) -> None:
    write_csv(faces, Path(os.environ["HOME"]) / "fer2013.csv")

    assert len(load("~/fer2013.csv")) == 400


def test_source_is_what_the_user_typed_even_from_the_cache(faces: FaceSet, tmp_path: Path) -> None:
    write_csv(faces, tmp_path / "sub" / "fer2013.csv")

    assert load("sub/fer2013.csv").source == "sub/fer2013.csv"
    assert load(tmp_path / "sub" / "fer2013.csv").source == f"{tmp_path}/sub/fer2013.csv"


@pytest.mark.parametrize("inner", [".", "fer2013"])
def test_csv_in_a_folder_is_found(inner: str, faces: FaceSet, tmp_path: Path) -> None:
    write_csv(faces, tmp_path / "root" / inner / "fer2013.csv")

    assert sizes(load(tmp_path / "root")) == [320, 40, 40]


def test_fer2013_csv_comes_before_the_others(faces: FaceSet, tmp_path: Path) -> None:
    write_csv(faces, tmp_path / "root" / "fer2013.csv")
    (tmp_path / "root" / "icml_face_data.csv").write_text("broken")
    write_kaggle(faces, tmp_path / "root")

    loaded = load(tmp_path / "root")

    assert sizes(loaded) == [320, 40, 40]
    assert any(
        "icml_face_data.csv and train.csv in the same folder ignored" in n for n in loaded.notes
    )


def test_any_single_csv_file_will_do(faces: FaceSet, tmp_path: Path) -> None:
    write_csv(faces, tmp_path / "root" / "my faces.csv")
    assert len(load(tmp_path / "root")) == 400

    write_csv(faces, tmp_path / "root" / "others.csv")
    with pytest.raises(
        DataError, match=r"holds 2 CSV files \(my faces\.csv, others\.csv\)\. Give the one"
    ):
        load(tmp_path / "root")


def test_empty_folder_says_what_belongs_there(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()

    with pytest.raises(
        DataError, match=r"root: holds neither fer2013\.csv.* nor image folders like"
    ):
        load(tmp_path / "root")


def test_folder_with_an_archive_says_to_unpack_it(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "fer2013.tar.gz").write_bytes(b"\x1f\x8b")

    with pytest.raises(DataError, match=r"holds only archives \(fer2013\.tar\.gz\)\. Unpack"):
        load(tmp_path / "root")


def test_kaggle_test_images_are_kept_but_never_labelled(faces: FaceSet, tmp_path: Path) -> None:
    write_kaggle(faces, tmp_path / "root")

    loaded = load(tmp_path / "root")

    assert len(loaded) == 400
    assert len(loaded.indices("test")) == 0
    assert (loaded.labels[loaded.splits == 2] == -1).all()
    assert any("80 images without labels; never used to train" in note for note in loaded.notes)


def test_train_csv_alone_gets_a_validation_split(faces: FaceSet, tmp_path: Path) -> None:
    write_kaggle(faces, tmp_path / "root")

    loaded = load(tmp_path / "root" / "train.csv")

    train, val, test = sizes(loaded)
    assert train + val == 320
    assert abs(val - 32) <= 4
    assert test == 0
    assert any(
        f"{val} of 320 training images (10% of each class, seed 0) became one" in n
        for n in loaded.notes
    )


def test_made_split_never_shares_an_image_with_training(faces: FaceSet, tmp_path: Path) -> None:
    write_csv(faces, tmp_path / "train.csv", layout="train")
    for seed in range(5):
        loaded = load(tmp_path / "train.csv", seed=seed)

        report = report_duplicates(loaded.images, loaded.labels, loaded.splits)

        assert report.redundant > 10
        assert report.val_in_train == 0


def test_made_split_depends_on_the_seed_only(faces: FaceSet, tmp_path: Path) -> None:
    write_csv(faces, tmp_path / "train.csv", layout="train")

    first = load(tmp_path / "train.csv")
    again = load_faces(str(tmp_path / "train.csv"), cache=tmp_path / "another cache")
    other = load(tmp_path / "train.csv", seed=1)

    np.testing.assert_array_equal(first.splits, again.splits)
    assert first.key == again.key != other.key
    assert (first.splits != other.splits).any()


def test_test_csv_alone_cannot_train(faces: FaceSet, tmp_path: Path) -> None:
    write_kaggle(faces, tmp_path / "root")

    with pytest.raises(
        DataError, match=r"test\.csv: has no emotion column, so there is nothing to train on"
    ):
        load(tmp_path / "root" / "test.csv")


def test_file_without_training_rows_is_an_error(faces: FaceSet, tmp_path: Path) -> None:
    write_csv(faces, tmp_path / "fer2013.csv")
    lines = (tmp_path / "fer2013.csv").read_text().splitlines()
    (tmp_path / "public.csv").write_text("\n".join([lines[0], *lines[321:]]))

    with pytest.raises(DataError, match=r"public\.csv: has no training images with labels"):
        load(tmp_path / "public.csv")


def test_too_few_training_images_to_hold_some_out_is_an_error(
    faces: FaceSet, tmp_path: Path
) -> None:
    write_csv(faces, tmp_path / "fer2013.csv")
    lines = (tmp_path / "fer2013.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:4]))

    with pytest.raises(
        DataError, match=r"few\.csv: has no validation images, and 3 training images are too few"
    ):
        load(tmp_path / "few.csv")


def test_unusual_counts_are_noted_and_no_error(faces: FaceSet, tmp_path: Path) -> None:
    write_csv(faces, tmp_path / "fer2013.csv")

    loaded = load(tmp_path / "fer2013.csv")

    assert any(
        "320 train, 40 val, 40 test images; the published FER2013 has 28709 train, 3589 val, 3589 test"
        in note
        for note in loaded.notes
    )


def test_missing_class_is_noted(tmp_path: Path) -> None:
    faces = make_faces(50, seed=1, duplicates=0, label_noise=0)
    assert 1 not in faces.labels[faces.indices("train")]
    write_csv(faces, tmp_path / "fer2013.csv")

    assert any(
        "no training image shows disgust" in note for note in load(tmp_path / "fer2013.csv").notes
    )


def test_copies_across_splits_are_noted_and_can_be_dropped(faces: FaceSet, tmp_path: Path) -> None:
    write_csv(faces, tmp_path / "fer2013.csv")
    before = report_duplicates(faces.images, faces.labels, faces.splits)

    kept = load(tmp_path / "fer2013.csv")
    dropped = load(tmp_path / "fer2013.csv", drop_duplicates=True)

    note = f"{before.val_in_train} of 40 validation images are byte-identical to a training image."
    assert before.val_in_train > 1
    assert note in kept.notes
    assert note in dropped.notes
    after = report_duplicates(dropped.images, dropped.labels, dropped.splits)
    assert (after.val_in_train, after.test_in_train) == (0, 0)
    assert sizes(dropped)[1:] == [40, 40]
    removed = 320 - sizes(dropped)[0]
    assert removed > 0
    assert any(
        note.startswith(f"{removed} of 320 training images were removed") for note in dropped.notes
    )
    assert dropped.key != kept.key


def test_procedural_faces_can_drop_their_copies(tmp_path: Path) -> None:
    kept, dropped = (
        load("faces:n=300,duplicates=.2", drop_duplicates=drop) for drop in (False, True)
    )

    assert any("byte-identical to a training image" in note for note in kept.notes)
    assert report_duplicates(dropped.images, dropped.labels, dropped.splits).val_in_train == 0
    assert dropped.key != kept.key


def test_permission_denied_is_an_error_with_the_path(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folders(faces, tmp_path / "fer")
    if os.geteuid() == 0:
        # Root reads everything, so the refusal is played.
        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "iterdir", refuse)
    else:
        (tmp_path / "fer").chmod(0)

    with pytest.raises(DataError, match=r"fer: cannot be read \(Permission denied\)"):
        load(tmp_path / "fer")


def test_indices_refuse_an_unknown_split(faces: FaceSet) -> None:
    with pytest.raises(ValueError, match="one of train, val, test, got 'dev'"):
        faces.indices("dev")


def test_indices_partition_the_labelled_images(faces: FaceSet) -> None:
    rows = np.concatenate([faces.indices(split) for split in SPLITS])

    np.testing.assert_array_equal(np.sort(rows), np.arange(400))
