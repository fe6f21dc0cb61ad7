"""What is kept of runs: read once, read again when they log more, and never without bound."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fer_sweep.diagnosis import cases
from fer_sweep.server.pages import histories as module
from fer_sweep.server.pages.histories import Histories, RunView
from fer_sweep.server.projects import find_project
from fer_sweep.server.runs import find_run

if TYPE_CHECKING:
    from tests.server.pages.conftest import Site


def view(site: Site, histories: Histories, *names: str, budget_s: float = 60.0) -> list[RunView]:
    with site.store.reading() as db:
        project = find_project(db, "local", "faces")
        assert project is not None
        runs = [run for name in names if (run := find_run(db, project.id, name)) is not None]
        return histories.view(db, runs, now=time.time(), budget_s=budget_s)


def test_what_has_not_changed_is_the_same_object(site: Site) -> None:
    histories = Histories()
    site.add_run(cases.healthy(10), name="a", exit_code=None)
    first = view(site, histories, "a")[0]
    assert view(site, histories, "a")[0].history is first.history
    site.add_run(cases.healthy(11), name="a", exit_code=None)
    again = view(site, histories, "a")[0]
    assert (first.history.length, again.history.length) == (10, 11)


def test_without_time_nothing_is_diagnosed_and_nothing_claimed(site: Site) -> None:
    histories = Histories()
    site.add_run(cases.overfit(30), name="a")
    hurried = view(site, histories, "a", budget_s=0.0)[0]
    assert hurried.diagnosis is None
    assert not hurried.is_judged
    calm = view(site, histories, "a")[0]
    assert calm.diagnosis is not None
    assert calm.diagnosis.verdict.value == "overfit"


def test_the_oldest_is_forgotten_when_there_are_too_many_rows(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_ROWS_KEPT", 50)
    histories = Histories()
    for name in ("a", "b", "c"):
        site.add_run(cases.healthy(20), name=name)
    first, *_ = view(site, histories, "a", "b", "c")
    assert len(histories._read) == 2
    assert view(site, histories, "a")[0].history is not first.history
    assert histories._rows <= 50
