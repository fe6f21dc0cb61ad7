"""A real PostgreSQL for the tests: a cluster of its own in a temporary folder, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

USER, PASSWORD = "fersweep", "pass/word:1"
START_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL."""

    port: int
    folder: Path

    def url(self, database: str, *, password: str = PASSWORD, port: int | None = None) -> str:
        """The address of one database, as a user writes it."""
        address = sa.URL.create(
            "postgresql", USER, password, "127.0.0.1", port or self.port, database
        )
        return address.render_as_string(hide_password=False)

    def execute(self, statement: str) -> None:
        """Run a statement outside any database of a test."""
        engine = sa.create_engine(
            self.url("postgres").replace("postgresql:", "postgresql+pg8000:"),
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
        )
        with engine.connect() as db:
            db.exec_driver_sql(statement)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """PostgreSQL as Debian installs it, started for this test run as a user that is not root."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs:
        pytest.skip(
            "PostgreSQL is not installed: `make postgresql`, or Debian's package of that name"
        )
    with tempfile.TemporaryDirectory(prefix="fersweep-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        user = _unprivileged_user()
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        _create(programs[-1].with_name("initdb"), folder, user)
        port = _free_port()
        command = [
            str(programs[-1]),
            "-D",
            str(folder / "data"),
            "-p",
            str(port),
            "-k",
            str(folder),
        ]
        options = ["fsync=off", "listen_addresses=127.0.0.1", "max_connections=200"]
        command += [part for option in options for part in ("-c", option)]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, user=user) as process,
        ):
            try:
                _wait_until_ready(process, port, folder / "log")
                yield Cluster(port, folder)
            finally:
                process.send_signal(signal.SIGINT)  # "fast": ends the connections that are left
                process.wait(START_TIMEOUT_S)


@pytest.fixture
def postgresql_url(cluster: Cluster) -> Iterator[str]:
    """The address of an empty database."""
    name = f"t{uuid.uuid4().hex}"
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield cluster.url(name)
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _create(initdb: Path, folder: Path, user: str | None) -> None:
    password = folder / "password"
    password.write_text(PASSWORD)
    if user is not None:
        shutil.chown(password, user)
    options = [
        "--username",
        USER,
        "--pwfile",
        str(password),
        "--auth",
        "scram-sha-256",
        "--no-sync",
    ]
    options += ["--encoding", "UTF8", "--locale", "C", "-D", str(folder / "data")]
    done = subprocess.run(
        [str(initdb), *options],
        capture_output=True, text=True, cwd=folder, user=user, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Only a connection that is answered counts: the port opens before the server is ready."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            Cluster(port, log.parent).execute("SELECT 1")
        except sa.exc.DBAPIError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"PostgreSQL did not start: {log.read_text()}")
