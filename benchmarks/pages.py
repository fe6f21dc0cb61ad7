"""The page of a big sweep: how long its first and its second look take, next to reading every run again.

    python benchmarks/pages.py [--runs 1000] [--rows 100]

Prints seconds and the ratio of reading and diagnosing everything anew to a second look, measured in one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from fer_sweep.diagnosis import cases
from fer_sweep.server.pages.histories import Histories
from fer_sweep.server.pages.listing import Query
from fer_sweep.server.pages.render import render
from fer_sweep.server.pages.sweep_page import sweep_content
from fer_sweep.server.projects import find_project
from fer_sweep.server.runs import find_run, upsert_run
from fer_sweep.server.store import Store
from fer_sweep.server.streams import receive
from fer_sweep.server.sweeps import find_sweep, upsert_sweep

CONFIG = {
    "method": "random",
    "metric": {"name": "val/accuracy", "goal": "maximize"},
    "parameters": {"learning_rate": {"min": 0.0001, "max": 0.1}, "dropout": {"values": [0.0, 0.5]}},
}


def fill(store: Store, runs: int, rows: int) -> str:
    """A sweep of finished runs; returns its id."""
    histories = [cases.healthy(rows, seed=i) for i in range(5)]
    histories += [cases.overfit(rows, turn=rows // 4, seed=i) for i in range(5)]
    given = {"entityName": "local", "projectName": "big", "config": yaml.safe_dump(CONFIG)}
    with store.writing() as db:
        sweep = str(upsert_sweep(db, given, now=time.time()).name)
        for i in range(runs):
            history = histories[i % len(histories)]
            values = {"learning_rate": 0.1 * (i + 1) / runs, "dropout": i % 2 / 2}
            config = json.dumps({name: {"value": value} for name, value in values.items()})
            made = {
                "modelName": "big",
                "name": f"r{i}",
                "sweep": sweep,
                "config": config,
                "host": "h",
            }
            record, _ = upsert_run(db, made, now=time.time())
            run = find_run(db, record.project_id, f"r{i}")
            assert run is not None
            lines = [
                json.dumps(
                    {"_step": t, **{name: float(v[t]) for name, v in history.columns.items()}}
                )
                for t in range(rows)
            ]
            files = {
                "wandb-history.jsonl": {"offset": 0, "content": lines},
                "wandb-summary.json": {"offset": 0, "content": [lines[-1]]},
            }
            receive(db, run, {"files": files, "complete": True, "exitcode": 0}, now=time.time())
    return sweep


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Fill a database, look at its sweep, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "server.sqlite")
        name = fill(store, options.runs, options.rows)
        histories, content = Histories(), {}

        def look() -> None:
            with store.reading() as db:
                project = find_project(db, "local", "big")
                sweep = project and find_sweep(db, project.id, name)
                assert sweep is not None
                content.update(sweep_content(db, histories, sweep, Query(), now=time.time()))

        first = timed(look)
        rest = 0.0
        while content["unread"]:
            rest += timed(look)
        again = [timed(look) for _ in range(7)]
        page = {**content, "entity": "local", "project": "big"}
        drawn = [timed(lambda: render("sweep.html.j2", **page)) for _ in range(7)]
        store.close()
    second = statistics.median(again)
    print(f"{options.runs} runs of {options.rows} rows")
    print(
        f"first look          {first:6.3f} s, then {rest:.3f} s in slices until all are diagnosed"
    )
    print(
        f"second look: data   {second:6.3f} s (median of 7, {min(again):.3f} to {max(again):.3f})"
    )
    print(f"second look: HTML   {statistics.median(drawn):6.3f} s (median of 7)")
    print(f"reading anew / second look: {(first + rest) / second:.0f}x")


if __name__ == "__main__":
    main()
