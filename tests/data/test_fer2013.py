"""Kaggle's CSV files, as they come and as they get damaged."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_sweep.data import FaceSet, load_faces
from fer_sweep.data.faces import make_faces, write_csv
from fer_sweep.data.fer2013 import read_csv
from fer_sweep.errors import DataError


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return make_faces(100, seed=3)


@pytest.fixture
def csv_file(faces: FaceSet, tmp_path: Path) -> Path:
    path = tmp_path / "fer2013.csv"
    write_csv(faces, path)
    return path


def load(path: Path) -> FaceSet:
    return load_faces(str(path), cache=path.parent / "cache")


def assert_same(loaded: FaceSet, faces: FaceSet) -> None:
    np.testing.assert_array_equal(loaded.images, faces.images)
    np.testing.assert_array_equal(loaded.labels, faces.labels)
    np.testing.assert_array_equal(loaded.splits, faces.splits)


def test_fer2013_csv_has_the_published_columns_and_usages(csv_file: Path) -> None:
    lines = csv_file.read_text().splitlines()

    assert lines[0] == "emotion,pixels,Usage"
    assert re.fullmatch(r"[0-6],(\d{1,3} ){2303}\d{1,3},Training", lines[1])
    assert {line.rpartition(",")[2] for line in lines[1:]} == {
        "Training",
        "PublicTest",
        "PrivateTest",
    }


def test_fer2013_csv_comes_back_as_it_was(csv_file: Path, faces: FaceSet) -> None:
    assert_same(load(csv_file), faces)


def test_icml_header_with_leading_spaces_is_understood(faces: FaceSet, tmp_path: Path) -> None:
    path = tmp_path / "icml_face_data.csv"
    write_csv(faces, path, layout="icml")

    assert path.read_bytes().startswith(b"emotion, Usage, pixels\n")
    assert_same(load(path), faces)


def test_the_same_faces_have_the_same_key_in_both_files(csv_file: Path, faces: FaceSet) -> None:
    icml = csv_file.with_name("icml_face_data.csv")
    write_csv(faces, icml, layout="icml")

    assert load(csv_file).key == load(icml).key


VARIANTS: dict[str, Callable[[bytes], bytes]] = {
    "crlf": lambda text: text.replace(b"\n", b"\r\n"),
    "byte-order mark": lambda text: b"\xef\xbb\xbf" + text,
    "no newline at the end": lambda text: text.rstrip(b"\n"),
    "blank lines at the end": lambda text: text + b"\n\r\n",
    "quoted pixels": lambda text: re.sub(rb",([\d ]+),", rb',"\1",', text),
    "everything quoted": lambda text: re.sub(rb"([^,\n]+)", rb'"\1"', text),
    "spaces around fields": lambda text: text.replace(b",", b" , ").replace(b"\n", b" \n"),
    "two spaces between pixels": lambda text: text.replace(b"1 ", b"1  "),
    "leading zeros": lambda text: re.sub(rb" (\d) ", rb" 00\1 ", text),
    "more leading zeros": lambda text: re.sub(rb" (\d) ", rb" 0000\1 ", text),
    "an index column": lambda text: re.sub(rb"(?m)^", rb"7,", text).removesuffix(b"7,"),
}


@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS.keys())
def test_harmless_variants_read_the_same(
    change: Callable[[bytes], bytes], csv_file: Path, faces: FaceSet
) -> None:
    changed = change(csv_file.read_bytes())
    assert changed != csv_file.read_bytes()
    csv_file.write_bytes(changed)

    assert_same(load(csv_file), faces)


def test_files_larger_than_one_chunk_keep_their_order(
    faces: FaceSet, csv_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chunk in (1000, 9_999, 50_000):
        monkeypatch.setattr("fer_sweep.data.fer2013._CHUNK", chunk)

        rows = read_csv(csv_file)

        np.testing.assert_array_equal(rows.images, faces.images)
        np.testing.assert_array_equal(rows.labels, faces.labels)


def break_line(path: Path, line: int, change: Callable[[str], str]) -> None:
    lines = path.read_text().split("\n")
    lines[line - 1] = change(lines[line - 1])
    path.write_text("\n".join(lines))


def drop_pixel(line: str) -> str:
    return re.sub(r",\d+ ", ",", line, count=1)


DAMAGES: dict[str, tuple[Callable[[str], str], str]] = {
    "a pixel too few": (drop_pixel, "has 2303 pixels instead of 2304"),
    "a pixel too many": (
        lambda line: line.replace(",", ",7 ", 1),
        "has 2305 pixels instead of 2304",
    ),
    "pixel above 255": (
        lambda line: line.replace(",", ",256 ", 1),
        "pixel 1 is '256', not a whole number",
    ),
    "pixel far above 255": (lambda line: line.replace(",", ",70000 ", 1), "pixel 1 is '70000'"),
    "negative pixel": (lambda line: re.sub(r",\d+ ", ",-1 ", line, count=1), "pixel 1 is '-1'"),
    "fractional pixel": (
        lambda line: re.sub(r",\d+ ", ",0.5 ", line, count=1),
        r"pixel 1 is '0\.5'",
    ),
    "word for a pixel": (lambda line: re.sub(r" \d+,", " nan,", line), "pixel 2304 is 'nan'"),
    "label 9": (lambda line: "9" + line[1:], "emotion '9' is outside 0 to 6"),
    "negative label": (lambda line: "-1" + line[1:], "emotion '-1' is outside 0 to 6"),
    "label by name": (
        lambda line: "happy" + line[1:],
        "emotion 'happy' is not a whole number from 0 to 6",
    ),
    "no label": (lambda line: line[1:], "emotion '' is not a whole number"),
    "unknown usage": (
        lambda line: line.replace("Training", "Validation"),
        "Usage 'Validation' is not one of Training, PublicTest, PrivateTest",
    ),
    "a column too few": (
        lambda line: line.rpartition(",")[0],
        "has 2 columns where the header has 3",
    ),
    "a column too many": (lambda line: line + ",1", "has 4 columns where the header has 3"),
    "an empty line": (lambda line: "", "the line is empty"),
    "not text": (lambda line: "\x00\x01 é", "has 1 columns where the header has 3"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_malformed_row_names_file_line_and_what(
    change: Callable[[str], str], message: str, csv_file: Path, tmp_path: Path
) -> None:
    break_line(csv_file, 4, change)

    with pytest.raises(DataError, match=re.escape(f"{csv_file}:4: ") + message) as caught:
        load(csv_file)

    assert str(caught.value).startswith(f"{csv_file}: 1 malformed row; nothing was loaded.")
    assert not list(tmp_path.glob("cache/*"))


def test_all_malformed_rows_are_counted_and_the_first_five_shown(csv_file: Path) -> None:
    for line in range(10, 22):
        break_line(csv_file, line, drop_pixel if line % 2 else lambda text: "9" + text[1:])

    with pytest.raises(DataError) as caught:
        load(csv_file)

    text = str(caught.value)
    assert "12 malformed rows" in text
    assert [int(number) for number in re.findall(r"csv:(\d+):", text)] == [10, 11, 12, 13, 14]
    assert text.endswith("… and 7 more.")


@pytest.mark.parametrize(
    "cut", [3, 300, 9000], ids=["in the usage", "in the pixels", "in the row before"]
)
def test_truncated_file_is_an_error_that_says_so(cut: int, csv_file: Path) -> None:
    csv_file.write_bytes(csv_file.read_bytes()[:-cut])
    last_line = csv_file.read_bytes().count(b"\n") + 1

    with pytest.raises(
        DataError, match=rf"{re.escape(str(csv_file))}:{last_line}: .*ends inside this line"
    ):
        load(csv_file)


WRONG_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "only spaces": (b" \n\n", "the file is empty"),
    "only a header": (b"emotion,pixels,Usage\n", "has a header but no rows"),
    "zip": (b"PK\x03\x04\x14\0\0\0", "a zip archive: unzip it"),
    "gzip": (b"\x1f\x8b\x08\0\0", "a gzip archive: unpack it"),
    "image": (b"\x89PNG\r\n\x1a\n", "an image: give the folder"),
    "utf-16": ("emotion,pixels".encode("utf-16"), "UTF-16 text: save it as UTF-8"),
    "binary": (bytes(range(256)) * 8, "binary data"),
    "no header": (
        b"0,70 80 82,Training\n",
        "csv:1: no column named pixels .got '0,70 80 82,Training'",
    ),
    "semicolons": (b"emotion;pixels;Usage\n0;1;Training\n", "Separate the columns with commas"),
    "web page": (b"<!doctype html><html>" + b"x" * 9000, "no column named pixels"),
}


@pytest.mark.parametrize(("content", "message"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_wrong_file_says_what_it_is_and_what_to_give(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_bytes(content)

    with pytest.raises(DataError, match=message) as caught:
        load(path)

    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_progress_reaches_the_end(csv_file: Path) -> None:
    seen: list[float] = []

    read_csv(csv_file, seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == 1.0
