"""What the store asks of the database underneath it; `sqlite` and `postgresql` answer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for the transactions before it; a bayes proposal takes about 1 s."""


class Database(Protocol):
    """One kind of database.

    Attributes:
        label: What to call it in messages; never has the password.
        engine: Its connections.
        default_files: The folder of run files, unless the user names one.
    """

    label: str
    engine: sa.Engine
    default_files: Path

    def prepare(self) -> None:
        """Make it ready for the first connection.

        Raises:
            OSError: If its file cannot be created.
        """

    def reading(self, **options: object) -> AbstractContextManager[sa.Connection]:
        """One consistent view, with these execution options; never waits for a writer."""

    def writing(self, **options: object) -> AbstractContextManager[sa.Connection]:
        """One transaction that nobody else's write can slip into, in this process or another."""

    def translate(self, ddl: str) -> str:
        """Put a statement of `fer_sweep.server.migrations`, which is SQLite's, into its own words."""

    def explain(self, error: OSError | DBAPIError) -> str:
        """What is wrong and how to fix it, for a person who starts the server."""


def upsert(db: sa.Connection, table: sa.Table) -> sa.Insert:
    """An insert of rows that replaces those with the same primary key."""
    return _upsert(db.dialect.name, table)


def insert_missing(db: sa.Connection, table: sa.Table) -> sa.Insert:
    """An insert of rows that leaves those alone that are there."""
    return _insert_missing(db.dialect.name, table)


@cache  # building a statement takes longer than running it
def _upsert(dialect: str, table: sa.Table) -> sa.Insert:
    statement = _insert(dialect, table)
    columns = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in columns if name not in key}
    return statement.on_conflict_do_update(index_elements=key, set_=changed)


@cache
def _insert_missing(dialect: str, table: sa.Table) -> sa.Insert:
    return _insert(dialect, table).on_conflict_do_nothing()


def _insert(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """SQL has no common word for either; the two databases agree, SQLAlchemy has it once for each."""
    if dialect == "postgresql":
        # Here, since it takes 0.07 s that most servers need not spend.
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415

        return postgresql.insert(table)
    return sqlite.insert(table)
