"""What the pages know of runs' curves: read once, diagnosed once, kept until the run logs more."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from fer_sweep.diagnosis import Diagnosis, Peers, diagnose_run, peers_of
from fer_sweep.history import METRICS, Best, History, best_epoch, build_history
from fer_sweep.server import tables
from fer_sweep.server.runs import current_state
from fer_sweep.server.streams import HISTORY, read_lines
from fer_sweep.server.tables import Record

MAX_ROWS = 10_000
"""Rows read of one run; of a longer one, evenly spread rows, which makes its verdict provisional."""
_MAX_KEPT, _MAX_ROWS_KEPT = 4_000, 500_000
"""Runs and rows kept in memory: about 50 MB of ten metrics."""
_CHUNK = 100
_MAX_DEPTH = 12
Key = tuple[Any, ...]


@dataclass(frozen=True)
class RunView:
    """One run with its curves, as charts and tables want it.

    Attributes:
        record: The run as stored.
        state: Its state now.
        config: Plain hyperparameters, nested ones flattened to dotted names.
        summary: Its summary.
        history: Its curves.
        diagnosis: What was found; None until there was time to look.
        best: Its best validation epoch.
    """

    record: Record
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: History
    diagnosis: Diagnosis | None
    best: Best | None

    @property
    def title(self) -> str:
        """What people call it; never empty, as it is what links say."""
        return str(self.record.display_name.strip() or self.record.name)

    @property
    def is_judged(self) -> bool:
        """Whether it logged a metric that the rules know, or failed: else its verdict says nothing."""
        return self.diagnosis is not None and (
            self.state in ("failed", "crashed") or any(self.history.has(name) for name in METRICS)
        )


class Histories:
    """Reads runs with their curves; what has not changed since the last look is not read again."""

    def __init__(self) -> None:
        self._read: OrderedDict[Key, tuple[History, Best | None]] = OrderedDict()
        self._diagnoses: OrderedDict[tuple[Key, Peers], Diagnosis] = OrderedDict()
        self._rows = 0
        self._lock = threading.Lock()

    def view(
        self, db: sa.Connection, runs: Sequence[Record], *, now: float, budget_s: float = math.inf
    ) -> list[RunView]:
        """The runs, each other's peers, in the order given.

        Args:
            db: A transaction.
            runs: The runs.
            now: The time.
            budget_s: About how long to read and diagnose; what is not done by then is left to the next look.
        """
        deadline = time.monotonic() + budget_s
        states = [current_state(run, now=now) for run in runs]
        keys = [_key(run, state) for run, state in zip(runs, states, strict=True)]
        known = self._read_all(db, list(zip(keys, runs, states, strict=True)), deadline)
        best = [found[1] for key in keys if (found := known.get(key)) is not None]
        peers = peers_of(best)
        complete = len(known) == len(
            set(keys)
        )  # diagnosed with half of its peers, all would be diagnosed twice
        views = []
        for key, run, state in zip(keys, runs, states, strict=True):
            history, best_one = known.get(key) or (_unread(run, state), None)
            diagnosis = self._diagnose(key, history, peers, deadline) if complete else None
            config, summary = flat_config(run.config), parse(run.summary)
            views.append(RunView(run, state, config, summary, history, diagnosis, best_one))
        return views

    def _read_all(
        self, db: sa.Connection, wanted: Sequence[tuple[Key, Record, str]], deadline: float
    ) -> dict[Key, tuple[History, Best | None]]:
        with self._lock:
            known = {key: self._read[key] for key, _, _ in wanted if key in self._read}
        missing = [item for item in wanted if item[0] not in known]
        for start in range(0, len(missing), _CHUNK):
            if start and time.monotonic() > deadline:
                break
            chunk = missing[start : start + _CHUNK]
            rows = _read_rows(db, [run for _, run, _ in chunk])
            for key, run, state in chunk:
                history = _build(run, state, rows[run.id])
                known[key] = (history, best_epoch(history))
                self._remember(key, known[key])
        return known

    def _remember(self, key: Key, found: tuple[History, Best | None]) -> None:
        """Keep what was read; the oldest goes when there is too much."""
        with self._lock:
            self._read[key] = found
            self._rows += found[0].length
            while len(self._read) > 1 and (
                len(self._read) > _MAX_KEPT or self._rows > _MAX_ROWS_KEPT
            ):
                _, (oldest, _) = self._read.popitem(last=False)
                self._rows -= oldest.length

    def _diagnose(
        self, key: Key, history: History, peers: Peers, deadline: float
    ) -> Diagnosis | None:
        with self._lock:
            found = self._diagnoses.get((key, peers))
        if found is None and time.monotonic() < deadline:
            found = diagnose_run(history, peers)
            with self._lock:
                _keep(self._diagnoses, (key, peers), found)
        return found


def _key(run: Record, state: str) -> Key:
    """Changes whenever a run's curves or diagnosis may."""
    return (
        run.id,
        run.history_lines,
        state,
        run.display_name,
        hash(run.config),
        hash(run.summary),
    )


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    while len(kept) > _MAX_KEPT:
        kept.popitem(last=False)


def _build(run: Record, state: str, lines: Sequence[str]) -> History:
    return build_history(
        [row for line in lines if isinstance(row := json.loads(line), dict)],
        run_id=run.name,
        run_name=run.display_name.strip() or run.name,
        state=state,
        config={k: v for k, v in flat_config(run.config).items() if v is not None},
        summary=parse(run.summary),
        rows_expected=run.history_lines,
        tags=parse(run.tags),
    )


def _unread(run: Record, state: str) -> History:
    """Stands for the curves of a run until there is time to read them."""
    return History(run.name, run.display_name, state, {}, {}, {}, run.history_lines)


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


def _flatten(flat: dict[str, Any], name: str, value: Any, depth: int = 0) -> None:
    if isinstance(value, dict) and value and depth < _MAX_DEPTH:
        for key, item in value.items():
            _flatten(flat, f"{name}.{key}", item, depth + 1)
    else:
        flat[name] = value
