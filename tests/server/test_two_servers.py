"""Two server processes on one file, and many agents on both at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fer_sweep.server.embedded import start_server
from fer_sweep.tracking import (
    AgentSession,
    Command,
    Connection,
    SweepRef,
    connect,
    create_sweep,
    fetch_runs,
    fetch_sweep,
)

GRID = {
    "method": "grid",
    "parameters": {"a": {"values": list(range(8))}, "b": {"values": list(range(5))}},
}
INIT = """mutation UpsertBucket($name: String) {
  upsertBucket(input: {name: $name, modelName: "p", host: "here"}) { inserted }
}"""


@contextmanager
def server_process(database: Path) -> Iterator[str]:
    """A server in a process of its own; its URL."""
    script = f"""
import sys
from pathlib import Path
from fer_sweep.server.embedded import start_server
with start_server(Path({str(database)!r}), port=0) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        assert process.wait(20) == 0


class Agent(threading.Thread):
    """Takes trials and finishes them at once, until it is told to exit."""

    def __init__(self, conn: Connection, ref: SweepRef) -> None:
        super().__init__()
        self.taken: list[tuple[int, int]] = []
        self.crash: Exception | None = None
        self._conn = conn
        self._ref = ref

    def run(self) -> None:
        try:
            session = AgentSession(self._conn, self._ref)
            while (command := session.heartbeat([])) != Command("exit"):
                if command is not None:
                    self._train(command)
        except Exception as error:  # noqa: BLE001 - raised in the test's own thread
            self.crash = error

    def _train(self, command: Command) -> None:
        self.taken.append((command.parameters["a"], command.parameters["b"]))
        self._conn.execute(INIT, {"name": command.run_id})
        path = f"/files/local/p/{command.run_id}/file_stream"
        self._conn.post(path, {"complete": True, "exitcode": 0})


@pytest.mark.slow
def test_forty_cells_are_handed_out_once_each(tmp_path: Path) -> None:
    database = tmp_path / "server.sqlite"
    with start_server(database, port=0) as here, server_process(database) as there:
        conns = [connect(url, here.api_key, "local", "p") for url in (here.url, there)]
        ref = create_sweep(conns[0], GRID)
        agents = [Agent(conns[i % 2], ref) for i in range(8)]
        for agent in agents:
            agent.start()
        for agent in agents:
            agent.join(60)

        assert [agent.crash for agent in agents if agent.crash] == []
        assert {run.state for run in fetch_runs(conns[1], sweep=ref)} == {"finished"}
        assert fetch_sweep(conns[1], ref).state == "FINISHED"
    taken = [cell for agent in agents for cell in agent.taken]
    assert sorted(taken) == [(a, b) for a in range(8) for b in range(5)]
