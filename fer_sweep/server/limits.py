"""How much one request may ask for: bytes, bytes once decompressed, nesting, requests per second.

The limits are far above what wandb sends (its largest line is 10 MiB, its requests about as large), and
far below what would exhaust the machine.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from fer_sweep.server.wire import RequestError

_TOO_LARGE, _TOO_MANY, _TOO_SLOW = 413, 429, 408
MAX_JSON_DEPTH = 100
"""Nesting of objects and lists; a sweep's config or a filter rarely needs ten."""
MAX_ITEMS = 200_000
"""Values in a sweep config, with YAML's aliases put in their places."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")
_SURROGATE = re.compile(rb"\\u[dD][89abcdefABCDEF]")
_MAX_METERS = 10_000


@dataclass(frozen=True)
class Limits:
    """The limits of one server.

    Attributes:
        body_bytes: Largest GraphQL or file_stream body, as sent and once decompressed.
        file_bytes: Largest file of a run.
        read_s: How long a client may take to send a body of that kind, seconds.
        requests_per_s: Requests per second that one key may make for long; None: as many as it likes.
        failures_per_s: Requests with a wrong key per second from one address.
    """

    body_bytes: int = 32 * 1024**2
    file_bytes: int = 5 * 1024**3
    read_s: float = 120.0
    requests_per_s: float | None = None
    failures_per_s: float = 5.0


async def read_body(
    chunks: AsyncIterator[bytes], limits: Limits, *, encoding: str, where: str
) -> bytes:
    """Collect a request's body and decompress it.

    Raises:
        RequestError: If it is too large, once decompressed or before, too slow, or not what it claims.
    """
    try:
        async with asyncio.timeout(limits.read_s):
            raw = await _collect(chunks, limits.body_bytes, where)
    except TimeoutError as error:
        raise RequestError(
            f"{where}: the body did not arrive within {limits.read_s:.0f} s.", status=_TOO_SLOW
        ) from error
    if encoding in ("", "identity"):
        return raw
    if encoding != "gzip":
        raise RequestError(
            f"{where}: unknown content-encoding (got {encoding!r}). Send gzip or none.", status=400
        )
    return _gunzip(raw, limits.body_bytes, where)


async def limited(chunks: AsyncIterator[bytes], most: int, where: str) -> AsyncIterator[bytes]:
    """Pass chunks on until they add up to more than ``most`` bytes.

    Raises:
        RequestError: When they do.
    """
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise _too_large(where, most)
        yield chunk


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON as Python's ``json`` does, but never deeper than `MAX_JSON_DEPTH`.

    Raises:
        ValueError: If it is not JSON, is nested too deep, or has half characters that no text can hold.
    """
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    # Counting is quick; the exact depth is only needed for the rare document with many brackets.
    if raw.count(b"[") + raw.count(b"{") > MAX_JSON_DEPTH:
        _check_depth(raw.decode("utf-8", "replace"), where)
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{where}: nested too deep") from error
    if _SURROGATE.search(raw):
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return value


def check_size(value: Any, where: str) -> None:
    """Refuse a YAML document that its aliases make huge or endless, or that JSON cannot hold.

    Raises:
        ValueError: If it is, or is nested deeper than `MAX_JSON_DEPTH`.
    """
    todo, seen = [(value, 0)], 0
    while todo:
        item, depth = todo.pop()
        seen += 1
        if seen > MAX_ITEMS or depth > MAX_JSON_DEPTH:
            raise ValueError(f"{where}: more than {MAX_ITEMS} items or {MAX_JSON_DEPTH} levels")
        if isinstance(item, dict):
            todo += [(each, depth + 1) for each in item.values()]
            if not all(isinstance(key, str | int | float | bool | None) for key in item):
                raise ValueError(f"{where}: keys must be texts")
        elif isinstance(item, list):
            todo += [(each, depth + 1) for each in item]
        elif isinstance(item, str):
            item.encode()  # half a character is a UnicodeEncodeError, which is a ValueError
        elif not isinstance(item, int | float | bool | None):
            raise ValueError(
                f"{where}: {type(item).__name__} {item} is no text or number; quote it"
            )


def _check_depth(text: str, where: str) -> None:
    depth = 0
    for bracket in _BRACKETS.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"{where}: nested deeper than {MAX_JSON_DEPTH} levels")


async def _collect(chunks: AsyncIterator[bytes], most: int, where: str) -> bytes:
    return b"".join([chunk async for chunk in limited(chunks, most, where)])


def _gunzip(raw: bytes, most: int, where: str) -> bytes:
    """Decompress at most ``most`` bytes: a bomb of 32 KiB would otherwise fill 32 MiB, one of 32 MiB 32 GiB."""
    parts, size = [], 0
    while raw:  # a gzip file may have several members
        stream = zlib.decompressobj(wbits=31)
        try:
            part = stream.decompress(raw, most - size + 1)
        except zlib.error as error:
            raise RequestError(f"{where}: the body is not gzip ({error}).", status=400) from error
        size += len(part)
        if size > most:
            raise _too_large(where, most)
        if not stream.eof:
            raise RequestError(f"{where}: the gzip body ends too early.", status=400)
        parts.append(part)
        raw = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _too_large(where: str, most: int) -> RequestError:
    return RequestError(
        f"{where}: larger than this server takes ({most / 1024**2:.0f} MiB). "
        "Log less at once; for files, `fersweep serve --max-file-mb` allows more.",
        status=_TOO_LARGE,
    )


@dataclass
class RateLimiter:
    """Counts requests per caller: a bucket of tokens that refills at a steady rate.

    Attributes:
        burst_s: So many seconds' worth of requests may come at once.
    """

    clock: Callable[[], float] = time.monotonic
    burst_s: float = 10.0
    _meters: dict[str, tuple[float, float]] = field(default_factory=dict)

    def spend(self, who: str, rate: float) -> None:
        """Count one request.

        Raises:
            RequestError: With HTTP 429, which wandb repeats later, if ``who`` made too many.
        """
        left = self._left(who, rate)
        if left < 1:
            raise RequestError(
                f"server: more than {rate:g} requests per second. Wait a moment.", status=_TOO_MANY
            )
        if len(self._meters) >= _MAX_METERS:
            self._forget_full()
        self._meters[who] = (left - 1, self.clock())

    def _left(self, who: str, rate: float) -> float:
        full = max(1.0, rate * self.burst_s)
        left, at = self._meters.get(who, (full, self.clock()))
        return min(full, left + (self.clock() - at) * rate)

    def _forget_full(self) -> None:
        """Forget the older half: whoever asked longest ago has its tokens back by now."""
        oldest = sorted(self._meters, key=lambda who: self._meters[who][1])
        for who in oldest[: _MAX_METERS // 2]:
            del self._meters[who]
