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

import uvicorn

from fer_sweep.errors import ServerError
from fer_sweep.server.app import create_app
from fer_sweep.server.store import Store

DEFAULT_PORT = 8642
_START_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5


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
    database: Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    clock: Callable[[], float] = time.time,
) -> LocalServer:
    """Serve a database until `LocalServer.close`; several processes may serve the same one.

    Args:
        database: The SQLite file; created, with its folder, if missing.
        host: The address to listen on; only this machine by default.
        port: The port; by default 8642 if it is free, else any.
        clock: Tells the time in seconds since the epoch.

    Raises:
        ServerError: If the database cannot be used or the port is taken.
    """
    store = Store(database)
    try:
        listener = _listen(host, port)
    except ServerError:
        store.close()
        raise
    config = uvicorn.Config(
        create_app(store, clock=clock),
        access_log=False,
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
