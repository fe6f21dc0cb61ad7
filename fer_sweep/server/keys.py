"""API keys: who may talk to this server from another machine, and as which entity.

Only a SHA-256 digest of a key is stored. A slow password hash would add nothing: a key is 40 random
letters and digits (238 bits), so no list of likely keys exists to try, and a digest is checked on every
request of every run.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from fer_sweep.errors import ConfigError
from fer_sweep.server import tables
from fer_sweep.server.store import KEY_LENGTH, Store
from fer_sweep.server.wire import RequestError, check_name

_ALPHABET = string.ascii_letters + string.digits
_CACHE_S = 2.0
_MAX_CACHED = 10_000


@dataclass(frozen=True)
class ApiKey:
    """One key, without the key itself.

    Attributes:
        id: Number to revoke it by.
        entity: The entity it opens.
        name: What its owner calls it.
        created_at: When it was made, seconds since the epoch.
        revoked_at: When it was revoked; None while it works.
    """

    id: int
    entity: str
    name: str
    created_at: float
    revoked_at: float | None


def create_key(store: Store, entity: str, name: str, *, now: float) -> tuple[ApiKey, str]:
    """Make a key.

    Returns:
        The key's record, and the key: nobody can look it up later.

    Raises:
        ConfigError: If the entity cannot be part of a URL.
    """
    try:
        check_name("entity", entity)
    except RequestError as error:
        raise ConfigError(f"keys: {error}") from error
    key = "".join(secrets.choice(_ALPHABET) for _ in range(KEY_LENGTH))
    values = {"entity": entity, "name": name, "digest": _digest(key), "created_at": now}
    with store.writing() as db:
        db.execute(sa.insert(tables.api_keys).values(values))
        row = db.execute(_select().where(tables.api_keys.c.digest == _digest(key))).one()
    return _record(row), key


def list_keys(store: Store) -> Sequence[ApiKey]:
    """All keys ever made, oldest first."""
    with store.reading() as db:
        return [_record(row) for row in db.execute(_select().order_by(tables.api_keys.c.id))]


def revoke_key(store: Store, which: str, *, now: float) -> ApiKey:
    """Make a key stop working, within `_CACHE_S` seconds on every server of this database.

    Args:
        store: The database.
        which: The key's number, or its name if no other working key has it.
        now: The time.

    Raises:
        ConfigError: If there is no such key, or several.
    """
    works = [key for key in list_keys(store) if key.revoked_at is None]
    found = [key for key in works if which in (str(key.id), key.name)]
    exact = [key for key in found if which == str(key.id)] or found
    if len(exact) != 1:
        known = ", ".join(f"{key.id} ({key.entity}, {key.name})" for key in works) or "none"
        problem = "several keys have this name" if exact else "no such key"
        raise ConfigError(f"keys: {problem} (got {which!r}). Working keys: {known}.")
    with store.writing() as db:
        change = sa.update(tables.api_keys).where(tables.api_keys.c.id == exact[0].id)
        db.execute(change.values(revoked_at=now))
    return ApiKey(exact[0].id, exact[0].entity, exact[0].name, exact[0].created_at, now)


class KeyRing:
    """Tells whose a key is; answers are remembered for a moment, as every request asks."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, tuple[float, str | None]] = {}

    def entity_of(self, key: str) -> str | None:
        """The entity that a key opens; None if it opens none."""
        digest = _digest(key)
        asked_at, entity = self._known.get(digest, (float("-inf"), None))
        if self._clock() - asked_at < _CACHE_S:
            return entity
        entity = self._look_up(digest)
        if len(self._known) >= _MAX_CACHED:
            self._known.clear()
        self._known[digest] = (self._clock(), entity)
        return entity

    def _look_up(self, digest: str) -> str | None:
        columns = tables.api_keys.c
        query = sa.select(columns.digest, columns.entity).where(
            columns.digest == digest, columns.revoked_at.is_(None)
        )
        with self._store.reading() as db:
            row = db.execute(query).first()
        # The index has compared digests, which tell nothing about a key; this compares in constant time.
        return row.entity if row and hmac.compare_digest(row.digest, digest) else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _select() -> sa.Select[*tuple[Any, ...]]:
    return sa.select(tables.api_keys)


def _record(row: tables.Record) -> ApiKey:
    return ApiKey(row.id, row.entity, row.name, row.created_at, row.revoked_at)
