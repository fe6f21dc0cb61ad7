from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fer_sweep.errors import ServerError
from fer_sweep.server.embedded import start_server


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_is_taken_is_named_with_the_way_out(tmp_path: Path, taken: int) -> None:
    with pytest.raises(ServerError, match=rf"127\.0\.0\.1:{taken}: the port is taken.*--port"):
        start_server(tmp_path / "server.sqlite", port=taken)


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"192\.0\.2\.1:0: cannot listen there.*--host"):
        start_server(tmp_path / "server.sqlite", host="192.0.2.1", port=0)


def test_without_a_port_a_second_server_takes_another_one(tmp_path: Path) -> None:
    database = tmp_path / "server.sqlite"
    with start_server(database) as one, start_server(database) as other:
        assert one.url != other.url
        assert one.api_key == other.api_key
        for server in (one, other):
            assert httpx.get(server.url + "/healthz").json() == {"status": "ok"}


def test_closing_frees_the_port_and_the_thread_and_can_be_repeated(tmp_path: Path) -> None:
    before = threading.active_count()
    server = start_server(tmp_path / "server.sqlite", port=0)
    port = int(server.url.rpartition(":")[2])
    server.close()
    server.close()

    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url + "/healthz")
    assert not [t for t in threading.enumerate() if t.name == "fersweep-server"]
    assert threading.active_count() <= before + 1  # anyio's pool thread may still be idling
    start_server(tmp_path / "server.sqlite", port=port).close()


def test_the_key_is_not_in_the_servers_repr(tmp_path: Path) -> None:
    with start_server(tmp_path / "server.sqlite", port=0) as server:
        assert server.api_key not in repr(server)
