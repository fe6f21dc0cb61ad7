"""Runs that wait for an agent: preempted, enqueued, never started; and runs counted as tried before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fer_sweep.server import agents, handout, runs, streams, sweeps
from fer_sweep.server.runs import LEASE_S
from fer_sweep.server.store import Store
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, encode_id

GRID: dict[str, Any] = {
    "method": "grid",
    "program": "train.py",
    "metric": {"name": "acc", "goal": "maximize"},
    "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}},
}


class Lab:
    """A store, and the moves of agents and trials in it; each is one transaction, as over HTTP."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = 1_800_000_000.0

    def sweep(self, config: dict[str, Any] = GRID, **given: Any) -> Record:
        given = {"config": json.dumps(config), "projectName": "p", **given}
        with self.store.writing() as db:
            return sweeps.upsert_sweep(db, given, now=self.now)

    def change(self, sweep: Record, **given: Any) -> Record:
        node_id = encode_id("Sweep", "v1", sweep.name, "p", "local")
        with self.store.writing() as db:
            return sweeps.upsert_sweep(db, {"id": node_id, **given}, now=self.now)

    def agent(self, sweep: Record) -> str:
        given = {"host": "here", "projectName": "p", "sweep": sweep.name}
        with self.store.writing() as db:
            return str(agents.create_agent(db, given, now=self.now).name)

    def beat(self, agent: str, *alive: str) -> dict[str, Any] | None:
        with self.store.writing() as db:
            commands = agents.heartbeat(db, agent, alive, now=self.now)[1]
        return commands[0] if commands else None

    def take(self, agent: str, kind: str = "run") -> str:
        command = self.beat(agent)
        assert command is not None
        assert command["type"] == kind
        return str(command["run_id"])

    def start(self, run_id: str, *, resume: bool = False, **given: Any) -> None:
        given = {"name": run_id, "modelName": "p", "host": "here", **given}
        if resume:
            given["id"] = encode_id("Run", "v1", run_id, "p", "local")
        with self.store.writing() as db:
            runs.upsert_run(db, given, now=self.now)

    def send(self, run_id: str, *values: float, offset: int = 0, **body: Any) -> None:
        lines = [json.dumps({"_step": offset + i, "acc": acc}) for i, acc in enumerate(values)]
        files = {"wandb-history.jsonl": {"offset": offset, "content": lines}} if lines else {}
        with self.store.writing() as db:
            streams.receive(db, self._find(db, run_id), {"files": files, **body}, now=self.now)

    def end(self, run_id: str, exit_code: int = 0, **body: Any) -> None:
        self.send(run_id, complete=True, exitcode=exit_code, **body)

    def run(self, run_id: str) -> Record:
        with self.store.reading() as db:
            return self._find(db, run_id)

    def state(self, run_id: str) -> str:
        return runs.current_state(self.run(run_id), now=self.now)

    def sweep_state(self, sweep: Record) -> str:
        with self.store.reading() as db:
            found = sweeps.find_sweep(db, sweep.project_id, sweep.name)
            assert found is not None
            return sweeps.current_sweep_state(db, found, now=self.now)

    def rows(self, run_id: str) -> list[float]:
        with self.store.reading() as db:
            lines = streams.read_lines(db, self._find(db, run_id), streams.HISTORY)
        return [json.loads(line)["acc"] for line in lines]

    @staticmethod
    def _find(db: Any, run_id: str) -> Record:
        found = runs.find_run(db, 1, run_id)
        assert found is not None
        return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    store = Store(tmp_path / "server.sqlite")
    yield Lab(store)
    store.close()


def test_a_preempted_run_is_resumed_once_under_its_own_id_before_new_ones(lab: Lab) -> None:
    sweep = lab.sweep()
    first, second, third = (lab.agent(sweep) for _ in range(3))
    run = lab.take(first)
    lab.start(run)
    lab.send(run, 0.1, 0.2, preempting=True)
    assert lab.state(run) == "preempting"
    lab.end(run, exit_code=143)
    assert lab.state(run) == "preempted"

    assert lab.beat(second) == {
        "type": "resume",
        "run_id": run,
        "args": {"lr": {"value": 0.1}},
        "program": "train.py",
    }
    assert lab.take(third) != run
    lab.start(run, resume=True)
    lab.send(run, 0.3, offset=2)
    assert lab.state(run) == "running"
    lab.end(run)
    assert (lab.state(run), lab.rows(run)) == ("finished", [0.1, 0.2, 0.3])


