"""How a browser proves who it is: as the user whose server this is, or by a cookie got for an API key.

The cookie holds no key, only a signed digest of one: browsers send a host's cookies to all of its ports, so another
server on the same machine may come to see it. It ends with the key that it was got for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response

from fer_sweep.server import tables
from fer_sweep.server.access import LOCAL, Access, Caller, is_from_here
from fer_sweep.server.guard import LOOPBACK_NAMES
from fer_sweep.server.store import Store

LIFETIME_S = 30 * 24 * 3600


class Sessions:
    """Knows the browsers that have signed in; nothing is stored, so every server of a database agrees.

    Args:
        store: The open database.
        access: Decides about keys.
        clock: Tells the time in seconds since the epoch.
    """

    def __init__(self, store: Store, access: Access, clock: Callable[[], float]) -> None:
        self._store = store
        self._access = access
        self._clock = clock
        # Of the database's own, so that two servers on one host keep their cookies apart.
        self._cookie = f"fersweep-{_digest('cookie of ' + store.api_key)[:8]}"

    def find(self, request: Request) -> Caller:
        """Who a page's reader is, by cookie or else by what `Access` accepts of browsers.

        Raises:
            RequestError: 401 for a stranger, 429 for too many requests.
        """
        caller = self._caller_of(request, request.cookies.get(self._cookie, ""))
        if caller is not None:
            return caller
        # A foreign page can point a domain of its own at 127.0.0.1; only the name in the request tells.
        if request.url.hostname in LOOPBACK_NAMES:
            return self._access.check_browser(request)
        return self._access.check(request)

    def sign_in(self, request: Request, key: str, response: Response) -> None:
        """Give the browser a cookie for a key.

        Raises:
            RequestError: If the key is wrong, or too many wrong ones were tried.
        """
        self._access.check(_with_key(request, key))
        expires, digest = int(self._clock() + LIFETIME_S), _digest(key)
        response.set_cookie(
            self._cookie,
            f"{digest}.{expires}.{self._sign(digest, expires)}",
            max_age=LIFETIME_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )

    def sign_out(self, response: Response) -> None:
        """Take the cookie away."""
        response.delete_cookie(self._cookie, httponly=True, samesite="strict")

    def _caller_of(self, request: Request, cookie: str) -> Caller | None:
        digest, _, rest = cookie.partition(".")
        expires, _, signature = rest.partition(".")
        if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
            return None
        genuine = hmac.compare_digest(signature.encode(), self._sign(digest, int(expires)).encode())
        if not genuine or int(expires) < self._clock():
            return None
        if hmac.compare_digest(digest, _digest(self._store.api_key)):
            return LOCAL if is_from_here(request) else None
        columns = tables.api_keys.c
        query = sa.select(columns.entity).where(
            columns.digest == digest, columns.revoked_at.is_(None)
        )
        with self._store.reading() as db:
            entity: str | None = db.scalar(query)
        return Caller(entity, "key of " + entity) if entity else None

    def _sign(self, digest: str, expires: int) -> str:
        text = f"session {digest} {expires}"
        return hmac.new(self._store.api_key.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_local_path(path: str) -> bool:
    r"""Whether a redirect to ``path`` stays on this server.

    Example:
        >>> is_local_path("/local/faces"), is_local_path("//evil.example"), is_local_path("/\\evil")
        (True, False, False)
    """
    return path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()


def _with_key(request: Request, key: str) -> Request:
    """The request as if the key had come in its header."""
    others = [(name, value) for name, value in request.scope["headers"] if name != b"authorization"]
    header = (b"authorization", b"Bearer " + key.encode("utf-8", "replace"))
    return Request({**request.scope, "headers": [*others, header]})


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
