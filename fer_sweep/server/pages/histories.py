"""What the pages know of runs' curves: read once, diagnosed once, kept until the run logs more."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from fer_sweep.diagnosis import Diagnosis, Peers, diagnose_run, find_peers
from fer_sweep.history import METRICS, Best, History, best_epoch, build_history
from fer_sweep.server import tables
from fer_sweep.server.runs import current_state
from fer_sweep.server.streams import HISTORY, read_lines
from fer_sweep.server.tables import Record

MAX_ROWS = 10_000
"""Rows read of one run; of a longer one, evenly spread rows, which makes its verdict provisional."""
_MAX_KEPT = 4_000
_CHUNK = 200


@dataclass(frozen=True)
class RunView:
    """One run with its curves, as charts and tables want it.

    Attributes:
        record: The run as stored.
        state: Its state now.
        config: Plain hyperparameters, nested ones flattened to dotted names.
        summary: Its summary.
        history: Its curves.
        diagnosis: What was found.
        best: Its best validation epoch.
    """

    record: Record
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: History
    diagnosis: Diagnosis
    best: Best | None

    @property
    def is_judged(self) -> bool:
        """Whether it logged a metric that the rules know, or failed: else its verdict says nothing."""
        return self.state in ("failed", "crashed") or any(
            self.history.has(name) for name in METRICS
        )


class Histories:
    """Reads runs with their curves; what has not changed since the last look is not read again."""

    def __init__(self) -> None:
        self._histories: OrderedDict[tuple[Any, ...], History] = OrderedDict()
        self._diagnoses: OrderedDict[tuple[Any, ...], Diagnosis] = OrderedDict()
        self._lock = threading.Lock()

    def view(self, db: sa.Connection, runs: Sequence[Record], *, now: float) -> list[RunView]:
        """The runs, each other's peers, in the order given."""
        states = [current_state(run, now=now) for run in runs]
        keys = [
            (
                run.id,
                run.history_lines,
                state,
                run.display_name,
                hash(run.config),
                hash(run.summary),
            )
            for run, state in zip(runs, states, strict=True)
        ]
        histories = self._read(db, runs, states, keys)
        peers = find_peers(histories)
        return [
            RunView(
                run,
                state,
                flat_config(run.config),
                parse(run.summary),
                history,
                self._diagnose(key, history, peers),
                best_epoch(history),
            )
            for run, state, key, history in zip(runs, states, keys, histories, strict=True)
        ]

    def _read(
        self,
        db: sa.Connection,
        runs: Sequence[Record],
        states: Sequence[str],
        keys: Sequence[tuple[Any, ...]],
    ) -> list[History]:
        with self._lock:
            known = {key: self._histories[key] for key in keys if key in self._histories}
        missing = [i for i, key in enumerate(keys) if key not in known]
        rows = _read_rows(db, [runs[i] for i in missing])
        for i in missing:
            known[keys[i]] = _build(runs[i], states[i], rows[runs[i].id])
        with self._lock:
            for i in missing:
                _keep(self._histories, keys[i], known[keys[i]])
        return [known[key] for key in keys]

    def _diagnose(self, key: tuple[Any, ...], history: History, peers: Peers) -> Diagnosis:
        key = (*key, peers.median_accuracy)
        with self._lock:
            found = self._diagnoses.get(key)
        if found is None:
            found = diagnose_run(history, peers)
            with self._lock:
                _keep(self._diagnoses, key, found)
        return found


def _keep(kept: OrderedDict[tuple[Any, ...], Any], key: tuple[Any, ...], value: Any) -> None:
    kept[key] = value
    while len(kept) > _MAX_KEPT:
        kept.popitem(last=False)


def _build(run: Record, state: str, lines: Sequence[str]) -> History:
    return build_history(
        [row for line in lines if isinstance(row := json.loads(line), dict)],
        run_id=run.name,
        run_name=run.display_name,
        state=state,
        config={k: v for k, v in flat_config(run.config).items() if v is not None},
        summary=parse(run.summary),
        rows_expected=run.history_lines,
        tags=parse(run.tags),
    )


def _read_rows(db: sa.Connection, runs: Sequence[Record]) -> dict[int, list[str]]:
    """History lines of many runs in few queries."""
    found: dict[int, list[str]] = {run.id: [] for run in runs}
    long = [run for run in runs if run.history_lines > MAX_ROWS]
    for run in long:
        found[run.id] = read_lines(db, run, HISTORY, samples=MAX_ROWS)
    ids = [run.id for run in runs if 0 < run.history_lines <= MAX_ROWS]
    columns = tables.lines.c
    for start in range(0, len(ids), _CHUNK):
        query = (
            sa.select(columns.run_id, columns.body)
            .where(columns.run_id.in_(ids[start : start + _CHUNK]), columns.stream == HISTORY)
            .order_by(columns.run_id, columns.number)
        )
        for run_id, body in db.execute(query):
            found[run_id].append(body)
    return found


@lru_cache(maxsize=8_192)
def parse(text: str) -> Any:
    """A stored document; shared by all who ask, so not to be changed."""
    return json.loads(text)


@lru_cache(maxsize=8_192)
def flat_config(text: str) -> Mapping[str, Any]:
    """A stored config as plain values: dotted names, without W&B's own entries.

    Example:
        >>> flat_config('{"lr": {"value": 0.1}, "opt": {"value": {"name": "adam"}}, "_wandb": {"value": {}}}')
        {'lr': 0.1, 'opt.name': 'adam'}
    """
    flat: dict[str, Any] = {}
    for name, item in json.loads(text).items():
        value = item.get("value") if isinstance(item, dict) and "value" in item else item
        if not str(name).startswith(("_", "wandb")):
            _flatten(flat, str(name), value)
    return flat


def _flatten(flat: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            _flatten(flat, f"{name}.{key}", item)
    else:
        flat[name] = value
