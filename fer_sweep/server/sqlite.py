"""A SQLite file, safely shared by several processes: readers never wait (WAL), writers queue up."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from fer_sweep.errors import ServerError
from fer_sweep.server.database import BUSY_TIMEOUT_S

NETWORK_FILESYSTEMS = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ncpfs",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.rclone",
    ]
)
MOUNTS = Path("/proc/self/mountinfo")


class SQLite:
    """A database in one file.

    Args:
        path: The file; created, with its folder, if missing.
        mounts: The kernel's table of mounts, which tells the file system's type.

    Raises:
        ServerError: If the file is, or would be, on a network file system.
    """

    def __init__(self, path: Path, *, mounts: Path = MOUNTS) -> None:
        self.path = path.absolute()
        self.label = str(self.path)
        self.default_files = self.path.with_name(self.path.name + ".files")
        _check_filesystem(self.path, mounts)
        self.engine = _create_engine(self.path)
        self._turn = threading.Lock()

    def prepare(self) -> None:
        """Create the file: nobody else on the machine may read it, nor SQLite's side files."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))

    @contextmanager
    def reading(self, **options: object) -> Iterator[sa.Connection]:
        """One consistent view; never waits for a writer."""
        with self.engine.connect().execution_options(**options) as db, db.begin():
            yield db

    @contextmanager
    def writing(self, **options: object) -> Iterator[sa.Connection]:
        """One ``BEGIN IMMEDIATE`` transaction.

        The threads of this process take turns first. SQLite lets a second writer poll with pauses of up
        to 0.1 s, which is right between processes and needlessly slow within one.
        """
        if not self._turn.acquire(timeout=BUSY_TIMEOUT_S):
            waited = sqlite3.OperationalError("database is locked by a request before this one")
            raise OperationalError("BEGIN IMMEDIATE", None, waited)
        try:
            options = {"begin": "IMMEDIATE", **options}
            with self.engine.connect().execution_options(**options) as db, db.begin():
                yield db
        finally:
            self._turn.release()

    def translate(self, ddl: str) -> str:
        """Migrations are written for SQLite."""
        return ddl

    def explain(self, error: OSError | DBAPIError) -> str:
        """What is wrong and how to fix it."""
        if isinstance(error, OSError):
            return (
                f"{self.label}: cannot be created ({error.strerror}). "
                "Use a folder you can write to: --home PATH, or set FERSWEEP_DIR."
            )
        reason = str(error.orig)
        if "not a database" in reason or "malformed" in reason:
            return f"{self.label}: {reason}. Move the file away, or use another folder with --home."
        if "full" in reason or "disk I/O" in reason:
            return f"{self.label}: {reason}. Free some space, or use another disk with --home."
        if "readonly" in reason or "unable to open" in reason:
            return f"{self.label}: cannot be written ({reason}). Use a folder you can write to with --home."
        if is_busy(error):
            return f"{self.label}: another program holds it locked for over {BUSY_TIMEOUT_S:.0f} s. Stop that program."
        return f"{self.label}: {reason}. Use another folder with --home."


def is_busy(error: DBAPIError) -> bool:
    """Whether other writers held the file for too long: the same request may succeed later."""
    return isinstance(error.orig, sqlite3.OperationalError) and "locked" in str(error.orig)


def _create_engine(path: Path) -> sa.Engine:
    # The default pool would do, but its 5 + 10 connections are fewer than the server's 40 threads.
    engine = sa.create_engine(
        f"sqlite:///{path}", poolclass=QueuePool, pool_size=5, max_overflow=40
    )

    def connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        connection.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")

    def begin(db: sa.Connection) -> None:
        db.exec_driver_sql(f"BEGIN {db.get_execution_options().get('begin', 'DEFERRED')}")

    sa.event.listen(engine, "connect", connect)
    sa.event.listen(engine, "begin", begin)
    return engine


def _check_filesystem(path: Path, mounts: Path) -> None:
    kind = _filesystem_type(path, mounts)
    if kind in NETWORK_FILESYSTEMS:
        raise ServerError(
            f"{path}: on a network file system ({kind}), where SQLite's locks do not hold. "
            "Use a folder on a local disk: --home /tmp/fersweep, or set FERSWEEP_DIR."
        )


def _filesystem_type(path: Path, mounts: Path) -> str | None:
    """The type of the file system that ``path`` is (or will be) on; None where Linux does not tell."""
    try:
        table = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    best, kind = -1, None
    for line in table:
        left, _, right = line.partition(" - ")
        # mountinfo writes spaces and tabs in names as octal escapes
        point = Path(left.split()[4].replace("\\040", " ").replace("\\011", "\t"))
        if path.resolve().is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split()[0]
    return kind
