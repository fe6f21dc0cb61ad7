"""The server under load: agents that log, plain runs next to openwandb, a big sweep, start-up and memory.

    python benchmarks/server.py [agents] [plain] [large] [start] [--postgresql URL]

Server and load generator share the machine. Each figure is printed with its number of samples and its range.
openwandb (CC BY-NC, never a dependency) is installed from PyPI into a temporary environment, for the comparison only.
It checks its key with bcrypt at each request, which is most of its time; its figure says more about that than about its store.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AGENTS = 64
AGENT_SECONDS = 20
PLAIN_RUNS = 8
PLAIN_SECONDS = 4.0
RUNS, ROWS = 1000, 100
SWEEP_PAGE_LOOKS = 15
START_ROUNDS = 9
OPENWANDB_KEY = "local" + "0" * 40
SERVE = """
import sys
from pathlib import Path
from fer_sweep.server.embedded import start_server
where = sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1])
sys.setswitchinterval(0.0005)  # as `fersweep serve`
with start_server(where, files=Path(sys.argv[2]), port=0) as server:
    print(server.url, server.api_key, flush=True)
    sys.stdin.read()
"""
METRICS = (
    "train/loss",
    "train/accuracy",
    "val/loss",
    "val/accuracy",
    "val/macro_f1",
    "lr",
    "time/epoch_s",
    "images_per_s",
)
CREATE_SWEEP = 'mutation S($config: String) { upsertSweep(input: {projectName: "p", config: $config}) { sweep { name } } }'
CREATE_AGENT = """mutation A($sweep: String!) {
  createAgent(input: {host: "here", projectName: "p", sweep: $sweep}) { agent { id } }
}"""
HEARTBEAT = """mutation Heartbeat($id: ID!, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, runState: $runState}) { agent { id } commands }
}"""
CREATE_RUN = """mutation UpsertBucket($name: String, $sweep: String) {
  upsertBucket(input: {name: $name, modelName: "p", entityName: "local", host: "here", sweep: $sweep}) { inserted }
}"""
OPENWANDB_RUN = """mutation UpsertBucket($name: String, $project: String, $entity: String) {
  upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, config: "{}"}) { inserted }
}"""
RUNS_PAGE = """query Runs($filters: JSONString, $first: Int) {
  project(name: "p") {
    runCount(filters: $filters)
    runs(filters: $filters, first: $first) {
      edges { node {
        id tags name displayName sweepName state config group jobType commit readOnly createdAt heartbeatAt
        description notes systemMetrics summaryMetrics historyLineCount user { name username } historyKeys
      } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}"""
ONE_HISTORY = """query H($name: String) {
  project(name: "p") { run(name: $name) { history(samples: 500) } }
}"""
ALL_HISTORIES = """query H($after: String) {
  project(name: "p") { runs(first: 100, after: $after) {
    edges { node { name history(samples: 500) } } pageInfo { endCursor hasNextPage }
  } }
}"""
SWEEP = {
    "method": "random",
    "metric": {"name": "val/accuracy", "goal": "maximize"},
    "early_terminate": {"type": "hyperband", "min_iter": 3},
    "parameters": {"lr": {"min": 0.0001, "max": 0.1, "distribution": "log_uniform_values"}, "seed": {"values": list(range(100))}},
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A server process."""

    port: int
    key: str
    pid: int
    entity: str = "local"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, which: str = "VmRSS") -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split(f"{which}:")[1].split()[0]) / 1024


class Client:
    """One kept connection; bare asyncio, so that the load generator costs little next to the server."""

    def __init__(self, server: Server) -> None:
        token = base64.b64encode(f"api:{server.key}".encode()).decode()
        self._headers = f"Host: 127.0.0.1:{server.port}\r\nAuthorization: Basic {token}\r\nContent-Type: application/json\r\n"
        self._port = server.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Any) -> Any:
        return json.loads(await self._send("POST", path, json.dumps(body).encode()))

    async def get(self, path: str) -> bytes:
        return await self._send("GET", path, b"")

    async def _send(self, method: str, path: str, data: bytes) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(
            f"{method} {path} HTTP/1.1\r\n{self._headers}Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        answer = await reader.readexactly(length)
        assert " 200 " in head.split("\r\n")[0], (head, answer)
        return answer

    async def execute(self, query: str, **variables: Any) -> Any:
        answer = await self.post("/graphql", {"query": query, "variables": variables})
        assert not answer.get("errors"), answer
        return answer["data"]

    async def log(self, where: str, offset: int, rows: Sequence[str]) -> None:
        files = {
            "wandb-history.jsonl": {"offset": offset, "content": list(rows)},
            "wandb-summary.json": {"offset": 0, "content": [rows[-1]]},
        }
        await self.post(f"/files/{where}/file_stream", {"files": files, "dropped": 0})

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


def row(step: int) -> str:
    values = {name: 0.5 + step / 1e4 + i / 10 for i, name in enumerate(METRICS)}
    return json.dumps(
        {"_step": step, "_runtime": step, "_timestamp": 1.8e9 + step, "epoch": step + 1} | values
    )


@contextmanager
def our_server(database: str | None = None) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-c",
            SERVE,
            database or f"{folder}/server.sqlite",
            f"{folder}/files",
        ]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            url, key = process.stdout.readline().split()
            yield Server(int(url.rpartition(":")[2]), key, process.pid)
            process.stdin.close()
            process.wait(30)


