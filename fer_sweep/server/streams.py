"""What a run sends while it lives: history rows, system events, console lines.

Lines are kept as they came, keyed by their number, so sending them twice changes nothing. What other
requests need often (how many, which keys, the sweep's metric) is kept up to date beside them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.database import insert_missing, upsert
from fer_sweep.server.limits import parse_json
from fer_sweep.server.runs import complete_run, metric_value, summary_columns, update_run
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError

HISTORY, EVENTS, LOG = "history", "events", "log"
DEFAULT_SAMPLES = 500
"""W&B's default number of rows in a sampled history."""
_STREAMS = {"wandb-history.jsonl": HISTORY, "wandb-events.jsonl": EVENTS, "output.log": LOG}
_COUNTERS = {HISTORY: "history_lines", EVENTS: "event_lines", LOG: "log_lines"}
_MAX_STEP = 1 << 62
_MAX_PARAMETERS = 1000
T = TypeVar("T")


def receive(db: sa.Connection, run: Record, body: Mapping[str, Any], *, now: float) -> None:
    """Take in one ``file_stream`` request; one without content is a sign of life.

    Raises:
        RequestError: If its content is not what wandb sends.
    """
    values: dict[str, Any] = {"heartbeat_at": now}
    # A preempted run that was handed out again is not started by its old process's last words.
    is_stale = run.state == "pending" and run.requeues > 0
    if run.state == "pending" and not is_stale:
        values["state"] = "running"
    if body.get("preempting"):
        values["preempting"] = True
    for name, chunk in (body.get("files") or {}).items():
        content = [str(line) for line in chunk["content"]]
        if name == "wandb-summary.json" and content:
            values |= summary_columns(run, content[-1])
        elif name in _STREAMS and content:
            values |= _append(db, run, _STREAMS[name], int(chunk.get("offset") or 0), content)
    update_run(db, run, **values)
    if body.get("complete") and not is_stale:
        preempting = run.preempting or bool(body.get("preempting"))
        complete_run(db, run, body.get("exitcode"), preempting=preempting)


def read_lines(
    db: sa.Connection,
    run: Record,
    stream: str,
    *,
    min_step: int | None = None,
    max_step: int | None = None,
    samples: int | None = None,
) -> list[str]:
    """Lines of a stream in order.

    Args:
        db: A transaction.
        run: The run.
        stream: ``HISTORY``, ``EVENTS`` or ``LOG``.
        min_step: First step, for a history.
        max_step: First step that is no longer wanted, for a history.
        samples: At most this many lines, evenly spread over all of them.
    """
    where = [tables.lines.c.run_id == run.id, tables.lines.c.stream == stream]
    if min_step is not None or max_step is not None:
        where.append(tables.lines.c.step >= (min_step or 0))
        where.append(tables.lines.c.step < (_MAX_STEP if max_step is None else max_step))
    if samples is not None and getattr(run, _COUNTERS[stream]) > samples:
        numbers = db.scalars(
            sa.select(tables.lines.c.number).where(*where).order_by("number")
        ).all()
        where.append(tables.lines.c.number.in_(thin(numbers, samples)))
    query = sa.select(tables.lines.c.body).where(*where).order_by(tables.lines.c.number)
    return list(db.scalars(query))


def last_lines(db: sa.Connection, run: Record, stream: str) -> list[str]:
    """The last line of a stream, or nothing."""
    query = sa.select(tables.lines.c.body).where(
        tables.lines.c.run_id == run.id, tables.lines.c.stream == stream
    )
    return list(db.scalars(query.order_by(tables.lines.c.number.desc()).limit(1)))


class LastEvents:
    """The last system event of each of some runs, read together when the first is asked for."""

    def __init__(self, db: sa.Connection, runs: Sequence[Record]) -> None:
        self._db = db
        self._runs = runs
        self._found: dict[int, str] | None = None

    def of(self, run: Record) -> str:
        """The event as JSON; ``{}`` if there is none."""
        if self._found is None:
            self._found = self._read()
        return self._found.get(run.id, "{}")

    def _read(self) -> dict[int, str]:
        ids = [run.id for run in self._runs if run.event_lines]
        lines, runs = tables.lines.c, tables.runs.c
        query = (
            sa.select(lines.run_id, lines.body)
            .join_from(tables.runs, tables.lines, runs.id == lines.run_id)
            .where(lines.stream == EVENTS, lines.number == runs.event_lines - 1)
        )
        found: dict[int, str] = {}
        for start in range(0, len(ids), _MAX_PARAMETERS):
            some = query.where(runs.id.in_(ids[start : start + _MAX_PARAMETERS]))
            found |= {row.run_id: row.body for row in self._db.execute(some)}
        return found


