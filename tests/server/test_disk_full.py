"""The disk fills up while a real client logs: nothing is corrupt, and it goes on once there is space."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from fer_sweep.server.embedded import start_server

TRAINING = """
import time, wandb
with wandb.init(project="p", id="real") as run:
    for step in range(300):
        run.log({"loss": 1 / (step + 1), "noise": "x" * 20_000})
        time.sleep(0.02)
"""
ROWS = 300


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: a full disk. Needs root to mount a small one")
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("NOT TESTED: a full disk. Cannot mount a small one here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass


def count_rows(database: Path) -> int:
    query = "SELECT count(*) FROM lines WHERE stream = 'history'"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as db:
        return int(db.execute(query).fetchone()[0])


def wait_for_rows(database: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while count_rows(database) < count:
        assert time.monotonic() < deadline, f"{count_rows(database)} of {count} rows came"
        time.sleep(0.05)


def wait_for_refusals(caplog: pytest.LogCaptureFixture, count: int) -> None:
    deadline = time.monotonic() + 30
    while sum("the disk is full" in record.message for record in caplog.records) < count:
        assert time.monotonic() < deadline, "the client never met the full disk"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.wandb_client
def test_a_run_goes_on_once_there_is_space_again(
    small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = small_disk / "server.sqlite"
    with start_server(database, port=0) as server:
        settings = {
            "WANDB_BASE_URL": server.url,
            "WANDB_API_KEY": server.api_key,
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
            "WANDB_X_FILE_STREAM_RETRY_WAIT_MIN_SECONDS": "1",
            "WANDB_X_FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "1",
        }
        env = os.environ | settings
        training = subprocess.Popen([sys.executable, "-c", TRAINING], env=env, cwd=tmp_path)
        wait_for_rows(database, 10)
        fill(small_disk / "filler")

        auth = ("api", server.api_key)
        row = {"files": {"output.log": {"offset": 0, "content": ["x" * 9_000_000]}}}
        path = f"{server.url}/files/local/p/real/file_stream"
        answer = httpx.post(path, json=row, auth=auth, timeout=30)
        assert answer.status_code == 503
        assert "disk is full" in answer.json()["error"]
        assert answer.headers["retry-after"]
        big = f"{server.url}/storage/local/p/real/big.bin"
        assert httpx.put(big, content=b"x" * 100_000, auth=auth).status_code == 503
        init = (
            'mutation($n: String) { upsertBucket(input: {modelName: "p", notes: $n}) { inserted } }'
        )
        body = {"query": init, "variables": {"n": "x" * 9_000_000}}
        assert httpx.post(f"{server.url}/graphql", json=body, auth=auth).status_code == 503
        reading = {"query": '{ project(name: "p") { run(name: "real") { historyLineCount } } }'}
        found = httpx.post(f"{server.url}/graphql", json=reading, auth=auth)
        assert found.json()["data"]["project"]["run"]["historyLineCount"] >= 10
        wait_for_refusals(caplog, 4)  # two of ours, two of the client's
        assert training.poll() is None
        (small_disk / "filler").unlink()

        assert training.wait(90) == 0
        wait_for_rows(database, ROWS)
        assert list((database.parent / "server.sqlite.files").rglob("*.part")) == []
    with closing(sqlite3.connect(database)) as db:
        numbers = db.execute(
            "SELECT number FROM lines WHERE stream = 'history' ORDER BY 1"
        ).fetchall()
        assert [row[0] for row in numbers] == list(range(ROWS))
        assert db.execute("SELECT state FROM runs WHERE name = 'real'").fetchone() == ("finished",)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
