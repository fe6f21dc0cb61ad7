"""The sweep's metric of all its runs, as early termination judges it.

Every heartbeat of every agent asks for it, and most runs of a large sweep are over. What was read of
these is kept, under a key that changes with every request of the run.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.tables import Record

Curve = tuple[float, ...]
_Key = tuple[int, float, int, str | None]
_MAX_KEPT = 20_000
_MANY = 500

_kept: WeakKeyDictionary[sa.Engine, dict[_Key, Curve]] = WeakKeyDictionary()


def read_curves(db: sa.Connection, sweep: Record) -> Mapping[str, Curve]:
    """Run id to the values of the sweep's metric in the order logged, for all runs of a sweep."""
    columns = tables.runs.c
    query = sa.select(
        columns.id, columns.name, columns.state, columns.heartbeat_at, columns.history_lines
    )
    runs = db.execute(query.where(columns.sweep_id == sweep.id)).all()
    keys = {run.id: (run.id, run.heartbeat_at, run.history_lines, sweep.metric) for run in runs}
    kept = _kept.setdefault(db.engine, {})
    missing = [run.id for run in runs if keys[run.id] not in kept]
    read = _read(db, sweep, missing)
    if len(kept) + len(missing) > _MAX_KEPT:
        kept.clear()
    ended = {keys[run.id]: read.get(run.id, ()) for run in runs if run.state != "running"}
    curves = {
        run.name: read[run.id] if run.id in read else kept.get(keys[run.id], ()) for run in runs
    }
    kept.update((key, curve) for key, curve in ended.items() if key not in kept)
    return curves


def _read(db: sa.Connection, sweep: Record, run_ids: Collection[int]) -> dict[int, Curve]:
    values = tables.metric_values.c
    query = sa.select(values.run_id, values.value).order_by(values.run_id, values.number)
    if len(run_ids) > _MANY:  # a statement takes only so many parameters
        of_sweep = sa.select(tables.runs.c.id).where(tables.runs.c.sweep_id == sweep.id)
        query = query.where(values.run_id.in_(of_sweep))
    else:
        query = query.where(values.run_id.in_(run_ids))
    found: dict[int, list[float]] = {}
    for run_id, value in db.execute(query):
        found.setdefault(run_id, []).append(math.nan if value is None else value)
    return {run_id: tuple(curve) for run_id, curve in found.items()}
