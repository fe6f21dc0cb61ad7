"""Who is asking: a key, a signed address, or, for pages in a browser on this machine, the same user.

The database's own key opens everything, but only over the loopback interface: whoever has it could read
the file as well. From elsewhere each key opens one entity (`fer_sweep.server.keys`).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from fer_sweep.server.keys import KeyRing
from fer_sweep.server.limits import Limits, RateLimiter
from fer_sweep.server.projects import DEFAULT_ENTITY
from fer_sweep.server.store import Store
from fer_sweep.server.wire import RequestError

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
_TCP_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


@dataclass(frozen=True)
class Caller:
    """Who is asking.

    Attributes:
        entity: The only entity that may be read and written; None: all of them.
        id: Tells callers apart, for counting their requests.
    """

    entity: str | None
    id: str

    @property
    def default_entity(self) -> str:
        """The entity meant when a request names none."""
        return self.entity or DEFAULT_ENTITY


LOCAL = Caller(None, "local")
"""The user whose database it is."""


class Access:
    """Decides for each request who is asking.

    Args:
        store: The open database.
        limits: How often one may ask.
    """

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._keys = KeyRing(store)
        self._meter = RateLimiter()

    def check(self, request: Request) -> Caller:
        """Find out whose key came with a request.

        Raises:
            RequestError: 401 if none did, or a wrong one; 429 if its owner asks too often.
        """
        caller = self._find(request, _password(request.headers.get("authorization", "")))
        if caller is None:
            address = request.client.host if request.client else ""
            self._meter.spend("failed " + address, self._limits.failures_per_s)
            raise RequestError(
                f"{request.base_url}: wrong API key. Set WANDB_API_KEY to the key that `fersweep serve` "
                "prints on this machine, or to one made with `fersweep keys create`.",
                status=401,
            )
        if self._limits.requests_per_s is not None and caller is not LOCAL:
            self._meter.spend(caller.id, self._limits.requests_per_s)
        return caller

    def check_browser(self, request: Request) -> Caller:
        """The same for a page: the user whose server it is needs no key in a browser on this machine.

        Raises:
            RequestError: 401, which makes a browser ask for the key (any user name will do), or 429.
        """
        if not request.headers.get("authorization") and is_same_user(request):
            return LOCAL
        return self.check(request)

    def _find(self, request: Request, key: str) -> Caller | None:
        if hmac.compare_digest(key.encode("utf-8", "replace"), self._store.api_key.encode()):
            return LOCAL if is_from_here(request) else None
        entity = self._keys.entity_of(key) if key else None
        return Caller(entity, "key of " + entity) if entity else None


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can only be reached from this machine.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_from_here(request: Request) -> bool:
    """Whether a request was made on this machine, and not passed on by a proxy that runs on it."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    return request.client is not None and is_loopback(request.client.host)


def is_same_user(request: Request) -> bool:
    """Whether a program of the user who runs this server made the request; False where Linux cannot tell.

    Many people share a cluster's login node, and a loopback port is open to all of them.
    """
    if not is_from_here(request) or request.client is None:
        return False
    try:
        ends = _hex_port(request.client.port), _hex_port(request.scope["server"][1])
        uids = [uid for table in _TCP_TABLES for uid in _owners(table, *ends)]
    except (OSError, KeyError, TypeError, ValueError, IndexError):
        return False
    return bool(uids) and all(uid in (os.geteuid(), 0) for uid in uids)


def _owners(table: Path, client: str, server: str) -> list[int]:
    """User ids of the client's end of a loopback connection, from the kernel's list of sockets."""
    if not table.exists():
        return []
    rows = [line.split() for line in table.read_text("ascii").splitlines()[1:]]
    return [
        int(row[7])
        for row in rows
        if row[1].endswith(client) and row[2].endswith(server) and _is_loopback_hex(row[1])
    ]


def _hex_port(port: int) -> str:
    return f":{port:04X}"


def _is_loopback_hex(end: str) -> bool:
    """Whether ``0100007F:1F90``, as the kernel writes 127.0.0.1:8080, is a loopback address."""
    address = end.partition(":")[0]
    loopback6 = ("00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
    return address.endswith("7F") if len(address) == 8 else address in loopback6


def _password(header: str) -> str:
    """The key in an Authorization header: wandb puts it into basic authentication's password."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() == "bearer":
        return encoded.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