def test_what_a_resumed_run_was_told_has_only_the_sweeps_parameters(lab: Lab) -> None:
    agent = lab.agent(lab.sweep())
    run = lab.take(agent)
    config = {"lr": {"value": 0.1}, "epochs": {"value": 3}, "_wandb": {"value": {"t": {}}}}
    lab.start(run, config=json.dumps(config))
    lab.end(run, exit_code=1, preempting=True)

    command = lab.beat(agent)
    assert command is not None
    assert command["args"] == {"lr": {"value": 0.1}}
    assert set(json.loads(lab.run(run).config)) == {"lr", "epochs", "_wandb"}


def test_a_preempted_run_that_cannot_say_so_is_resumed_after_the_lease(lab: Lab) -> None:
    sweep = lab.sweep({**GRID, "run_cap": 1})
    run = lab.take(lab.agent(sweep))
    lab.start(run)
    lab.send(run, 0.5, preempting=True)

    other = lab.agent(sweep)
    assert lab.beat(other) is None  # it will be needed: the sweep has no other trial
    lab.now += LEASE_S + 1
    assert lab.state(run) == "preempted"
    assert lab.sweep_state(sweep) == "RUNNING"
    assert lab.take(other, "resume") == run


def test_the_last_words_of_a_preempted_process_do_not_start_or_end_the_run_again(lab: Lab) -> None:
    sweep = lab.sweep()
    first, second = lab.agent(sweep), lab.agent(sweep)
    run = lab.take(first)
    lab.start(run)
    lab.end(run, exit_code=143, preempting=True)
    assert lab.take(second, "resume") == run

    lab.end(run, exit_code=143, preempting=True)  # wandb repeats what got no answer
    assert lab.state(run) == "pending"
    assert lab.take(first) != run
    assert lab.take(second, "resume") == run  # its own, as it never started


@pytest.mark.parametrize(
    ("exit_code", "state"), [(0, "finished"), (1, "preempted"), (255, "killed")]
)
def test_only_a_preempting_run_that_fails_is_preempted(
    lab: Lab, exit_code: int, state: str
) -> None:
    agent = lab.agent(lab.sweep())
    run = lab.take(agent)
    lab.start(run)
    lab.end(run, exit_code=exit_code, preempting=True)

    assert lab.state(run) == state


def test_a_stopped_sweep_resumes_nothing(lab: Lab) -> None:
    sweep = lab.sweep()
    agent = lab.agent(sweep)
    run = lab.take(agent)
    lab.start(run)
    lab.end(run, exit_code=1, preempting=True)
    lab.change(sweep, state="FINISHED")

    assert lab.beat(agent) == {"type": "exit"}
    assert lab.state(run) == "preempted"


def test_a_run_started_again_without_resume_replaces_what_it_had(lab: Lab) -> None:
    lab.start("mine")
    lab.send("mine", 0.1, 0.2, 0.3)
    lab.end("mine", exit_code=1)
    lab.start("mine")
    lab.send("mine", 0.9)

    assert lab.rows("mine") == [0.9]
    assert lab.run("mine").last_step == 0
    assert json.loads(lab.run("mine").history_keys)["acc"] == {"number": 1}


def test_a_trial_that_was_stopped_and_never_reports_ends_as_killed(lab: Lab) -> None:
    sweep = lab.sweep()
    first, second = lab.agent(sweep), lab.agent(sweep)
    started, never_started = lab.take(first), lab.take(second)
    lab.start(started)
    with lab.store.writing() as db:
        for name in (started, never_started):
            found = runs.find_run(db, 1, name)
            assert found is not None
            runs.request_stop(db, found)
    lab.now += LEASE_S + 1

    assert [lab.state(name) for name in (started, never_started)] == ["killed", "killed"]
    assert lab.take(lab.agent(sweep)) not in (started, never_started)


def test_enqueued_runs_are_handed_out_first_and_count_as_their_cells(lab: Lab) -> None:
    sweep = lab.sweep()
    with lab.store.writing() as db:
        mine = handout.enqueue(db, sweep, '{"lr": {"value": 0.2}}', "by hand", now=lab.now)
        handout.enqueue(db, sweep, '{"lr": 7, "_wandb": {}}', None, now=lab.now)
    agent = lab.agent(sweep)
    assert lab.take(agent) == mine.name
    assert lab.run(mine.name).display_name == "by hand"

    taken = [0.2]
    lab.start(mine.name)
    lab.end(mine.name)
    while (command := lab.beat(agent)) != {"type": "exit"}:
        assert command is not None
        taken.append(command["args"]["lr"]["value"])
        lab.start(command["run_id"])
        lab.end(command["run_id"])
    assert taken == [0.2, 7, 0.1, 0.3]
    assert lab.sweep_state(sweep) == "FINISHED"


