"""The cache serves a set only for the files it was read from, and never does harm."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_sweep.data import FaceSet, load_faces
from fer_sweep.data.cache import Fingerprint, load_or_build, take_fingerprint
from fer_sweep.data.faces import make_faces, write_csv, write_folders

SETTLED = Fingerprint("of some files", newest_ns=0)


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return replace(make_faces(100, seed=3), notes=("a note — with “quotes”",))


def never() -> FaceSet:
    raise AssertionError("the cache should have been used")


def cached_file(folder: Path) -> Path:
    (path,) = folder.glob("faces-*.bin")
    return path


def wait_until_settled(path: Path) -> None:
    """Let the clock pass the tick in which the file was written, as it has for any user."""
    deadline = time.monotonic() + 5
    while not take_fingerprint([path]).is_settled(time.time_ns()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_second_load_comes_from_the_cache_unchanged(faces: FaceSet, tmp_path: Path) -> None:
    first = load_or_build(tmp_path / "cache", "x", SETTLED, lambda: faces)
    second = load_or_build(tmp_path / "cache", "x", SETTLED, never)

    for loaded in (first, second):
        np.testing.assert_array_equal(loaded.images, faces.images)
        np.testing.assert_array_equal(loaded.labels, faces.labels)
        np.testing.assert_array_equal(loaded.splits, faces.splits)
        assert (loaded.source, loaded.key, loaded.notes) == (faces.source, faces.key, faces.notes)
    assert not second.images.flags.writeable
    assert second.images.flags.c_contiguous


def test_other_identity_is_another_set(faces: FaceSet, tmp_path: Path) -> None:
    other = make_faces(100, seed=4)
    load_or_build(tmp_path, "x", SETTLED, lambda: faces)

    loaded = load_or_build(tmp_path, "y", SETTLED, lambda: other)

    assert loaded.key == other.key
    assert load_or_build(tmp_path, "x", SETTLED, never).key == faces.key


def test_changed_source_replaces_the_cached_set(faces: FaceSet, tmp_path: Path) -> None:
    other = make_faces(100, seed=4)
    load_or_build(tmp_path, "x", SETTLED, lambda: faces)

    loaded = load_or_build(tmp_path, "x", Fingerprint("of other files", 0), lambda: other)

    assert loaded.key == other.key
    assert cached_file(tmp_path).is_file()


def test_csv_is_parsed_once(faces: FaceSet, tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    write_csv(faces, path)
    wait_until_settled(path)
    reported: list[float] = []
    for _ in range(3):
        load_faces(
            str(path), cache=tmp_path / "cache", progress=lambda done, text: reported.append(done)
        )

    assert reported == [1.0]


def test_folder_is_read_again_when_an_image_is_added(faces: FaceSet, tmp_path: Path) -> None:
    write_folders(faces, tmp_path / "fer", validation="val")
    before = load_faces(str(tmp_path / "fer"), cache=tmp_path / "cache")
    some = next((tmp_path / "fer").rglob("*.png"))
    some.with_name("copy.png").write_bytes(some.read_bytes())

    after = load_faces(str(tmp_path / "fer"), cache=tmp_path / "cache")

    assert len(after) == len(before) + 1
    assert after.key != before.key


def test_edit_that_keeps_size_and_time_is_noticed(faces: FaceSet, tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    write_csv(faces, path)
    wait_until_settled(path)
    before = load_faces(str(path), cache=tmp_path / "cache")
    status = path.stat()
    content = bytearray(path.read_bytes())
    first_label = content.index(b"\n") + 1
    content[first_label] = ord("0") + (content[first_label] - ord("0") + 1) % 7
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    after = load_faces(str(path), cache=tmp_path / "cache")

    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert after.labels[0] == (before.labels[0] + 1) % 7
    assert after.key != before.key


def test_a_file_written_while_it_was_read_is_not_trusted() -> None:
    now = 1_700_000_000_123_456_789

    assert not Fingerprint("x", newest_ns=now).is_settled(now + 10_000_000)
    assert Fingerprint("x", newest_ns=now).is_settled(now + 200_000_000)
    whole_seconds = now - now % 1_000_000_000
    assert not Fingerprint("x", newest_ns=whole_seconds).is_settled(whole_seconds + 1_500_000_000)
    assert Fingerprint("x", newest_ns=whole_seconds).is_settled(whole_seconds + 2_500_000_000)


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(place: float) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        position = int(place * len(content)) if place < 1 else int(place)
        return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]

    return change


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": truncate,
    "longer": lambda content: content + b"x",
    "magic": flip(0),
    "header length": flip(9),
    "header": flip(40),
    "first image": flip(5000),
    "labels": lambda content: flip(len(content) - 500)(content),
    "splits": lambda content: flip(len(content) - 50)(content),
    "something else": lambda content: b"PK\x03\x04" * 5000,
}


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_cache_is_rebuilt_with_a_note(
    change: Callable[[bytes], bytes], faces: FaceSet, tmp_path: Path
) -> None:
    load_or_build(tmp_path, "x", SETTLED, lambda: faces)
    path = cached_file(tmp_path)
    path.write_bytes(change(path.read_bytes()))

    loaded = load_or_build(tmp_path, "x", SETTLED, lambda: faces)

    np.testing.assert_array_equal(loaded.images, faces.images)
    assert loaded.notes[-1].startswith(f"{path}: the cached images were unusable (")
    assert load_or_build(tmp_path, "x", SETTLED, never).notes == faces.notes


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writes beyond ``size`` bytes fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_costs_a_note_and_leaves_nothing(faces: FaceSet, tmp_path: Path) -> None:
    with file_size_limit(100_000):
        loaded = load_or_build(tmp_path / "cache", "x", SETTLED, lambda: faces)

    assert os.strerror(errno.EFBIG) in loaded.notes[-1]
    assert "could not be cached" in loaded.notes[-1]
    np.testing.assert_array_equal(loaded.images, faces.images)
    assert not list((tmp_path / "cache").iterdir())


def test_cache_folder_that_cannot_be_made_costs_a_note(faces: FaceSet, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")

    loaded = load_or_build(tmp_path / "cache", "x", SETTLED, lambda: faces)

    assert "could not be cached" in loaded.notes[-1]
    assert len(loaded) == len(faces)


def test_leftovers_of_killed_processes_are_removed_when_old(faces: FaceSet, tmp_path: Path) -> None:
    load_or_build(tmp_path, "x", SETTLED, lambda: faces)
    name = cached_file(tmp_path).stem
    old, new = tmp_path / f".{name}-1-1.tmp", tmp_path / f".{name}-2-2.tmp"
    for leftover in (old, new):
        leftover.write_bytes(b"half")
    os.utime(old, (0, 0))

    load_or_build(tmp_path, "x", Fingerprint("changed", 0), lambda: faces)

    assert not old.exists()
    assert new.exists()


@pytest.mark.slow
def test_processes_that_start_together_all_get_the_set(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from fer_sweep.data import load_faces;"
        f"print(load_faces('faces:n=300', cache=Path({str(tmp_path / 'cache')!r})).images.sum())"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]

    outputs = [process.communicate(timeout=60)[0] for process in processes]

    assert all(process.returncode == 0 for process in processes)
    assert len(set(outputs)) == 1
    assert cached_file(tmp_path / "cache").is_file()