@contextmanager
def openwandb() -> Iterator[Server | None]:
    """openwandb in an environment of its own; None if it cannot be installed."""
    with tempfile.TemporaryDirectory() as folder:
        programs = Path(folder) / "venv" / "bin"
        try:
            subprocess.run(
                [sys.executable, "-m", "venv", f"{folder}/venv"], check=True, capture_output=True
            )
            install = [
                str(programs / "python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "openwandb",
            ]
            subprocess.run(install, check=True, capture_output=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"openwandb cannot be installed, so there is no comparison with it ({error}).")
            yield None
            return
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        options = [
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--data-dir",
            f"{folder}/data",
            "--log-level",
            "error",
        ]
        command = [str(programs / "openwandb"), "serve", *options]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        quiet = subprocess.DEVNULL
        with subprocess.Popen(
            command, stdout=quiet, stderr=quiet, env=environ, cwd=folder
        ) as process:
            wait_for_port(port)
            yield Server(port, OPENWANDB_KEY, process.pid, entity="default")
            process.terminate()
            process.wait(30)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        else:
            return


@dataclass
class Latencies:
    """How long calls took, in seconds."""

    values: list[float] = field(default_factory=list)

    async def time(self, call: Awaitable[Any]) -> None:
        start = time.perf_counter()
        await call
        self.values.append(time.perf_counter() - start)

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.values, n=100)
        figures = {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": max(self.values)}
        return (
            ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in figures.items())
            + f" (n={len(self.values)})"
        )


async def agents(server: Server) -> None:
    """64 agents, each with a heartbeat and a row per second."""
    first = Client(server)
    sweep = (await first.execute(CREATE_SWEEP, config=json.dumps(SWEEP)))["upsertSweep"]["sweep"][
        "name"
    ]
    hand_outs, heartbeats, logs, lags = Latencies(), Latencies(), Latencies(), Latencies()
    ready = asyncio.Barrier(AGENTS)

    async def agent(number: int) -> None:
        client = Client(server)
        name = (await client.execute(CREATE_AGENT, sweep=sweep))["createAgent"]["agent"]["id"]
        start = time.perf_counter()
        answer = await client.execute(HEARTBEAT, id=name, runState="{}")
        hand_outs.values.append(time.perf_counter() - start)
        run = json.loads(answer["agentHeartbeat"]["commands"])[0]["run_id"]
        await client.execute(CREATE_RUN, name=run, sweep=sweep)
        await ready.wait()
        begin = time.perf_counter() + 0.2 + number / AGENTS
        for step in range(AGENT_SECONDS):
            await asyncio.sleep(max(0.0, begin + step - time.perf_counter()))
            lags.values.append(max(0.0, time.perf_counter() - begin - step))
            await heartbeats.time(
                client.execute(HEARTBEAT, id=name, runState=json.dumps({run: True}))
            )
            await logs.time(client.log(f"local/p/{run}", step, [row(step)]))
        client.close()

    before = server.cpu_s()
    await asyncio.gather(*(agent(number) for number in range(AGENTS)))
    used = (server.cpu_s() - before) / AGENT_SECONDS
    print(f"{AGENTS} agents, a heartbeat and a row per second each for {AGENT_SECONDS} s:")
    print(f"  heartbeat {heartbeats}\n  log row   {logs}\n  hand-out, all at once {hand_outs}")
    print(
        f"  the load generator itself was late by {lags}; server memory {server.memory_mb():.0f} MB"
    )
    print(f"  the server used {used:.2f} of a core")
    first.close()


