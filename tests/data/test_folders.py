"""Image folders: labels come from names, splits from folders or file names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_sweep.data import CLASSES, FaceSet, load_faces
from fer_sweep.data.faces import make_faces, write_folders
from fer_sweep.errors import DataError

SOME = np.array([0, 6, 3, 3, 5, 1, 2, 4])


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return make_faces(100, seed=3, duplicates=0)


def load(folder: Path) -> FaceSet:
    return load_faces(str(folder), cache=folder.parent / "cache")


def save(path: Path, image: Image.Image | None = None, grey: int = 99) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("L", (48, 48), grey)).save(path)


def save_minimal_set(root: Path) -> None:
    """Eleven different grey images of each of two classes, and one for validation."""
    for number in range(11):
        save(root / "train" / "happy" / f"{number}.png", grey=number)
        save(root / "train" / "sad" / f"{number}.png", grey=100 + number)
    save(root / "val" / "sad" / "0.png", grey=200)


def as_pairs(faces: FaceSet) -> list[tuple[bytes, int, int]]:
    rows = range(len(faces))
    return sorted(
        (faces.images[i].tobytes(), int(faces.labels[i]), int(faces.splits[i])) for i in rows
    )


@pytest.mark.parametrize("validation", [None, "validation", "val"])
def test_same_images_labels_and_splits_as_in_the_csv(
    validation: str | None, faces: FaceSet, tmp_path: Path
) -> None:
    write_folders(faces, tmp_path / "fer", validation=validation)

    loaded = load(tmp_path / "fer")

    assert as_pairs(loaded) == as_pairs(faces)


def test_prefixes_tell_validation_from_test_and_it_is_noted(faces: FaceSet, tmp_path: Path) -> None:
    write_folders(faces, tmp_path / "fer")
    assert {file.name.split("_")[0] for file in (tmp_path / "fer" / "test").rglob("*.png")} == {
        "PublicTest",
        "PrivateTest",
    }

    loaded = load(tmp_path / "fer")

    assert any("80 train, 10 val, 10 test" in note for note in loaded.notes)
    assert not any("became one" in note for note in loaded.notes)


def test_neutral_is_six_whatever_the_alphabet_says(tmp_path: Path) -> None:
    for name in sorted(CLASSES):
        for number in range(10):
            save(
                tmp_path / "fer" / "train" / name / f"{number}.png",
                grey=30 * CLASSES.index(name) + number,
            )

    loaded = load(tmp_path / "fer")

    np.testing.assert_array_equal(loaded.images[:, 0, 0] // 30, loaded.labels)


def test_class_names_ignore_case_and_know_synonyms(tmp_path: Path) -> None:
    names = ("Anger", "DISGUST", "Fear", "Happiness", "sadness", "Surprised", "Neutral")
    for label, name in enumerate(names):
        for number in range(10):
            save(tmp_path / "fer" / "Train" / name / f"{number}.PNG", grey=30 * label + number)

    loaded = load(tmp_path / "fer")

    assert len(loaded) == 70
    np.testing.assert_array_equal(loaded.images[:, 0, 0] // 30, loaded.labels)


def test_unknown_class_folder_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    save_minimal_set(tmp_path / "fer")
    save(tmp_path / "fer" / "train" / "contempt" / "0.png")
    save(tmp_path / "fer" / "val" / "7" / "0.png")

    with pytest.raises(DataError) as caught:
        load(tmp_path / "fer")

    text = str(caught.value)
    assert f"{tmp_path}/fer/train/contempt: no known expression" in text
    assert f"{tmp_path}/fer/val/7: no known expression" in text
    assert "angry, disgust, fear" in text


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_is_close_to_the_original(suffix: str, faces: FaceSet, tmp_path: Path) -> None:
    write_folders(faces, tmp_path / "fer", suffix=suffix)

    loaded = load(tmp_path / "fer")

    numbers = [int(file.stem.partition("_")[2]) for file in sorted_files(tmp_path / "fer", suffix)]
    difference = np.abs(loaded.images.astype(int) - faces.images[numbers].astype(int))
    assert difference.mean() < 6
    np.testing.assert_array_equal(loaded.labels, faces.labels[numbers])


def sorted_files(root: Path, suffix: str) -> list[Path]:
    """In the reader's order: train before test, classes and names by the alphabet."""
    return [
        file for split in ("test", "train") for file in sorted((root / split).rglob(f"*{suffix}"))
    ]


