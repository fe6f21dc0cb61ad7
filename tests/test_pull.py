"""Histories come complete from the server; what cannot be read is marked, and takes nothing else with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import fer_sweep.pull
from fer_sweep.diagnosis import diagnose
from fer_sweep.errors import ConfigError, TrackingError
from fer_sweep.pull import pull_project, pull_sweep

ROWS = [
    {
        "epoch": e,
        "train_loss": 2.0 / e,
        "val_loss": 2.1 / e,
        "train_acc": 0.1 * e,
        "val_acc": 0.09 * e,
    }
    for e in range(1, 9)
]


class Remote:
    """Stands for the tracking layer: some runs, and what happens when their history is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[dict[str, Any]] | Exception] = {}
        self.expected: dict[str, int] = {}
        self.asked: dict[str, Any] = {}
        monkeypatch.setattr(fer_sweep.pull, "fetch_runs", self.fetch_runs)
        monkeypatch.setattr(fer_sweep.pull, "fetch_history", self.fetch_history)

    def add(
        self, run_id: str, answer: list[dict[str, Any]] | Exception, expected: int = len(ROWS)
    ) -> None:
        self.answers[run_id], self.expected[run_id] = answer, expected

    def fetch_runs(self, conn: Any, *, sweep: Any = None, filters: Any = None) -> list[Any]:
        self.asked = {"sweep": sweep, "filters": filters}
        return [
            SimpleNamespace(
                run_id=run_id,
                name=f"name-{run_id}",
                state="finished",
                config={"dropout": 0.3},
                summary={"n_val": 700},
                tags=("a",),
                history_rows=self.expected[run_id],
                url=f"http://host/{run_id}",
            )
            for run_id in self.answers
        ]

    def fetch_history(self, conn: Any, run: Any) -> list[dict[str, Any]]:
        answer = self.answers[run.run_id]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Remote:
    return Remote(monkeypatch)


CONNECTION: Any = object()
SWEEP: Any = object()


def test_every_run_arrives_in_order_with_what_is_known_about_it(remote: Remote) -> None:
    for i in range(30):
        remote.add(f"r{i}", ROWS)
    histories = pull_sweep(CONNECTION, SWEEP)
    assert [h.run_id for h in histories] == [f"r{i}" for i in range(30)]
    assert remote.asked["sweep"] is SWEEP
    first = histories[0]
    assert (first.run_name, first.state, first.url, first.tags) == (
        "name-r0",
        "finished",
        "http://host/r0",
        ("a",),
    )
    assert (first.length, first.n_val, first.config["dropout"]) == (8, 700, 0.3)
    assert not first.incomplete


def test_missing_rows_make_the_verdict_provisional(remote: Remote) -> None:
    remote.add("short", ROWS, expected=20)
    (history,) = pull_sweep(CONNECTION, SWEEP)
    assert history.incomplete
    diagnosis = diagnose([history])[0]
    assert diagnosis.provisional
    assert "8 of 20 rows were read" in diagnosis.notes


def test_a_run_that_cannot_be_read_does_not_lose_the_others(remote: Remote) -> None:
    remote.add("good", ROWS)
    remote.add("bad", TrackingError("http://host: 502."))
    good, bad = pull_sweep(CONNECTION, SWEEP)
    assert good.length == 8
    assert bad.incomplete
    assert "its history could not be read: http://host: 502." in bad.notes


def test_a_bug_is_not_taken_for_a_bad_run(remote: Remote) -> None:
    remote.add("bug", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        pull_sweep(CONNECTION, SWEEP)


def test_progress_counts_up_to_all_runs(remote: Remote) -> None:
    for i in range(5):
        remote.add(f"r{i}", ROWS)
    seen: list[tuple[int, int]] = []
    pull_sweep(CONNECTION, SWEEP, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 5) for i in range(1, 6)]


def test_a_sweep_without_runs_is_an_empty_list(remote: Remote) -> None:
    assert pull_sweep(CONNECTION, SWEEP, metric_map={"val/accuracy": "x"}) == []


def test_project_passes_filters_on(remote: Remote) -> None:
    remote.add("r", ROWS)
    assert len(pull_project(CONNECTION, filters={"state": "finished"})) == 1
    assert remote.asked == {"sweep": None, "filters": {"state": "finished"}}


def test_a_mapped_name_that_no_run_logs_is_an_error_listing_what_is_logged(remote: Remote) -> None:
    remote.add("r", ROWS)
    with pytest.raises(
        ConfigError, match=r"--map val/accuracy=vacc: no run logs vacc\. Logged: epoch, train_acc"
    ):
        pull_sweep(CONNECTION, SWEEP, metric_map={"val/accuracy": "vacc"})


def test_a_mapped_name_that_one_run_logs_is_enough(remote: Remote) -> None:
    remote.add("ours", ROWS)
    remote.add("theirs", [{"vacc": 0.5}], expected=1)
    ours, theirs = pull_sweep(CONNECTION, SWEEP, metric_map={"val/accuracy": "vacc"})
    assert theirs.columns["val/accuracy"].tolist() == [0.5]
    assert any("vacc was not logged" in note for note in ours.notes)


@pytest.mark.slow
@pytest.mark.wandb_client
def test_rows_logged_by_the_real_client_come_back_whole(
    connection: Any, log_run: Callable[[list[dict[str, Any]]], str]
) -> None:
    rows = [
        {"epoch": e, "train/loss": 2.0 / e if e < 700 else math.nan, "val/accuracy": e / 1000}
        for e in range(1, 701)
    ]
    run_id = log_run(rows)
    (history,) = pull_project(connection)
    assert history.run_id == run_id
    assert history.length == 700  # more than the 500 that a sampled history would give
    assert not history.incomplete
    assert history.not_finite == {"train/loss": (700,)}
    assert history.columns["val/accuracy"][-1] == pytest.approx(0.7)


@pytest.fixture
def log_run(connection: Any) -> Callable[[list[dict[str, Any]]], str]:
    """Log rows with the real wandb client to the local server."""

    def log(rows: list[dict[str, Any]]) -> str:
        import wandb

        run = wandb.init(
            project=connection.project,
            entity=connection.entity,
            settings=wandb.Settings(silent=True),
        )
        for row in rows:
            run.log(row)
        run.finish()
        return str(run.id)

    return log
