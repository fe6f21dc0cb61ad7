"""What the real ``wandb.Api`` reads of a sweep: orders, filters, pages of thousands, every kind of history."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from fer_sweep.server import runs, streams, sweeps
from fer_sweep.server.embedded import LocalServer, start_server
from fer_sweep.server.projects import ensure_project
from fer_sweep.server.store import Store

pytestmark = [pytest.mark.wandb_client]
RUNS, ROWS, MANY = 6, 40, 2500
NOW = 1_800_000_000.0
SWEEP = {
    "method": "random",
    "metric": {"name": "acc", "goal": "maximize"},
    "parameters": {"lr": {"min": 0.0, "max": 1.0}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """Project "small": a sweep of six runs with rows; project "large": 2,500 runs without."""
    path: Path = tmp_path_factory.mktemp("api") / "server.sqlite"
    store = Store(path)
    with store.writing() as db:
        given = {"config": json.dumps(SWEEP), "projectName": "small"}
        sweep = sweeps.upsert_sweep(db, given, now=NOW)
        for number in range(RUNS):
            name, config = f"run{number}", json.dumps({"lr": number / 10, "net": {"k": number % 2}})
            given = {"modelName": "small", "name": name, "config": config, "sweep": sweep.name}
            run, _ = runs.upsert_run(db, given, now=NOW + number)
            streams.receive(db, run, body(number), now=NOW + number)
        large = ensure_project(db, None, "large", now=NOW)
        for number in range(MANY):
            config = json.dumps({"number": {"value": number}})
            name = f"r{number:04}"
            runs.insert_run(db, large.id, name, now=NOW + number, config=config, state="finished")
    store.close()
    with start_server(path, port=0, clock=lambda: NOW + MANY) as started:
        yield started


def body(number: int) -> dict[str, Any]:
    """The best run is the third; every second row has the rare key, one row is not a number."""
    rows = []
    for step in range(ROWS):
        acc = step / ROWS - abs(number - 2) / 10
        row = {"_step": step, "_timestamp": NOW + step, "acc": acc, "loss": 1.0}
        rows.append(json.dumps(row | ({"rare": step} if step % 2 else {})))
    rows[3] = rows[3].replace('"loss": 1.0', '"loss": NaN')
    summary = json.dumps({"acc": json.loads(rows[-1])["acc"], "val": {"f1": number}})
    files = {
        "wandb-history.jsonl": {"offset": 0, "content": rows},
        "wandb-events.jsonl": {"offset": 0, "content": [json.dumps({"system.cpu": 5})]},
        "wandb-summary.json": {"offset": 0, "content": [summary]},
    }
    return {"files": files, "complete": True, "exitcode": 0 if number else 1}


@pytest.fixture
def api(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", server.api_key)
    yield wandb.Api()
    wandb.teardown()
    for name in ("WANDB_PROJECT", "WANDB_ENTITY"):
        os.environ.pop(name, None)


def ids(found: Any) -> list[int]:
    return [int(run.id.removeprefix("run")) for run in found]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"state": "failed"}, [0]),
        ({"config.lr": {"$gte": 0.1, "$lt": 0.4}}, [1, 2, 3]),
        ({"config.net.value.k": 1, "state": "finished"}, [1, 3, 5]),
        ({"summary_metrics.acc": {"$gt": 0.8}}, [1, 2, 3]),
        ({"summary_metrics.val.f1": {"$in": [0, 5]}}, [0, 5]),
        ({"$or": [{"display_name": {"$regex": "^run-1$"}}, {"name": "run4"}]}, [0, 4]),
        ({"$and": [{"config.lr": {"$exists": True}}, {"$not": {"state": "finished"}}]}, [0]),
        ({"created_at": {"$gte": "2027-01-15T08:00:04"}}, [4, 5]),
    ],
    ids=str,
)
def test_runs_are_filtered_as_mongodb_does(
    api: Any, filters: dict[str, Any], found: list[int]
) -> None:
    assert ids(api.runs("local/small", filters=filters)) == found


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("+created_at", [0, 1, 2, 3, 4, 5]),
        ("-created_at", [5, 4, 3, 2, 1, 0]),
        ("-config.lr.value", [5, 4, 3, 2, 1, 0]),
        ("-summary_metrics.acc", [2, 1, 3, 0, 4, 5]),
        ("+summary_metrics.val.f1", [0, 1, 2, 3, 4, 5]),
        ("-heartbeat_at", [5, 4, 3, 2, 1, 0]),
    ],
)
def test_runs_are_ordered_across_pages(api: Any, order: str, found: list[int]) -> None:
    assert ids(api.runs("local/small", order=order, per_page=4)) == found


@pytest.mark.slow
def test_thousands_of_runs_are_paged_without_loss_or_repeat(api: Any) -> None:
    found = api.runs("local/large", per_page=500)
    assert len(found) == MANY
    assert [run.id for run in found] == [f"r{number:04}" for number in range(MANY)]

    filters = {"config.number": {"$gte": 1000}}
    late = api.runs("local/large", filters=filters, order="-config.number", per_page=500)
    assert len(late) == 1500
    assert [run.id for run in late] == [f"r{number:04}" for number in reversed(range(1000, MANY))]
    assert found[2001].id == "r2001"
    assert [run.id for run in found[10:12]] == ["r0010", "r0011"]


def test_lazy_and_full_runs_say_the_same(api: Any) -> None:
    lazy = list(api.runs("local/small"))
    full = list(wandb.Api().runs("local/small", lazy=False))

    for one, other in zip(lazy, full, strict=True):
        assert one.config == other.config
        assert one.summary._json_dict == other.summary._json_dict
        assert (one.state, one.name, one.url) == (other.state, other.name, other.url)


def test_the_best_run_is_the_metrics_or_that_of_an_order(api: Any) -> None:
    sweep = api.project("small", "local").sweeps()[0]

    assert sweep.order == "-summary_metrics.acc"
    assert sweep.best_run().id == "run2"
    assert sweep.best_run(order="+summary_metrics.val.f1").id == "run0"
    assert sweep.best_run(order="-config.lr.value").id == "run5"
    assert len(sweep.runs) == RUNS
    assert api.runs("local/small", filters={"sweep": sweep.id})[0].sweep.id == sweep.id


def test_a_history_is_sampled_by_rows_or_by_keys_and_scanned_whole(api: Any) -> None:
    run = api.run("local/small/run1")

    sampled = run.history(samples=10, pandas=False)
    assert [sampled[0]["_step"], sampled[-1]["_step"], len(sampled)] == [0, ROWS - 1, 10]
    keyed = run.history(keys=["rare", "acc"], samples=500, pandas=False)
    assert [row["_step"] for row in keyed] == list(range(1, ROWS, 2))
    by_rare = run.history(keys=["acc"], x_axis="rare", samples=5, pandas=False)
    assert [set(row) for row in by_rare] == [{"rare", "acc"}] * 5
    assert run.history(stream="system", pandas=False)[0]["system.cpu"] == 5

    scanned = list(run.scan_history(page_size=7))
    assert [row["_step"] for row in scanned] == list(range(ROWS))
    assert math.isnan(scanned[3]["loss"])
    rare = list(run.scan_history(keys=["rare"], page_size=7))
    assert [row["rare"] for row in rare] == list(range(1, ROWS, 2))
    window = run.scan_history(keys=["acc", "rare"], min_step=10, max_step=15)
    assert [row["rare"] for row in window] == [11, 13]


def test_histories_of_many_runs_name_their_run(api: Any) -> None:
    rows = api.runs("local/small").histories(samples=4, keys=["acc"])
    assert [row["run_id"] for row in rows] == [f"run{n}" for n in range(RUNS) for _ in range(4)]
    assert rows[0]["_step"] == 0


def test_projects_and_runs_that_are_not_there_are_told_so(api: Any) -> None:
    assert {project.name for project in api.projects("local")} == {"small", "large"}
    with pytest.raises(ValueError, match="Could not find project"):
        len(api.runs("local/nothere"))
    with pytest.raises((ValueError, wandb.errors.CommError), match="not find run"):
        api.run("local/small/nothere")
    with pytest.raises(Exception, match="unknown operator"):
        len(api.runs("local/small", filters={"config.lr": {"$near": 1}}))
