"""Everything the server knows, in one database that several processes may share safely.

All state is in the database; a process keeps only its connections. Readers never wait, writers queue up
for a limited time, and whatever decides on what it has read does so in one write transaction.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from fer_sweep.errors import ServerError
from fer_sweep.server import postgresql, sqlite
from fer_sweep.server.database import Database, upsert
from fer_sweep.server.migrations import MIGRATIONS
from fer_sweep.server.tables import meta

_FULL_DISK = ("database or disk is full", "disk I/O error", "No space left on device")
KEY_LENGTH = 40
"""wandb wants at least 40 word characters, and reads a dash as the end of a prefix."""


class Store:
    """An open database.

    Args:
        database: A SQLite file, created with its folder if missing; or the ``postgresql://`` address of an
            existing database.
        files: The folder of run files; by default next to the SQLite file.
        mounts: The kernel's table of mounts, which tells the file system's type.

    Attributes:
        label: What to call the database in messages.
        path: The SQLite file; None for PostgreSQL.
        files: The folder of run files.
        api_key: The database's own key.

    Raises:
        ServerError: If the database cannot be used: network file system, read-only or full disk, not a
            database, unreachable, or written by a newer fersweep.
    """

    def __init__(
        self, database: Path | str, *, files: Path | None = None, mounts: Path = sqlite.MOUNTS
    ) -> None:
        self._database = _open_database(database, files, mounts)
        self.label = self._database.label
        self.path = getattr(self._database, "path", None)
        self.files = files or self._database.default_files
        try:
            self._database.prepare()
            self._migrate()
            self.api_key = self._load_or_create_key()
        except (OSError, DBAPIError) as error:
            self.close()
            raise ServerError(self._database.explain(error)) from error
        except ServerError:
            self.close()
            raise

    @contextmanager
    def reading(self, *, entity: str | None = None) -> Iterator[sa.Connection]:
        """One consistent view of the database; never waits for a writer.

        Args:
            entity: The only entity it may touch, see `fer_sweep.server.projects`; None: any.
        """
        with self._database.reading(entity=entity) as db:
            yield db

    @contextmanager
    def writing(self, *, entity: str | None = None) -> Iterator[sa.Connection]:
        """One transaction that nobody else's write can slip into; rolled back on any exception.

        Args:
            entity: The only entity it may touch, see `fer_sweep.server.projects`; None: any.
        """
        with self._database.writing(entity=entity) as db:
            yield db

    def close(self) -> None:
        """Close all connections."""
        self._database.engine.dispose()

    def _migrate(self) -> None:
        newest = len(MIGRATIONS)
        with self.writing() as db:
            db.exec_driver_sql(
                "CREATE TABLE IF NOT EXISTS meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)"
            )
            version = int(_read_meta(db, "schema_version") or 0)
            if version > newest:
                raise ServerError(
                    f"{self.label}: written by a newer fersweep (schema version {version}, this one "
                    f"knows {newest}). Upgrade fersweep, or use another folder with --home."
                )
            for number in range(version, newest):
                for statement in MIGRATIONS[number]:
                    db.exec_driver_sql(self._database.translate(statement))
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


def is_busy(error: DBAPIError) -> bool:
    """Whether the database was held for too long or restarts: the same request may succeed later."""
    return sqlite.is_busy(error) or postgresql.is_busy(error)


def is_full(error: DBAPIError) -> bool:
    """Whether there was no space left on the disk: the same request may succeed later."""
    return any(text in str(error.orig) for text in _FULL_DISK)


def _open_database(database: Path | str, files: Path | None, mounts: Path) -> Database:
    if isinstance(database, Path):
        return sqlite.SQLite(database, mounts=mounts)
    if database.startswith("sqlite:///"):
        return sqlite.SQLite(Path(database.removeprefix("sqlite:///")), mounts=mounts)
    if postgresql.is_url(database):
        return postgresql.PostgreSQL(database, files=files or Path("fersweep.files").absolute())
    if "://" in database:
        raise ServerError(
            f"--db: not a database fersweep knows (got {database.partition(':')[0]}:). "
            f"Write {postgresql.EXAMPLE}, or the path of a SQLite file."
        )
    return sqlite.SQLite(Path(database), mounts=mounts)


def _read_meta(db: sa.Connection, key: str) -> str | None:
    return db.scalar(sa.select(meta.c.value).where(meta.c.key == key))


def _write_meta(db: sa.Connection, key: str, value: str) -> None:
    db.execute(upsert(db, meta), {"key": key, "value": value})
