"""What every node needs: the request it belongs to, and W&B's way of paging."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from fer_sweep.server.store import Store
from fer_sweep.server.wire import RequestError, decode_id, encode_id

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """One request: the transaction it runs in, and how the client reached us.

    Attributes:
        store: The open database.
        db: The request's transaction.
        base_url: The server's address as the client knows it.
        now: The time.
    """

    store: Store
    db: sa.Connection
    base_url: str
    now: float


def user_node(entity: str) -> Mapping[str, Any]:
    """W&B's ``User``: each entity is one, and its own only team."""
    return {
        "id": encode_id("User", entity),
        "entity": entity,
        "name": entity,
        "username": entity,
        "email": "",
        "admin": True,
        "flags": "{}",
        "apiKeys": {"edges": []},
        "teams": {"edges": [{"node": {"name": entity}}]},
    }


def entity_node(name: str) -> Mapping[str, Any]:
    """W&B's ``Entity``; every name is one here."""
    organization = {"id": encode_id("Organization", name), "name": name}
    return {
        "id": encode_id("Entity", name),
        "name": name,
        "isTeam": False,
        "organization": organization,
        "defaultAccess": "PRIVATE",
    }


def page(
    items: Sequence[T], node: Callable[[T], Any], *, offset: int, total: int
) -> Mapping[str, Any]:
    """One page of a connection: ``items`` are numbers ``offset`` and on of ``total``."""
    end = offset + len(items)
    edges = [
        {"node": node(item), "cursor": encode_id("Cursor", str(offset + i + 1))}
        for i, item in enumerate(items)
    ]
    page_info = {"endCursor": encode_id("Cursor", str(end)), "hasNextPage": end < total}
    return {"edges": edges, "pageInfo": page_info, "totalCount": total}


def page_of(
    items: Sequence[T], node: Callable[[T], Any], first: int | None, after: str | None
) -> Mapping[str, Any]:
    """Cut one page out of a whole list."""
    offset = parse_cursor(after)
    end = len(items) if first is None else offset + first
    return page(items[offset:end], node, offset=offset, total=len(items))


def parse_cursor(cursor: str | None) -> int:
    """How many items a page starts after.

    Raises:
        RequestError: If the cursor is not one of ours.
    """
    if not cursor:
        return 0
    parts = decode_id(cursor)
    if len(parts) != 2 or parts[0] != "Cursor" or not parts[1].isdecimal():
        raise RequestError(f"cursor {cursor!r}: not from this server. Start with the first page.")
    return int(parts[1])
