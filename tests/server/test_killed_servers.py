"""Server processes are killed with SIGKILL while agents take trials: no cell twice, none lost."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from fer_sweep.server.store import Store
from fer_sweep.tracking import AgentSession, Command, Connection, SweepRef, connect, create_sweep

CELLS = 60
GRID = {
    "method": "grid",
    "metric": {"name": "acc", "goal": "maximize"},
    "parameters": {"cell": {"values": list(range(CELLS))}},
}
INIT = """mutation UpsertBucket($name: String) {
  upsertBucket(input: {name: $name, modelName: "p", host: "here"}) { inserted }
}"""
PATIENCE_S = 60.0
SERVE = """
import sys
from pathlib import Path
from fer_sweep.server.embedded import start_server
with start_server(Path(sys.argv[1]), port=int(sys.argv[2])):
    sys.stdin.read()
"""


class ServerProcess:
    """A server on a port of its own, which comes back on that port after it was killed."""

    def __init__(self, database: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._database = database
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", SERVE, str(self._database), str(self.port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if httpx.get(self.url + "/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.05)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)
        assert self._process.stdin is not None
        self._process.stdin.close()


class Agent(threading.Thread):
    """Takes trials, logs two rows and finishes each; patient while its server is away."""

    def __init__(self, conn: Connection, ref: SweepRef) -> None:
        super().__init__()
        self.done: list[str] = []
        self.crash: Exception | None = None
        self._conn = conn
        self._ref = ref

    def run(self) -> None:
        try:
            session = AgentSession(self._conn, self._ref)
            while (command := session.heartbeat([])) != Command("exit"):
                if command is None:
                    time.sleep(0.05)
                else:
                    self._train(command.run_id)
        except Exception as error:  # noqa: BLE001 - raised in the test's own thread
            self.crash = error

    def _train(self, run_id: str) -> None:
        self._conn.execute(INIT, {"name": run_id}, patience_s=PATIENCE_S)
        rows = [json.dumps({"_step": step, "acc": step / 2}) for step in range(2)]
        files = {"wandb-history.jsonl": {"offset": 0, "content": rows}}
        for body in ({"files": files}, {"complete": True, "exitcode": 0}):
            path = f"/files/local/p/{run_id}/file_stream"
            self._conn.post(path, body, patience_s=PATIENCE_S)
        self.done.append(run_id)


@pytest.mark.slow
def test_servers_are_killed_while_agents_take_trials(tmp_path: Path) -> None:
    database = tmp_path / "server.sqlite"
    store = Store(database)
    key = store.api_key
    store.close()
    servers = [ServerProcess(database), ServerProcess(database)]
    try:
        conns = [connect(server.url, key, "local", "p") for server in servers]
        ref = create_sweep(conns[0], GRID)
        agents = [Agent(conns[i % 2], ref) for i in range(4)]
        for agent in agents:
            agent.start()
        for kills in range(6):
            wait_for_runs(agents, 8 * (kills + 1))
            servers[kills % 2].kill()
            servers[kills % 2].start()
        for agent in agents:
            agent.join(PATIENCE_S)
    finally:
        for server in servers:
            server.kill()

    assert [agent.crash for agent in agents if agent.crash] == []
    raw = sqlite3.connect(database)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    runs = raw.execute("SELECT name, state, parameters, history_lines FROM runs").fetchall()
    raw.close()
    cells = Counter(json.loads(run[2])["cell"] for run in runs)
    assert cells == Counter(range(CELLS))
    assert {(run[1], run[3]) for run in runs} == {("finished", 2)}
    acknowledged: list[Any] = [run_id for agent in agents for run_id in agent.done]
    assert sorted(acknowledged) == sorted(run[0] for run in runs)


def wait_for_runs(agents: list[Agent], count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while sum(len(agent.done) for agent in agents) < count:
        assert time.monotonic() < deadline, [agent.crash for agent in agents]
        time.sleep(0.01)
