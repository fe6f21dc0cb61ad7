"""Prior runs: runs made earlier that a sweep counts as tried (``wandb sweep -R RUN``, ``prior_runs=``).

They stay what and where they are: a grid skips their cells, random search does not draw them again, and
bayes learns from their results. They are none of the sweep's own runs, so ``run_cap`` does not count them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.filters import RunFields, matches, parse_filters
from fer_sweep.server.runs import current_state, metric_value, plain_config, select_runs
from fer_sweep.server.search import PriorTrial, count_untaken
from fer_sweep.server.streams import HISTORY, read_lines
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError
from fer_sweep.space import is_finite


def attach_prior_runs(db: sa.Connection, sweep: Record, filters: str, *, now: float) -> None:
    """Remember which runs of the project a sweep counts as tried, and what they reached.

    Args:
        db: A write transaction.
        sweep: The sweep, whose metric the runs are read by.
        filters: W&B's ``priorRunsFilters``, a filter document on the project's runs.
        now: The time.

    Raises:
        RequestError: If the filter is wrong, or names a run that is not there.
    """
    wanted = parse_filters(filters)
    found = [run for run in _runs_of_project(db, sweep) if matches(RunFields(run, now=now), wanted)]
    missing = set(_names(wanted)) - {run.name for run in found}
    if missing:
        raise RequestError(
            f"prior runs: no run {', '.join(map(repr, sorted(missing)))} in the sweep's project. "
            "Give the ids of runs of this project: the last part of a run's URL."
        )
    db.execute(sa.delete(tables.prior_runs).where(tables.prior_runs.c.sweep_id == sweep.id))
    rows = [
        {"sweep_id": sweep.id, "run_id": run.id, "value": _value(db, sweep, run)} for run in found
    ]
    if rows:
        db.execute(sa.insert(tables.prior_runs), rows)
    expected = count_untaken(json.loads(sweep.config), prior_trials(db, sweep, now=now))
    where = tables.sweeps.c.id == sweep.id
    db.execute(sa.update(tables.sweeps).where(where).values(runs_expected=expected))


def prior_trials(db: sa.Connection, sweep: Record, *, now: float) -> list[PriorTrial]:
    """A sweep's prior runs as the search wants them."""
    query = (
        select_runs()
        .add_columns(tables.prior_runs.c.value)
        .join(tables.prior_runs, tables.prior_runs.c.run_id == tables.runs.c.id)
        .where(tables.prior_runs.c.sweep_id == sweep.id)
    )
    return [
        PriorTrial(plain_config(json.loads(run.config)), current_state(run, now=now), run.value)
        for run in db.execute(query.order_by(tables.runs.c.created_at, tables.runs.c.id))
    ]


def prior_run_names(db: sa.Connection, sweep: Record) -> list[str]:
    """The ids of a sweep's prior runs."""
    joined = tables.prior_runs.c.run_id == tables.runs.c.id
    query = sa.select(tables.runs.c.name).join(tables.prior_runs, joined)
    return list(db.scalars(query.where(tables.prior_runs.c.sweep_id == sweep.id)))


def _runs_of_project(db: sa.Connection, sweep: Record) -> Sequence[Record]:
    query = select_runs().where(tables.runs.c.project_id == sweep.project_id)
    return db.execute(query).all()


def _value(db: sa.Connection, sweep: Record, run: Record) -> float | None:
    """The best a run ever reached in the sweep's metric, else what its summary says."""
    rows = (json.loads(line) for line in read_lines(db, run, HISTORY))
    values = [value for row in rows if is_finite(value := metric_value(row, sweep.metric))]
    if not values:
        value = metric_value(json.loads(run.summary), sweep.metric)
        return value if is_finite(value) else None
    return max(values) if sweep.maximize else min(values)


def _names(filters: Mapping[str, Any]) -> Iterator[str]:
    """The run ids that wandb's own filter asks for: ``{"$or": [{"name": id}, …]}``."""
    for part in filters.get("$or") or ():
        if isinstance(part, Mapping) and isinstance(part.get("name"), str):
            yield part["name"]
