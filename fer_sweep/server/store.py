"""One SQLite file that holds everything the server knows, safely shared by several processes.

All state is in the file; a process keeps only its connections. Readers never wait (WAL), writers queue
up for at most `BUSY_TIMEOUT_S`, and whatever decides on what it has read does so in one write transaction.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import QueuePool

from fer_sweep.errors import ServerError
from fer_sweep.server.migrations import MIGRATIONS
from fer_sweep.server.tables import meta

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another process's transaction; a bayes proposal takes about 1 s."""
KEY_LENGTH = 40
"""wandb wants at least 40 word characters, and reads a dash as the end of a prefix."""
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
_MOUNTS = Path("/proc/self/mountinfo")


class Store:
    """An open database.

    Args:
        database: The SQLite file; created, with its folder, if missing.
        mounts: The kernel's table of mounts, which tells the file system's type.

    Raises:
        ServerError: If the file cannot be used: network file system, read-only or full disk, not a
            database, or written by a newer fersweep.
    """

    def __init__(self, database: Path, *, mounts: Path = _MOUNTS) -> None:
        self.database = database.absolute()
        _check_filesystem(self.database, mounts)
        self._engine = _create_engine(self.database)
        try:
            _create_private_file(self.database)
            self._migrate()
            self.api_key = self._load_or_create_key()
        except (OSError, DatabaseError) as error:
            self.close()
            raise ServerError(_explain(self.database, error)) from error
        except ServerError:
            self.close()
            raise

    @property
    def files(self) -> Path:
        """The folder of run files, next to the database."""
        return self.database.with_name(self.database.name + ".files")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent view of the database; never waits for a writer."""
        with self._engine.connect() as db, db.begin():
            yield db

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that nobody else's write can slip into; rolled back on any exception."""
        with self._engine.connect().execution_options(begin="IMMEDIATE") as db, db.begin():
            yield db

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _migrate(self) -> None:
        newest = len(MIGRATIONS)
        with self.writing() as db:
            db.exec_driver_sql(
                "CREATE TABLE IF NOT EXISTS meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)"
            )
            version = int(_read_meta(db, "schema_version") or 0)
            if version > newest:
                raise ServerError(
                    f"{self.database}: written by a newer fersweep (schema version {version}, this one "
                    f"knows {newest}). Upgrade fersweep, or use another folder with --home."
                )
            for number in range(version, newest):
                for statement in MIGRATIONS[number]:
                    db.exec_driver_sql(statement)
            # Written even when nothing changed: a disk that is full or read-only shows now, not mid-sweep.
            _write_meta(db, "schema_version", str(newest))

    def _load_or_create_key(self) -> str:
        with self.writing() as db:
            key = _read_meta(db, "api_key")
            if key is None:
                alphabet = string.ascii_letters + string.digits
                key = "".join(secrets.choice(alphabet) for _ in range(KEY_LENGTH))
                _write_meta(db, "api_key", key)
            return key


def is_busy(error: DatabaseError) -> bool:
    """Whether another process held the database for too long: the same request may succeed later."""
    return isinstance(error.orig, sqlite3.OperationalError) and "locked" in str(error.orig)


def _create_engine(database: Path) -> sa.Engine:
    # The default pool would do, but its 5 + 10 connections are fewer than the server's 40 threads.
    engine = sa.create_engine(
        f"sqlite:///{database}", poolclass=QueuePool, pool_size=5, max_overflow=40
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


def _create_private_file(database: Path) -> None:
    """Nobody else on the machine may read the key; SQLite gives its side files the same mode."""
    database.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))


def _read_meta(db: sa.Connection, key: str) -> str | None:
    return db.scalar(sa.select(meta.c.value).where(meta.c.key == key))


def _write_meta(db: sa.Connection, key: str, value: str) -> None:
    row = insert(meta).values(key=key, value=value)
    db.execute(row.on_conflict_do_update(index_elements=["key"], set_={"value": value}))


def _check_filesystem(database: Path, mounts: Path) -> None:
    kind = _filesystem_type(database, mounts)
    if kind in NETWORK_FILESYSTEMS:
        raise ServerError(
            f"{database}: on a network file system ({kind}), where SQLite's locks do not hold. "
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


def _explain(database: Path, error: OSError | DatabaseError) -> str:
    if isinstance(error, OSError):
        return (
            f"{database}: cannot be created ({error.strerror}). "
            "Use a folder you can write to: --home PATH, or set FERSWEEP_DIR."
        )
    reason = str(error.orig)
    if "not a database" in reason or "malformed" in reason:
        return f"{database}: {reason}. Move the file away, or use another folder with --home."
    if "full" in reason or "disk I/O" in reason:
        return f"{database}: {reason}. Free some space, or use another disk with --home."
    if "readonly" in reason or "unable to open" in reason:
        return (
            f"{database}: cannot be written ({reason}). Use a folder you can write to with --home."
        )
    if is_busy(error):
        return f"{database}: another program holds it locked for over {BUSY_TIMEOUT_S:.0f} s. Stop that program."
    return f"{database}: {reason}. Use another folder with --home."
