"""A server with runs that nobody had to train, and what a browser needs to look at it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import yaml

from fer_sweep.diagnosis import cases
from fer_sweep.history import History
from fer_sweep.server import tables
from fer_sweep.server.embedded import LocalServer, start_server
from fer_sweep.server.runs import find_run, upsert_run
from fer_sweep.server.store import Store
from fer_sweep.server.streams import receive
from fer_sweep.server.sweeps import upsert_sweep


@dataclass
class Site:
    """A running server, a client of it, and its database."""

    server: LocalServer
    store: Store
    client: httpx.Client
    created: int = field(default=0)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(self.server.url + path, **more)

    def add_sweep(self, config: Mapping[str, Any], *, project: str = "faces") -> str:
        given = {"entityName": "local", "projectName": project, "config": yaml.safe_dump(config)}
        with self.store.writing() as db:
            return str(upsert_sweep(db, given, now=time.time()).name)

    def add_run(
        self,
        history: History | None = None,
        *,
        name: str,
        project: str = "faces",
        display: str = "",
        sweep: str = "",
        config: Mapping[str, Any] | None = None,
        tags: list[str] | None = None,
        rows: list[dict[str, Any]] | None = None,
        log: list[str] | None = None,
        exit_code: int | None = 0,
    ) -> None:
        self.created += 1
        rows = rows or ([] if history is None else to_rows(history))
        now = time.time() + self.created / 1000
        given = {
            "entityName": "local",
            "modelName": project,
            "name": name,
            "displayName": display or name,
            "sweep": sweep,
            "config": json.dumps({k: {"value": v} for k, v in (config or {}).items()}),
            "tags": tags or [],
            "host": "gpu07",
        }
        files: dict[str, Any] = {}
        if rows:
            lines = [json.dumps(row) for row in rows]
            summary = {**rows[-1], **({} if history is None else history.summary)}
            files["wandb-history.jsonl"] = {"offset": 0, "content": lines}
            files["wandb-summary.json"] = {"offset": 0, "content": [json.dumps(summary)]}
        if log:
            files["output.log"] = {"offset": 0, "content": log}
        with self.store.writing() as db:
            made, _ = upsert_run(db, given, now=now)
            run = find_run(db, made.project_id, name)
            assert run is not None
            body = {"files": files, "complete": exit_code is not None, "exitcode": exit_code}
            receive(db, run, body, now=now)

    def add_mixed_sweep(self, count: int = 6) -> str:
        """Runs that overfit, diverge and do well, by turns."""
        parameters = {"lr": {"values": [0.1, 0.01]}, "arch": {"values": ["small", "big"]}}
        metric = {"name": "val/accuracy", "goal": "maximize"}
        sweep = self.add_sweep({"method": "random", "metric": metric, "parameters": parameters})
        makers = (cases.healthy, cases.overfit, cases.diverged)
        for i in range(count):
            config = {"lr": (0.1, 0.01)[i % 2], "arch": ("small", "big")[i // 2 % 2]}
            self.add_run(makers[i % 3](), name=f"run-{i}", sweep=sweep, config=config)
        return sweep


def to_rows(history: History) -> list[dict[str, Any]]:
    """The rows that would have made this history."""
    length = history.length
    return [
        {"_step": i, **{name: float(values[i]) for name, values in history.columns.items()}}
        for i in range(length)
    ]


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    database = tmp_path_factory.mktemp("server") / "server.sqlite"
    with start_server(database, port=0) as server, httpx.Client(timeout=30) as client:
        store = Store(database)
        yield Site(server, store, client)
        store.close()


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """An empty server; starting one for each test would take most of the time."""
    yield shared_site
    with shared_site.store.writing() as db:
        db.execute(sa.delete(tables.projects))
    shutil.rmtree(shared_site.store.files, ignore_errors=True)
