"""The server inside this process: a thread on the loopback interface for as long as a command runs."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import uvicorn

from fer_sweep.errors import ServerError
from fer_sweep.server.access import is_loopback
from fer_sweep.server.app import create_app
from fer_sweep.server.guard import LOOPBACK_NAMES
from fer_sweep.server.keys import list_keys
from fer_sweep.server.limits import Limits
from fer_sweep.server.store import Store

DEFAULT_PORT = 8642
_START_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5
_DEFAULT_LIMITS = Limits()


@dataclass
class LocalServer:
    """A running server.

    Attributes:
        url: Its address, as clients on this machine reach it.
        api_key: The key that clients must present.
    """

    url: str
    api_key: str = field(repr=False)
    _server: uvicorn.Server = field(repr=False)
    _thread: threading.Thread = field(repr=False)
    _store: Store = field(repr=False)

    @property
    def database(self) -> str:
        """What it serves, as one may show it: without a password."""
        return self._store.label

    def close(self) -> None:
        """Finish the requests in flight and stop; may be called again."""
        self._server.should_exit = True
        self._thread.join(_CLOSE_TIMEOUT_S * 2)
        self._store.close()

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def start_server(
    database: Path | str,
    *,
    files: Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    clock: Callable[[], float] = time.time,
    limits: Limits = _DEFAULT_LIMITS,
    public_url: str = "",
) -> LocalServer:
    """Serve a database until `LocalServer.close`; several processes may serve the same one.

    Args:
        database: The SQLite file, created with its folder if missing; or a ``postgresql://`` address.
        files: The folder of run files; by default next to the SQLite file.
        host: The address to listen on; only this machine by default.
        port: The port; by default 8642 if it is free, else any.
        clock: Tells the time in seconds since the epoch.
        limits: What one request may ask for.
        public_url: The address that clients reach it at, if a proxy stands before it.

    Raises:
        ServerError: If the database cannot be used, the port is taken, or other machines could reach
            the server and no API key exists.
    """
    store = Store(database, files=files)
    try:
        listener = _listen(host, port)
        if public_url or not is_loopback(host):
            _check_keys(store, host, listener)
    except ServerError:
        store.close()
        raise
    app = create_app(
        store, clock=clock, limits=limits, hosts=_names(host, public_url), public_url=public_url
    )
    config = uvicorn.Config(
        app,
        access_log=False,
        server_header=False,
        http="h11",
        lifespan="off",
        log_config=None,
        loop="asyncio",
        timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
        timeout_keep_alive=120,
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="fersweep-server", daemon=True
    )
    thread.start()
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}"
    local = LocalServer(url, store.api_key, server, thread, store)
    _wait_until_started(local, server, thread)
    return local


def _check_keys(store: Store, host: str, listener: socket.socket) -> None:
    if not any(key.revoked_at is None for key in list_keys(store)):
        listener.close()
        raise ServerError(
            f"{host}: other machines could reach this server, and no API key exists to let anyone in. "
            "Make one first: fersweep keys create --entity NAME."
        )


def _names(host: str, public_url: str) -> frozenset[str] | None:
    """What the server may be called: on loopback anything else is a web page's trick.

    In a network, names are many and a key is needed anyway.
    """
    if not is_loopback(host):
        return None
    own = {host, urlsplit(public_url).hostname or ""} - {""}
    return LOOPBACK_NAMES | own


def _wait_until_started(
    local: LocalServer, server: uvicorn.Server, thread: threading.Thread
) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            local.close()
            raise ServerError(f"{local.url}: the server did not start. Please report this.")
        time.sleep(0.002)


def _listen(host: str, port: int | None) -> socket.socket:
    if port is None:
        try:
            return _bind(host, DEFAULT_PORT)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ServerError(_explain(host, DEFAULT_PORT, error)) from error
            port = 0
    try:
        return _bind(host, port)
    except OSError as error:
        raise ServerError(_explain(host, port, error)) from error


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only for sockets that name TCP; with it, each answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A port that was ours a moment ago may be taken over; one that somebody listens on may not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{host}:{port}: the port is taken. Stop what listens there, or choose another with --port."
    return f"{host}:{port}: cannot listen there ({error.strerror or error}). Choose another --host or --port."