async def rows_per_second(
    server: Server, create: Callable[[Client, str], Awaitable[Any]], *, chunk: int, round_: int
) -> float:
    """Rows that 8 plain runs log at once, each sending its next request when the last is answered."""
    done = 0
    begin = time.perf_counter()
    stop = begin + PLAIN_SECONDS

    async def run(number: int) -> None:
        nonlocal done
        client, name = Client(server), f"plain{chunk}x{round_}x{number}"
        await create(client, name)
        step = 0
        while time.perf_counter() < stop:
            await client.log(
                f"{server.entity}/p/{name}", step, [row(step + i) for i in range(chunk)]
            )
            step += chunk
            done += chunk
        client.close()

    await asyncio.gather(*(run(number) for number in range(PLAIN_RUNS)))
    return done / (time.perf_counter() - begin)


async def plain(ours: Server, theirs: Server | None) -> None:
    """Rows per second of plain runs, ours and openwandb alternating."""
    for chunk in (1, 20):
        figures: dict[str, list[float]] = {"fersweep": [], "openwandb": []}
        for round_ in range(3):
            figures["fersweep"].append(
                await rows_per_second(
                    ours, lambda c, n: c.execute(CREATE_RUN, name=n), chunk=chunk, round_=round_
                )
            )
            if theirs is not None:
                figures["openwandb"].append(
                    await rows_per_second(
                        theirs,
                        lambda c, n: c.execute(
                            OPENWANDB_RUN, name=n, project="p", entity="default"
                        ),
                        chunk=chunk,
                        round_=round_,
                    )
                )
        print(f"{PLAIN_RUNS} plain runs, {chunk} row(s) of {len(METRICS)} metrics per request:")
        for name, values in figures.items():
            if values:
                print(
                    f"  {name:9} {statistics.median(values):7.0f} rows/s ({min(values):.0f} to {max(values):.0f}, n=3)"
                )
        if theirs is not None:
            ratio = statistics.median(figures["fersweep"]) / statistics.median(figures["openwandb"])
            print(f"  ratio     {ratio:7.1f}x (target 3x)")


async def fill(server: Server) -> str:
    """A sweep of 1,000 finished runs of 100 rows."""
    client = Client(server)
    sweep: str = (await client.execute(CREATE_SWEEP, config=json.dumps(SWEEP)))["upsertSweep"][
        "sweep"
    ]["name"]
    rows = [row(step) for step in range(ROWS)]
    for number in range(RUNS):
        await client.execute(CREATE_RUN, name=f"r{number}", sweep=sweep)
        await client.log(f"local/p/r{number}", 0, rows)
        await client.post(
            f"/files/local/p/r{number}/file_stream", {"complete": True, "exitcode": 0}
        )
    client.close()
    return sweep


async def timed(client: Client, body: dict[str, Any], rounds: int = 7) -> str:
    times = Latencies()
    for _ in range(rounds):
        await times.time(client.post("/graphql", body))
    values = [1000 * value for value in times.values]
    return (
        f"{statistics.median(values):.0f} ms ({min(values):.0f} to {max(values):.0f}, n={rounds})"
    )


