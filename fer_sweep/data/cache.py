"""Keep a loaded set in one file that the next process maps into memory instead of parsing again.

A cached set is served only for the very files it was read from: same size, times and sampled content,
and not changed in the clock tick in which it was read. A damaged or stale file is rebuilt; a cache that
cannot be written costs time, never the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

import fer_sweep
from fer_sweep.data.faceset import PIXELS, SIDE, FaceSet

FORMAT = 1
"""Raise it when the layout below, or what a reader makes of the same file, changes."""

_MAGIC = b"FERSWEEP"
_PAGE = 4096
_ABANDONED_S = 3600


@dataclass(frozen=True)
class Fingerprint:
    """The state of the files a set is read from, cheap enough to take at every start.

    Attributes:
        digest: Hash of names, sizes, times and some content.
        newest_ns: When the youngest file last changed, nanoseconds since 1970; 0 without files.
    """

    digest: str
    newest_ns: int

    def is_settled(self, read_start_ns: int) -> bool:
        """Whether a read that began then cannot have missed a change with the same time stamp.

        A write just after the read may fall in the same tick and keep the size. Ticks are milliseconds,
        but 1 or 2 s on the file systems that store whole seconds.
        """
        tick_ns = 2_000_000_000 if self.newest_ns % 1_000_000_000 == 0 else 100_000_000
        return read_start_ns > self.newest_ns + tick_ns


def take_fingerprint(files: Sequence[Path], extra: str = "") -> Fingerprint:
    """Look at ``files`` without reading them whole.

    Args:
        files: The files of the source. Of up to four, some content is hashed as well.
        extra: Whatever else the set depends on.

    Raises:
        OSError: If a file is gone.
    """
    digest = hashlib.blake2b(f"{fer_sweep.__version__} {FORMAT} {extra}".encode(), digest_size=16)
    newest_ns = 0
    for file in files:
        status = file.stat()
        # The change time cannot be set by hand, unlike the modification time that archives restore.
        newest_ns = max(newest_ns, status.st_ctime_ns)
        digest.update(
            f"{file}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}".encode()
        )
        if len(files) <= 4:
            digest.update(_sample(file, status.st_size))
    return Fingerprint(digest.hexdigest(), newest_ns)


def load_or_build(
    folder: Path, identity: str, fingerprint: Fingerprint, build: Callable[[], FaceSet]
) -> FaceSet:
    """Serve a set from the cache, or build it and put it there.

    Args:
        folder: Where the cache lives; made if missing.
        identity: Which source and options; a newer set of the same identity replaces the older file.
        fingerprint: The state of the source now.
        build: Reads the source.

    Returns:
        The set, its images mapped read-only where possible, with a note if the cache is unusable.
    """
    name = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
    path = folder / f"faces-{name}.bin"
    try:
        return _read(path, fingerprint)
    except FileNotFoundError:
        damage = ""
    except _StaleError:
        damage = ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        damage = f"{path}: the cached images were unusable ({error}) and were built again."
    read_start_ns = time.time_ns()
    faces = build()
    notes = (*faces.notes, damage) if damage else faces.notes
    try:
        _write(path, faces, fingerprint, read_start_ns)
        return replace(_read(path), notes=notes)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        unusable = f"{path}: could not be cached ({reason}); every start reads the source again."
        return replace(faces, notes=(*notes, unusable))


class _StaleError(Exception):
    """The cached set was read from another state of the source."""


def _sample(file: Path, size: int) -> bytes:
    """The head, the tail and 32 pages in between."""
    with file.open("rb") as stream:
        parts = [stream.read(16 * _PAGE)]
        for position in (size * part // 33 for part in range(1, 33)):
            stream.seek(position)
            parts.append(stream.read(_PAGE))
        stream.seek(max(0, size - 16 * _PAGE))
        parts.append(stream.read())
    return b"".join(parts)


def _write(path: Path, faces: FaceSet, fingerprint: Fingerprint, read_start_ns: int) -> None:
    """Write aside and rename: no reader ever sees half a file, and no failure leaves one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}-{time.monotonic_ns()}.tmp")
    header = {
        "fingerprint": fingerprint.digest,
        "newest_ns": fingerprint.newest_ns,
        "read_start_ns": read_start_ns,
        "n": len(faces),
        "source": faces.source,
        "key": faces.key,
        "notes": faces.notes,
        "votes": faces.votes is not None,
        "crc": _checksum(faces.images, faces.labels, faces.splits, faces.votes),
    }
    text = json.dumps(header).encode()
    try:
        with temporary.open("wb") as stream:
            stream.write(_MAGIC + struct.pack("<II", len(text), zlib.crc32(text)) + text)
            stream.write(b"\0" * (-stream.tell() % _PAGE))
            for array in (faces.images, faces.labels, faces.splits, faces.votes):
                if array is not None:
                    stream.write(np.ascontiguousarray(array).data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _remove_abandoned(path: Path) -> None:
    """Delete what a killed process left half-written."""
    for leftover in path.parent.glob(f".{path.stem}-*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_S:
                leftover.unlink()


def _read(path: Path, fingerprint: Fingerprint | None = None) -> FaceSet:
    """Map a cached set; with a fingerprint, only if it was read from that state of the source."""
    with path.open("rb") as stream:
        header = _read_header(stream)
        offset = stream.tell() + (-stream.tell() % _PAGE)
    if fingerprint is not None:
        settled = fingerprint.is_settled(header["read_start_ns"])
        if header["fingerprint"] != fingerprint.digest or not settled:
            raise _StaleError
    n, has_votes = header["n"], header["votes"]
    size = offset + n * (PIXELS + 8 + 1 + 10 * has_votes)
    if path.stat().st_size != size:
        raise ValueError(f"{path.stat().st_size} bytes where {size} belong")
    mapped: NDArray[np.uint8] = np.memmap(path, np.uint8, "r", offset).view(np.ndarray)
    ends = np.cumsum([n * PIXELS, n * 8, n, n * 10])
    images = mapped[: ends[0]].reshape(n, SIDE, SIDE)
    # The small arrays are copied: they stay valid and aligned whatever becomes of the file.
    labels = mapped[ends[0] : ends[1]].copy().view(np.int64)
    splits = mapped[ends[1] : ends[2]].copy()
    votes = mapped[ends[2] : ends[3]].reshape(n, 10).copy() if has_votes else None
    if _checksum(images, labels, splits, votes) != header["crc"]:
        raise ValueError("the checksum differs")
    return FaceSet(
        images, labels, splits, header["source"], header["key"], tuple(header["notes"]), votes
    )


def _read_header(stream: BinaryIO) -> dict[str, Any]:
    start = stream.read(len(_MAGIC) + 8)
    if len(start) != len(_MAGIC) + 8 or not start.startswith(_MAGIC):
        raise ValueError("not a cache file")
    length, crc = struct.unpack("<II", start[len(_MAGIC) :])
    text = stream.read(length)
    if len(text) != length or zlib.crc32(text) != crc:
        raise ValueError("the header is damaged")
    header: dict[str, Any] = json.loads(text)
    return header


def _checksum(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    splits: NDArray[np.uint8],
    votes: NDArray[np.uint8] | None,
) -> int:
    """A check of all small arrays and of every 64th image.

    Renaming already keeps truncated files out; checking all 83 MB of FER2013 would cost more than
    reading it.
    """
    crc = zlib.crc32(np.ascontiguousarray(images[::64]).data)
    for array in (labels, splits, votes):
        if array is not None:
            crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return crc
