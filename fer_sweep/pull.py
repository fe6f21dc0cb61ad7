"""From a W&B server (the cloud's or ours) to histories: complete, several runs at once, none lost to another's failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any

from fer_sweep.errors import ConfigError, TrackingError
from fer_sweep.history import History, build_history
from fer_sweep.tracking import Connection, RunInfo, SweepRef, fetch_history, fetch_runs

Progress = Callable[[int, int], None]
"""Called with the number of runs read so far and in all; from the thread that called."""

THREADS = 8
"""W&B's cloud answers 429 to wide pools; 8 keeps a sweep of 100 runs well under its limit."""


def pull_sweep(
    conn: Connection,
    ref: SweepRef,
    *,
    metric_map: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> list[History]:
    """Read every run of a sweep, with its complete history.

    Args:
        conn: A checked connection.
        ref: The sweep.
        metric_map: Our metric names to theirs, from ``parse_metric_map``.
        progress: Told after each run.

    Returns:
        One history per run, in the server's order. A run that could not be read, or lacks rows, is there and
        ``incomplete``, with the reason in its notes.

    Raises:
        TrackingError: If the runs cannot be listed.
        ConfigError: If no run at all logs a metric of ``metric_map``.
    """
    return _pull(conn, fetch_runs(conn, sweep=ref), metric_map, progress)


def pull_project(
    conn: Connection,
    *,
    filters: Mapping[str, Any] | None = None,
    metric_map: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> list[History]:
    """Read the runs of the connection's project, in a sweep or not.

    Args:
        conn: A checked connection.
        filters: W&B's filter syntax, such as ``{"state": "finished"}``.
        metric_map: Our metric names to theirs.
        progress: Told after each run.

    Raises:
        TrackingError: If the runs cannot be listed.
        ConfigError: If no run at all logs a metric of ``metric_map``.
    """
    return _pull(conn, fetch_runs(conn, filters=filters), metric_map, progress)


def _pull(
    conn: Connection,
    runs: Sequence[RunInfo],
    metric_map: Mapping[str, str] | None,
    progress: Progress | None,
) -> list[History]:
    histories: dict[int, History] = {}
    logged: set[str] = set()
    for index, rows, error in _fetch_all(conn, runs):
        logged.update(name for row in rows for name in row)
        history = _to_history(runs[index], rows, metric_map)
        if error is not None:
            history = replace(
                history, notes=(*history.notes, f"its history could not be read: {error}")
            )
        histories[index] = history
        if progress is not None:
            progress(len(histories), len(runs))
    if logged and metric_map:
        _check_map(metric_map, logged)
    return [histories[index] for index in range(len(runs))]


def _fetch_all(
    conn: Connection, runs: Sequence[RunInfo]
) -> Iterator[tuple[int, list[dict[str, Any]], TrackingError | None]]:
    """Histories in the order they arrive: the run's index, its rows, and why they are missing if they are."""
    with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="pull") as pool:
        pending = {pool.submit(fetch_history, conn, run): index for index, run in enumerate(runs)}
        try:
            for done in as_completed(pending):
                try:
                    yield pending[done], done.result(), None
                except TrackingError as error:
                    yield pending[done], [], error
        finally:  # Ctrl-C, or a bug of ours: do not fetch the rest first
            pool.shutdown(wait=False, cancel_futures=True)


def _to_history(
    run: RunInfo, rows: list[dict[str, Any]], metric_map: Mapping[str, str] | None
) -> History:
    return build_history(
        rows,
        run_id=run.run_id,
        run_name=run.name,
        state=run.state,
        config=run.config,
        summary=run.summary,
        rows_expected=run.history_rows,
        url=run.url,
        tags=run.tags,
        metric_map=metric_map,
    )


def _check_map(metric_map: Mapping[str, str], logged: set[str]) -> None:
    names = ", ".join(sorted(name for name in logged if not name.startswith("_")))
    problems = [
        f"--map {ours}={theirs}: no run logs {theirs}. Logged: {names}."
        for ours, theirs in metric_map.items()
        if theirs not in logged
    ]
    if problems:
        raise ConfigError(problems)
