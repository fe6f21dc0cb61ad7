"""What holds for every request and every answer, whichever page or call it is.

A web page that the user visits elsewhere can make the browser send requests to a server on loopback. It
must not get one through: neither by a form (the Origin gives it away) nor by a domain name that it points
at 127.0.0.1 (the Host gives it away).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOG = logging.getLogger(__name__)
LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, a browser hides its own Origin from us too
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_DEFAULTS = {"Cache-Control": "no-store"}  # private data; the style sheet may say otherwise
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Guard:
    """ASGI middleware: refuses what only a foreign web page would send, and hardens every answer.

    Args:
        app: The application to guard.
        hosts: Names that the server may be called by; None: any, as for a server in a network.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = False

        async def send_hardened(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                for name, value in _DEFAULTS.items():
                    headers.setdefault(name, value)
            await send(message)

        problem = self._find_problem(scope)
        if problem:
            LOG.warning("refused %s %s: %s", scope["method"], scope["path"], problem)
            return await _refuse(send_hardened, problem, 403)
        try:
            await self._app(scope, receive, send_hardened)
        except Exception as error:  # a bug of ours; a 5xx would be repeated by wandb for minutes
            LOG.exception("bug in %s %s", scope["method"], scope["path"])
            if started:
                raise
            text = f"fersweep's local server: internal error ({type(error).__name__}). Please report it."
            await _refuse(send_hardened, text, 400)

    def _find_problem(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return (
                f"server: it is not called {host!r}. Use its own address; behind a proxy, start it with "
                "`fersweep serve --public-url`."
            )
        if scope["method"] in _SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit_netloc(origin) != host.lower():
            return f"server: a web page of {origin!r} may not change anything here."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "server: a web page of another site may not change anything here."
        return None


def urlsplit_netloc(origin: str) -> str | None:
    """Host and port of an Origin header; None for ``null`` and nonsense."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _name_of(host: str) -> str | None:
    """The host name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


async def _refuse(send: Send, problem: str, status: int) -> None:
    body = json.dumps({"error": problem, "errors": [{"message": problem}]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