def read_sampled(db: sa.Connection, run: Record, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """History rows that have every key asked for, with those keys only.

    They travel as JSON objects, which wandb-core reads strictly: NaN and Infinity become texts, as with
    W&B. Whole rows (`read_lines`) travel as texts and keep them as numbers.

    Args:
        db: A transaction.
        run: The run.
        spec: W&B's: ``keys``, and optionally ``minStep``, ``maxStep`` (the last one), ``samples``.

    Raises:
        RequestError: If the spec has another form.
    """
    _check_spec(spec)
    keys = spec.get("keys")
    if not keys:  # `wandb sweep --stop` asks for nothing, of every run of the sweep
        return []
    found = []
    last = spec.get("maxStep")
    end = None if last is None else min(int(last) + 1, _MAX_STEP)
    for line in read_lines(db, run, HISTORY, min_step=spec.get("minStep"), max_step=end):
        row = json.loads(line)
        if all(key in row for key in keys):
            found.append({key: _strict(row[key]) for key in keys})
    return thin(found, int(spec.get("samples") or DEFAULT_SAMPLES))


def _check_spec(spec: Any) -> None:
    if not isinstance(spec, Mapping):
        raise RequestError("sampledHistory: a spec must be an object.", status=400)
    keys = spec.get("keys") or []
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        raise RequestError("sampledHistory: keys must be a list of texts.", status=400)
    for name in ("minStep", "maxStep", "samples"):
        value = spec.get(name) or 0
        if not isinstance(value, int | float) or not abs(value) <= _MAX_STEP:
            raise RequestError(f"sampledHistory: {name} must be a number.", status=400)


def thin(items: Sequence[T], samples: int) -> list[T]:
    """Pick at most ``samples`` items, evenly spread, with the first and the last.

    Example:
        >>> thin(range(10), 4)
        [0, 3, 6, 9]
    """
    if len(items) <= samples:
        return list(items)
    if samples <= 1:
        return list(items[:samples])
    return [items[round(i * (len(items) - 1) / (samples - 1))] for i in range(samples)]


def history_keys(run: Record) -> dict[str, Any]:
    """W&B's ``historyKeys``: every key ever logged, the types of its values, the last step."""
    keys = {
        key: {"typeCounts": [{"type": kind, "count": count} for kind, count in kinds.items()]}
        for key, kinds in json.loads(run.history_keys).items()
    }
    return {"keys": keys, "lastStep": run.last_step, "sets": []}


def recompute_metric(db: sa.Connection, run: Record) -> None:
    """Collect the sweep's metric anew, for a run that joined it late or a sweep with another metric."""
    db.execute(sa.delete(tables.metric_values).where(tables.metric_values.c.run_id == run.id))
    values = summary_columns(run, run.summary) | {"metric_best": None}
    rows = list(enumerate(json.loads(line) for line in read_lines(db, run, HISTORY)))
    update_run(db, run, **values | _store_metric(db, run, rows, best=None))


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, list) else value


def _append(
    db: sa.Connection, run: Record, stream: str, offset: int, content: list[str]
) -> dict[str, Any]:
    """Store lines; returns the run's columns that change with them."""
    counter = _COUNTERS[stream]
    known: int = getattr(run, counter)
    values: dict[str, Any] = {counter: max(known, offset + len(content))}
    steps: list[int | None] = [None] * len(content)
    if stream == HISTORY:
        rows = [(offset + i, _parse_row(run, offset + i, line)) for i, line in enumerate(content)]
        steps = [_step(number, row) for number, row in rows]
        new = [(number, row) for number, row in rows if number >= known]
        values["last_step"] = max([run.last_step, *(step for step in steps if step is not None)])
        values["history_keys"] = _count_keys(run, [row for _, row in new])
        values |= _store_metric(db, run, new, best=run.metric_best)
    lines = [
        {"run_id": run.id, "stream": stream, "number": offset + i, "step": step, "body": line}
        for i, (line, step) in enumerate(zip(content, steps, strict=True))
    ]
    db.execute(upsert(db, tables.lines), lines)
    return values


def _parse_row(run: Record, number: int, line: str) -> dict[str, Any]:
    try:
        row = parse_json(line, "row")
    except ValueError as error:
        raise RequestError(
            f"run {run.name}: history row {number} is not JSON ({error}).", status=400
        ) from error
    if not isinstance(row, dict):
        raise RequestError(f"run {run.name}: history row {number} is not an object.", status=400)
    return row


def _step(number: int, row: Mapping[str, Any]) -> int:
    step = row.get("_step", number)
    is_step = isinstance(step, int | float) and -_MAX_STEP < step < _MAX_STEP
    return int(step) if is_step else number


def _count_keys(run: Record, rows: Sequence[Mapping[str, Any]]) -> str:
    counts: dict[str, dict[str, int]] = json.loads(run.history_keys)
    for row in rows:
        for key, value in row.items():
            kinds = counts.setdefault(key, {})
            kind = _kind(value)
            kinds[kind] = kinds.get(kind, 0) + 1
    return json.dumps(counts)


def _kind(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "map"
    return "list" if isinstance(value, list) else "nil"


def _store_metric(
    db: sa.Connection,
    run: Record,
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    *,
    best: float | None,
) -> dict[str, Any]:
    """Keep the sweep's metric apart from the rows, so that deciding on stops need not parse them."""
    found = [(number, metric_value(row, run.metric)) for number, row in rows]
    values = [(number, value) for number, value in found if value is not None]
    if not values:
        return {}
    stored = [{"run_id": run.id, "number": number, "value": value} for number, value in values]
    db.execute(insert_missing(db, tables.metric_values), stored)
    finite = [value for _, value in values if math.isfinite(value)]
    candidates = finite if best is None else [best, *finite]
    if not candidates:
        return {}
    return {"metric_best": max(candidates) if run.maximize else min(candidates)}