async def large(server: Server) -> None:
    """The queries behind a page of 1,000 runs, and the histories of them all."""
    start = time.perf_counter()
    sweep = await fill(server)
    print(f"{RUNS} runs x {ROWS} rows (made in {time.perf_counter() - start:.0f} s):")
    client = Client(server)
    for first in (50, RUNS):
        body = {
            "query": RUNS_PAGE,
            "variables": {"filters": json.dumps({"sweep": sweep}), "first": first},
        }
        print(f"  Runs query, {first:4} runs {await timed(client, body)} (target 300 ms)")
    looks = Latencies()
    for _ in range(SWEEP_PAGE_LOOKS):
        await looks.time(client.get(f"/local/p/sweeps/{sweep}"))
    print(f"  sweep page, first look {1000 * looks.values[0]:.0f} ms, then {looks} (target 300 ms)")
    one = {"query": ONE_HISTORY, "variables": {"name": "r7"}}
    print(f"  history of one run, the server's part {await timed(client, one)}")
    begin = time.perf_counter()
    cursor, rows = None, 0
    while True:
        page = (await client.execute(ALL_HISTORIES, after=cursor))["project"]["runs"]
        rows += sum(len(edge["node"]["history"]) for edge in page["edges"])
        cursor = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert rows == RUNS * ROWS, rows
    print(f"  all histories, 100 runs per query {time.perf_counter() - begin:.1f} s")
    client.close()
    print(
        f"  memory {server.memory_mb():.0f} MB, peak {server.memory_mb('VmHWM'):.0f} MB (target 150 MB)"
    )
    histories(server, sweep)


def histories(server: Server, sweep: str) -> None:
    """The real client: histories() against a loop over scan_history(), a tenth of the runs for the slow one."""
    script = """
import sys, time, wandb
api = wandb.Api(timeout=120)
runs = api.runs("local/p", filters={"sweep": sys.argv[1]}, per_page=1000)
list(runs)
sample = list(runs)[:100]
begin = time.perf_counter()
scanned = sum(len(list(run.scan_history(use_cache=False))) for run in sample)
scan_s = (time.perf_counter() - begin) * 10
begin = time.perf_counter()
rows = len(runs.histories(samples=500))
histories_s = time.perf_counter() - begin
assert (scanned, rows) == (10_000, 100_000), (scanned, rows)
print(f"  runs.histories() {histories_s:.1f} s; loop over scan_history() {scan_s:.1f} s (100 runs x 10); ratio {scan_s / histories_s:.1f}x (target 10x)")
"""
    environ = os.environ | {
        "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": server.key,
        "WANDB_SILENT": "true",
    }
    subprocess.run([sys.executable, "-c", script, sweep], check=True, env=environ)


def start_up() -> None:
    """What the embedded server adds to a command that has its own imports to do."""
    command = "import httpx, fer_sweep.space, fer_sweep.settings\n"
    serve = command + (
        "import sys\nfrom pathlib import Path\nfrom fer_sweep.server.embedded import start_server\n"
        "start_server(Path(sys.argv[1]) / 'server.sqlite', port=0).close()\n"
    )
    added, cpu = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(START_ROUNDS + 1):
            times = []
            for script in (command, serve):
                spent = os.times()
                cpu_before = spent.children_user + spent.children_system
                begin = time.perf_counter()
                subprocess.run([sys.executable, "-c", script, folder], check=True)
                spent = os.times()
                cpu_now = spent.children_user + spent.children_system
                times.append((time.perf_counter() - begin, cpu_now - cpu_before))
            added.append(times[1][0] - times[0][0])
            cpu.append(times[1][1] - times[0][1])
    added, cpu = added[1:], cpu[1:]  # the first round fills the disk cache
    print(
        f"start-up and end of the server add {statistics.median(added):.2f} s to a command "
        f"({min(added):.2f} to {max(added):.2f}, n={START_ROUNDS}; target 0.4 s), "
        f"{statistics.median(cpu):.2f} s of it CPU ({min(cpu):.2f} to {max(cpu):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["agents", "plain", "large", "start"])
    parser.add_argument("--postgresql", help="also run the agents on this empty database")
    options = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load before the start {load}")
    if "agents" in options.parts:
        with our_server() as server:
            asyncio.run(agents(server))
        if options.postgresql:
            print("on PostgreSQL:")
            with our_server(options.postgresql) as server:
                asyncio.run(agents(server))
    if "plain" in options.parts:
        with our_server() as ours, openwandb() as theirs:
            asyncio.run(plain(ours, theirs))
    if "large" in options.parts:
        with our_server() as server:
            asyncio.run(large(server))
    if "start" in options.parts:
        start_up()


if __name__ == "__main__":
    main()
