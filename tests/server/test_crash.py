"""The server is killed at any moment while nine programs log to it: what it acknowledged is there, once."""

from __future__ import annotations

import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

CLIENTS = 8
ROUNDS = 8
SERVER = """
import sys
from pathlib import Path
from fer_sweep.server.embedded import start_server
with start_server(Path(sys.argv[1]), port=int(sys.argv[2])) as server:
    print(server.api_key, flush=True)
    sys.stdin.read()
"""
TRAINING = """
import time, wandb
with wandb.init(project="p", id="real") as run:
    for step in range(300):
        run.log({"loss": 1 / (step + 1)})
        time.sleep(0.02)
"""
INIT = 'mutation { upsertBucket(input: {name: "%s", modelName: "p", host: "h"}) { inserted } }'


class Server:
    """A server process on a fixed port, which can be killed and started again."""

    def __init__(self, database: Path) -> None:
        self.database = database
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_key = ""

    def start(self) -> None:
        command = [sys.executable, "-c", SERVER, str(self.database), str(self.port)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe)
        assert self._process.stdout is not None
        self.api_key = self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class Client(threading.Thread):
    """Logs rows without end; repeats what was not acknowledged, as wandb does."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__()
        self.name = name
        self.acknowledged = 0
        self.stopped = threading.Event()
        self.odd: list[str] = []
        self._server = server
        self._random = random.Random(name)

    def run(self) -> None:
        with httpx.Client(base_url=self._server.url, auth=("", self._server.api_key)) as http:
            while not self.stopped.is_set():
                first, count = self.acknowledged, self._random.randrange(1, 6)
                rows = [json.dumps({"_step": n, "x": n * n}) for n in range(first, first + count)]
                body = {"files": {"wandb-history.jsonl": {"offset": first, "content": rows}}}
                if self._send(http, body):
                    self.acknowledged += count

    def _send(self, http: httpx.Client, body: object) -> bool:
        while not self.stopped.is_set():
            try:
                answer = http.post(f"/files/local/p/{self.name}/file_stream", json=body, timeout=5)
            except httpx.TransportError:
                time.sleep(0.02)
                continue
            if answer.status_code != 200:
                self.odd.append(f"{answer.status_code} {answer.text}")
            return answer.status_code == 200
        return False


def rows_of(database: Path, run: str) -> list[int]:
    query = """SELECT number FROM lines JOIN runs ON runs.id = run_id
        WHERE runs.name = ? AND stream = 'history' ORDER BY number"""
    with closing(sqlite3.connect(database, timeout=30)) as db:
        return [row[0] for row in db.execute(query, [run])]


@pytest.mark.slow
@pytest.mark.wandb_client
def test_no_acknowledged_row_is_lost_or_doubled(tmp_path: Path) -> None:
    server = Server(tmp_path / "data" / "server.sqlite")
    server.start()
    clients = [Client(server, f"run{number}") for number in range(CLIENTS)]
    for client in clients:
        query = {"query": INIT % client.name}
        httpx.post(
            server.url + "/graphql", json=query, auth=("", server.api_key)
        ).raise_for_status()
    settings = {
        "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": server.api_key,
        "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
        "WANDB_X_FILE_STREAM_RETRY_WAIT_MIN_SECONDS": "1",
        "WANDB_X_FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "1",
    }
    env = os.environ | settings
    training = subprocess.Popen([sys.executable, "-c", TRAINING], env=env, cwd=tmp_path)
    deadline = time.monotonic() + 30
    while not rows_of(server.database, "real") and time.monotonic() < deadline:
        time.sleep(0.05)
    for client in clients:
        client.start()
    moments = random.Random(3)
    for _ in range(ROUNDS):
        time.sleep(moments.uniform(0.2, 0.9))
        server.kill()
        promised = {client.name: client.acknowledged for client in clients}
        with closing(sqlite3.connect(server.database)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for name, count in promised.items():
            assert rows_of(server.database, name)[:count] == list(range(count))
        server.start()
    for client in clients:
        client.stopped.set()
        client.join(20)
    assert training.wait(60) == 0
    server.kill()

    assert [client.odd for client in clients if client.odd] == []
    assert min(client.acknowledged for client in clients) > ROUNDS  # all made progress
    for client in clients:
        found = rows_of(server.database, client.name)
        assert found == list(range(len(found)))
        assert client.acknowledged <= len(found) <= client.acknowledged + 5
    assert rows_of(server.database, "real") == list(range(300))
    with closing(sqlite3.connect(server.database)) as db:
        assert db.execute(
            "SELECT state, history_lines FROM runs WHERE name = 'real'"
        ).fetchone() == (
            "finished",
            300,
        )
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
