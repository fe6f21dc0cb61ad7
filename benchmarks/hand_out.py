"""How much longer a hand-out takes in a sweep of 1,200 runs than in one of 12: grid, random and bayes.

    python benchmarks/hand_out.py

One hand-out is one agent's heartbeat in the store, with its transaction, and the end of the trial. Both sizes
are measured in turn in one run; printed are medians and ranges of 9.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

from fer_sweep.server import agents, runs, streams, sweeps
from fer_sweep.server.store import Store

SIZES = (12, 1200)
ROUNDS = 9
NOW = 1_800_000_000.0
SPACE = {"a": {"values": list(range(40))}, "b": {"min": 1, "max": 100}}


def make_sweep(store: Store, method: str, size: int) -> tuple[int, str]:
    """A sweep with ``size`` finished runs; its project and one agent."""
    config = {"method": method, "metric": {"name": "m", "goal": "maximize"}, "parameters": SPACE}
    with store.writing() as db:
        given = {"config": json.dumps(config), "projectName": f"{method}{size}"}
        sweep = sweeps.upsert_sweep(db, given, now=NOW)
        for number in range(size):
            values = json.dumps({"a": number // 100, "b": 1 + number % 100})
            done = {"parameters": values, "state": "finished", "metric_best": number % 7 + 0.1}
            name = f"r{number}"
            runs.insert_run(db, sweep.project_id, name, now=NOW, sweep_id=sweep.id, **done)
        given = {"host": "here", "projectName": f"{method}{size}", "sweep": sweep.name}
        return sweep.project_id, str(agents.create_agent(db, given, now=NOW).name)


def hand_out_ms(store: Store, project_id: int, agent: str) -> float:
    """Milliseconds that one trial costs the store, from the heartbeat to its end."""
    start = time.perf_counter()
    with store.writing() as db:
        (command,) = agents.heartbeat(db, agent, [], now=NOW)[1]
        run = runs.find_run(db, project_id, command["run_id"])
        assert run is not None
        streams.receive(db, run, {"complete": True, "exitcode": 0}, now=NOW)
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "server.sqlite")
        for method in ("grid", "random", "bayes"):
            prepared = [make_sweep(store, method, size) for size in SIZES]
            times: list[list[float]] = [[], []]
            for _ in range(ROUNDS + 1):  # the first warms up
                for series, (project_id, agent) in zip(times, prepared, strict=True):
                    series.append(hand_out_ms(store, project_id, agent))
            small, large = (statistics.median(series[1:]) for series in times)
            spread = f"{min(times[1][1:]):.1f}-{max(times[1][1:]):.1f}"
            print(
                f"{method:6}  {SIZES[0]} runs {small:6.1f} ms   {SIZES[1]} runs {large:6.1f} ms "
                f"({spread}, n={ROUNDS})   ratio {large / small:.1f}"
            )
        store.close()


if __name__ == "__main__":
    main()