def test_other_sizes_and_colours_are_converted_and_noted(tmp_path: Path) -> None:
    save_minimal_set(tmp_path / "fer")
    half = np.zeros((96, 96, 3), np.uint8)
    half[:, 48:] = 200
    save(tmp_path / "fer" / "train" / "angry" / "big.png", Image.fromarray(half))
    save(tmp_path / "fer" / "train" / "angry" / "small.png", Image.new("L", (24, 24), 77))
    save(
        tmp_path / "fer" / "train" / "angry" / "clear.png",
        Image.new("RGBA", (48, 48), (9, 9, 9, 128)),
    )

    loaded = load(tmp_path / "fer")

    big, clear, small = loaded.images[np.flatnonzero(loaded.labels == 0)]
    np.testing.assert_array_equal(big, half[::2, ::2, 0])
    assert (small == 77).all()
    assert (clear == 9).all()
    assert any("2 of 26 images were resized to 48x48" in note for note in loaded.notes)
    assert any("2 of 26 images were converted to grey" in note for note in loaded.notes)


def test_class_folders_without_splits_are_training_images(tmp_path: Path) -> None:
    save_minimal_set(tmp_path / "fer")

    loaded = load(tmp_path / "fer" / "train")

    assert len(loaded.indices("train")) == 20
    assert len(loaded.indices("val")) == 2


def test_the_only_inner_folder_is_looked_into(tmp_path: Path) -> None:
    save_minimal_set(tmp_path / "download" / "images")

    assert len(load(tmp_path / "download")) == 23


def test_unreadable_images_are_all_counted(tmp_path: Path) -> None:
    save_minimal_set(tmp_path / "fer")
    whole = (tmp_path / "fer" / "train" / "happy" / "1.png").read_bytes()
    for number in range(8):
        (tmp_path / "fer" / "train" / "sad" / f"bad{number}.png").write_bytes(
            whole[:60] if number else b"?"
        )

    with pytest.raises(DataError) as caught:
        load(tmp_path / "fer")

    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/fer: 8 malformed images; nothing was loaded.")
    assert f"{tmp_path}/fer/train/sad/bad0.png: is not an image" in text
    assert re.search(r"bad1.png: cannot be read \(.*\)", text)
    assert text.endswith("… and 3 more.")
    assert not list(tmp_path.glob("cache/*"))


@pytest.mark.parametrize("place", range(0, 150, 7))
def test_any_flipped_byte_of_an_image_is_an_error_or_an_image(place: int, tmp_path: Path) -> None:
    save_minimal_set(tmp_path / "fer")
    path = tmp_path / "fer" / "train" / "sad" / "0.png"
    save(path, Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)))
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0xFF
    path.write_bytes(content)

    try:
        outcome = f"{len(load(tmp_path / 'fer'))} images"
    except DataError as error:
        outcome = str(error)

    assert outcome == "23 images" or str(path) in outcome


def test_other_files_beside_images_are_noted(tmp_path: Path) -> None:
    save_minimal_set(tmp_path / "fer")
    (tmp_path / "fer" / "train" / "sad" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "fer" / "train" / "sad" / ".DS_Store").write_bytes(b"x")

    loaded = load(tmp_path / "fer")

    assert any("1 file is not named like an image; not used" in note for note in loaded.notes)


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / "fer" / "train" / name).mkdir(parents=True)

    with pytest.raises(DataError, match=r"fer: the class folders hold no images"):
        load(tmp_path / "fer")
