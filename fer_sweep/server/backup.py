"""Backup and restore of a SQLite store: one tar file with the database and the files of all runs.

The database is copied by SQLite's online backup, so it is one consistent moment although runs go on
logging. Restoring unpacks beside the old database, checks, and only then puts the new one in its place;
the old one is kept.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fer_sweep.errors import ConfigError, ServerError
from fer_sweep.server.files import is_partial
from fer_sweep.server.migrations import MIGRATIONS

FORMAT = 1
_MANIFEST, _DATABASE, _FILES = "fersweep-backup.json", "server.sqlite", "files"
_SIDE_FILES = ("-wal", "-shm")


@dataclass(frozen=True)
class Content:
    """What a backup holds.

    Attributes:
        runs: Number of runs.
        files: Number of files of runs.
        kept: Where a restore has put the database it replaced, if there was one.
    """

    runs: int
    files: int
    kept: Path | None = None


def write_backup(database: Path, target: Path, *, replace: bool = False) -> Content:
    """Write a backup; ``target`` appears complete or not at all.

    Args:
        database: The SQLite file; a server may be using it.
        target: The tar file.
        replace: Whether ``target`` may exist.

    Raises:
        ConfigError: If there is no database, or ``target`` exists.
        ServerError: If the database is damaged, or the disk is full.
    """
    if not database.is_file():
        raise ConfigError(f"{database}: no database to back up. Choose its folder with --home.")
    if target.exists() and not replace:
        raise ConfigError(f"{target}: exists. Choose another name, or replace it with --force.")
    with _explained(target), _temporary_beside(target) as folder:
        copy = folder / _DATABASE
        _copy_database(database, copy)
        version, runs = _check_database(copy)
        part = folder / "backup.tar"
        with tarfile.open(part, "w") as tar:
            _add_bytes(tar, _MANIFEST, json.dumps({"format": FORMAT, "schema": version}).encode())
            tar.add(copy, _DATABASE)
            files = _add_files(tar, database.with_name(database.name + ".files"))
        _make_durable(part)
        part.replace(target)
    return Content(runs, files)


def restore_backup(source: Path, database: Path, *, replace: bool = False) -> Content:
    """Put a backup in place of a database; at no moment is the old one lost.

    Args:
        source: A file that `write_backup` wrote.
        database: The SQLite file to create.
        replace: Whether there may be one; it is moved aside, with its run files.

    Raises:
        ConfigError: If ``source`` is no backup, or a database is there and may not be replaced.
        ServerError: If the backup is damaged or newer than this fersweep, a server is using the
            database, or the disk is full.
    """
    if not source.is_file():
        raise ConfigError(f"{source}: no such file. Name a file that `fersweep backup` wrote.")
    if database.exists() and not replace:
        raise ConfigError(
            f"{database}: there is a database already. Choose another --home, or replace it with --force."
        )
    with _explained(database):
        database.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_beside(database) as folder:
            _unpack(source, folder)
            copy = folder / _DATABASE
            _, runs = _check_database(copy)
            copy.chmod(0o600)
            _make_durable(copy)
            files = sum(path.is_file() for path in (folder / _FILES).rglob("*"))
            kept = _move_aside(database) if database.exists() else None
            try:
                _move_in(folder, database)
            except OSError:
                if kept is not None:
                    _move_back(kept, database)
                raise
    return Content(runs, files, kept)


def _copy_database(source: Path, target: Path) -> None:
    with closing(_connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)  # in one step: in steps, a busy server would make it start over each time
        new.execute("PRAGMA journal_mode = DELETE")  # one file, without side files
    target.chmod(0o600)


def _connect(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True, timeout=30)


def _check_database(copy: Path) -> tuple[int, int]:
    """The schema version of a copied database and its number of runs.

    Raises:
        ServerError: If it is damaged, or newer than this fersweep.
    """
    with closing(sqlite3.connect(copy)) as db:
        problems = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
        if problems != ["ok"]:
            raise ServerError(
                f"the database in the backup is damaged ({problems[0]}). Use another backup."
            )
        version = int(
            db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0]
        )
        if version > len(MIGRATIONS):
            raise ServerError(
                f"the backup was written by a newer fersweep (schema version {version}, this one knows "
                f"{len(MIGRATIONS)}). Upgrade fersweep."
            )
        return version, db.execute("SELECT count(*) FROM runs").fetchone()[0]


def _add_files(tar: tarfile.TarFile, folder: Path) -> int:
    """Add the files of all runs; one that vanishes meanwhile was deleted, and is left out."""
    count = 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or is_partial(path):
            continue
        try:
            tar.add(path, f"{_FILES}/{path.relative_to(folder).as_posix()}", recursive=False)
        except FileNotFoundError:
            continue
        count += 1
    return count


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _unpack(source: Path, folder: Path) -> None:
    """Unpack a backup; a member that would land elsewhere, or is a link, is refused.

    Raises:
        ConfigError: If the file is no backup.
    """
    try:
        with tarfile.open(source, "r:") as tar:
            manifest = tar.extractfile(_MANIFEST)
            described = json.loads(manifest.read()) if manifest else {}
            if described.get("format") != FORMAT:
                raise ValueError(f"format {described.get('format')}")
            for member in tar:
                if not (member.isfile() or member.isdir()):
                    raise ValueError(f"{member.name} is no plain file")
                tar.extract(member, folder, filter="data")
    except (tarfile.TarError, KeyError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{source}: not a complete backup ({error}). Name a file that `fersweep backup` wrote."
        ) from error
    if not (folder / _DATABASE).is_file():
        raise ConfigError(f"{source}: has no database. Name a file that `fersweep backup` wrote.")
    (folder / _FILES).mkdir(exist_ok=True)
    (folder / _FILES).chmod(0o700)


def _move_aside(database: Path) -> Path:
    """Move a database and its run files into a folder beside it.

    Raises:
        ServerError: If a server is using it.
    """
    _check_unused(database)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    kept = Path(tempfile.mkdtemp(prefix=f"before-restore-{stamp}-", dir=database.parent))
    for path in (*_parts(database), database.with_name(database.name + ".files")):
        if path.exists():
            path.rename(kept / path.name)
    return kept


def _move_back(kept: Path, database: Path) -> None:
    for path in kept.iterdir():
        there = database.with_name(path.name)
        if there.is_dir():
            shutil.rmtree(there)
        path.rename(there)
    kept.rmdir()


def _move_in(folder: Path, database: Path) -> None:
    """Files first: a database whose files are missing must never be seen."""
    files = database.with_name(database.name + ".files")
    if files.exists():  # left behind by a database that is gone: not ours to delete
        raise FileExistsError(17, "there are run files without a database; move them away", files)
    (folder / _FILES).rename(files)
    try:
        (folder / _DATABASE).rename(database)
    except OSError:
        shutil.rmtree(files)
        raise


def _check_unused(database: Path) -> None:
    """Take the file for ourselves for a moment: that fails while a server has it open.

    Raises:
        ServerError: If one has.
    """
    try:
        with closing(sqlite3.connect(database, timeout=0.5, isolation_level=None)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            mode = db.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if "locked" not in str(error):
            return  # damaged: then nobody uses it, and it is what the backup is for
        mode = "wal"
    if mode != "delete":
        raise ServerError(f"{database}: a server is using it. Stop `fersweep serve` first.")


def _parts(database: Path) -> list[Path]:
    return [database, *(database.with_name(database.name + side) for side in _SIDE_FILES)]


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """A private folder on the same disk, so that moving out of it is one step."""
    folder = Path(tempfile.mkdtemp(prefix=".fersweep-", dir=path.absolute().parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.DatabaseError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ServerError(f"{path}: cannot be written ({reason}). Nothing was changed.") from error


def _make_durable(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