def test_a_run_is_not_enqueued_where_nobody_would_take_it(lab: Lab) -> None:
    sweep = lab.change(lab.sweep(), state="FINISHED")
    with (
        pytest.raises(RequestError, match=r"takes no more runs \(it is FINISHED\)"),
        lab.store.writing() as db,
    ):
        handout.enqueue(db, sweep, "{}", None, now=lab.now)
    sweep = lab.sweep()
    with pytest.raises(RequestError, match="must be a mapping"), lab.store.writing() as db:
        handout.enqueue(db, sweep, "[1]", None, now=lab.now)


def test_with_a_scheduler_of_its_own_a_sweep_hands_out_only_what_was_enqueued(lab: Lab) -> None:
    config = {"method": "custom", "scheduler": {"engine": "optuna"}, "program": "train.py"}
    sweep = lab.sweep(config)
    agent = lab.agent(sweep)
    assert lab.beat(agent) is None
    with lab.store.writing() as db:
        run = handout.enqueue(db, sweep, '{"lr": 1}', None, now=lab.now)
    assert lab.take(agent) == run.name
    lab.start(run.name)
    lab.end(run.name)
    assert lab.beat(agent) is None

    lab.change(sweep, state="FINISHED")
    assert lab.beat(agent) == {"type": "exit"}


def prior(lab: Lab, name: str, lr: float, *values: float) -> None:
    lab.start(name, config=json.dumps({"lr": lr}))
    lab.send(name, *values)
    lab.end(name)


def test_prior_runs_take_their_cells_but_not_the_run_cap(lab: Lab) -> None:
    prior(lab, "old-a", 0.2, 0.7)
    prior(lab, "old-b", 5.0, 0.9)  # no cell of the grid
    filters = json.dumps({"$or": [{"name": "old-a"}, {"name": "old-b"}]})
    sweep = lab.sweep({**GRID, "run_cap": 2}, priorRunsFilters=filters)
    agent = lab.agent(sweep)

    assert sweep.runs_expected == 2
    taken = []
    for _ in range(2):
        run = lab.take(agent)
        taken.append(json.loads(lab.run(run).parameters)["lr"])
        lab.start(run)
        lab.end(run)
    assert taken == [0.1, 0.3]
    assert lab.beat(agent) == {"type": "exit"}
    assert lab.run("old-a").sweep_name is None  # it stays what it was


def test_prior_runs_of_another_sweep_teach_bayes(lab: Lab) -> None:
    space = {"lr": {"min": 0.0, "max": 1.0}}
    old = lab.sweep({**GRID, "method": "random", "parameters": space, "run_cap": 30})
    agent = lab.agent(old)
    names = []
    for _ in range(30):
        run = lab.take(agent)
        names.append(run)
        lab.start(run)
        lr = json.loads(lab.run(run).parameters)["lr"]
        lab.send(run, 1 - abs(lr - 0.3))
        lab.end(run)

    filters = json.dumps({"$or": [{"name": name} for name in names]})
    new = lab.sweep({**GRID, "method": "bayes", "parameters": space}, priorRunsFilters=filters)
    agent = lab.agent(new)
    proposed = []
    for _ in range(5):
        run = lab.take(agent)
        proposed.append(json.loads(lab.run(run).parameters)["lr"])
        lab.start(run)
        lab.send(run, 1 - abs(proposed[-1] - 0.3))
        lab.end(run)
    assert sum(abs(lr - 0.3) < 0.2 for lr in proposed) >= 4  # by luck 2 of 5


def test_a_prior_run_that_is_not_there_is_named_and_no_sweep_created(lab: Lab) -> None:
    prior(lab, "old", 0.2, 0.7)
    filters = json.dumps({"$or": [{"name": "old"}, {"name": "gone"}]})
    with pytest.raises(RequestError, match="no run 'gone' in the sweep's project"):
        lab.sweep(priorRunsFilters=filters)

    with lab.store.reading() as db:
        assert sweeps.list_sweeps(db, 1) == []


def test_a_sweep_is_renamed_and_described_at_any_time(lab: Lab) -> None:
    sweep = lab.sweep({**GRID, "name": "first"})
    lab.take(lab.agent(sweep))
    changed = lab.change(sweep, displayName="second", description="why")

    assert (sweep.display_name, changed.display_name) == ("first", "second")
    assert (changed.description, changed.state) == ("why", "RUNNING")
