"""No cell twice and none lost, whatever agents and machines do: a state machine that hypothesis drives.

Killed means: it never speaks again. Lost means: the server did the work and the answer did not arrive.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fer_sweep.server import agents, runs, streams, sweeps
from fer_sweep.server.runs import LEASE_S, MAX_OFFERS
from fer_sweep.server.store import Store
from fer_sweep.server.tables import Record

Cell = tuple[int, ...]
SIZES = (3, 2)
CELLS = sorted((a, b) for a in range(SIZES[0]) for b in range(SIZES[1]))
METHODS = ("grid", "random", "bayes")
TERMINAL = ("finished", "failed", "killed", "crashed")
ENDS = ({"exitcode": 0}, {"exitcode": 1}, {"exitcode": 1, "preempting": True})
PICK = st.integers(0, 2)


class Machine(RuleBasedStateMachine):
    """A sweep of six cells, up to three agents with one trial each, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="fersweep-")
        self.store = Store(Path(self.folder.name) / "server.sqlite")
        self.now = 1_800_000_000.0
        self.agents: list[str] = []
        self.held: dict[str, str] = {}  # agent -> the run it trains
        self.reported: dict[str, float] = {}
        self.started: set[str] = set()

    def teardown(self) -> None:
        """The folder goes with every example."""
        self.store.close()
        self.folder.cleanup()

    @initialize(method=st.sampled_from(METHODS))
    def create(self, method: str) -> None:
        values = {"a": {"values": list(range(SIZES[0]))}, "b": {"values": list(range(SIZES[1]))}}
        metric = {"name": "acc", "goal": "maximize"}
        config = {"method": method, "metric": metric, "parameters": values}
        with self.store.writing() as db:
            given = {"config": json.dumps(config), "projectName": "p"}
            self.sweep = sweeps.upsert_sweep(db, given, now=self.now)
        self.an_agent_joins()
        self.an_agent_joins()
        self.an_agent_reports(0, is_lost=False)
        self.an_agent_reports(1, is_lost=False)

    @rule()
    @precondition(lambda self: len(self.agents) < 3)
    def an_agent_joins(self) -> None:
        given = {"host": "here", "projectName": "p", "sweep": self.sweep.name}
        with self.store.writing() as db:
            self.agents.append(str(agents.create_agent(db, given, now=self.now).name))

    @rule(pick=PICK, is_lost=st.sampled_from([False, False, True]))
    def an_agent_reports(self, pick: int, is_lost: bool) -> None:
        agent = self.agents[pick % len(self.agents)]
        command = self._beat(agent)
        if is_lost or command is None or command["type"] == "exit":
            return
        assert command["type"] in ("run", "resume")
        assert agent not in self.held
        for other, run in self.held.items():  # taken from nobody whose agent still reports
            assert run != command["run_id"] or self.now - self.reported[other] > LEASE_S
        self.held[agent] = command["run_id"]

    @rule(pick=PICK)
    @precondition(lambda self: self.held)
    def a_trial_starts(self, pick: int) -> None:
        self._start(self.held[self._holder(pick)])

    @precondition(lambda self: self.held)
    @rule(pick=PICK, end=st.sampled_from(ENDS))
    def a_trial_ends(self, pick: int, end: dict[str, Any]) -> None:
        run = self.held.pop(self._holder(pick))
        self._start(run)
        self._send(run, complete=True, **end)

    @rule(pick=PICK)
    @precondition(lambda self: set(self.held.values()) - self.started)
    def a_program_dies_before_it_starts(self, pick: int) -> None:
        holder = self._holder(pick)
        if self.held[holder] not in self.started:
            del self.held[holder]

    @rule(pick=PICK)
    @precondition(lambda self: len(self.agents) > 1)
    def an_agent_is_killed_with_its_trial(self, pick: int) -> None:
        agent = self.agents.pop(pick % len(self.agents))
        self.held.pop(agent, None)

    @rule(seconds=st.sampled_from([1.0, LEASE_S / 2, LEASE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(state=st.sampled_from(["PAUSED", "RUNNING"]))
    def somebody_pauses_or_resumes(self, state: str) -> None:
        if self._sweep_state() in ("RUNNING", "PAUSED"):
            self._set_state(state)

    @invariant()
    def no_cell_is_handed_out_twice(self) -> None:
        if not hasattr(self, "sweep"):
            return
        counts = Counter(self._cells().values())
        assert not [cell for cell, count in counts.items() if count > 1]

    def drain(self) -> None:
        """A machine that works takes the rest; afterwards every cell has been done or given up."""
        self._set_state("RUNNING")
        self.agents.clear()
        self.held.clear()
        self.an_agent_joins()
        for _ in range(len(CELLS) * (MAX_OFFERS + 2)):
            self.now += LEASE_S + 1
            command = self._beat(self.agents[0])
            if command is None:
                continue
            if command["type"] == "exit":
                break
            self._start(command["run_id"])
            self._send(command["run_id"], complete=True, exitcode=0)
        states = {run.name: runs.current_state(run, now=self.now) for run in self._runs()}
        assert sorted(self._cells().values()) == CELLS
        assert set(states.values()) <= set(TERMINAL), states
        for name, state in states.items():
            if state == "crashed" and name not in self.started:
                assert self._run(name).offers >= MAX_OFFERS

    def _holder(self, pick: int) -> str:
        return list(self.held)[pick % len(self.held)]

    def _beat(self, agent: str) -> dict[str, Any] | None:
        alive = [self.held[agent]] if agent in self.held else []
        self.reported[agent] = self.now
        with self.store.writing() as db:
            commands = agents.heartbeat(db, agent, alive, now=self.now)[1]
        return commands[0] if commands else None

    def _start(self, run: str) -> None:
        self.started.add(run)
        with self.store.writing() as db:
            runs.upsert_run(db, {"name": run, "modelName": "p", "host": "here"}, now=self.now)

    def _send(self, run: str, **body: Any) -> None:
        with self.store.writing() as db:
            found = runs.find_run(db, 1, run)
            assert found is not None
            streams.receive(db, found, body, now=self.now)

    def _set_state(self, state: str) -> None:
        with self.store.writing() as db:
            sweeps.set_state(db, self.sweep, state, now=self.now)

    def _sweep_state(self) -> str:
        with self.store.reading() as db:
            found = sweeps.find_sweep(db, self.sweep.project_id, self.sweep.name)
            assert found is not None
            return str(found.state)

    def _runs(self) -> list[Record]:
        with self.store.reading() as db:
            return list(sweeps.runs_of_sweep(db, self.sweep))

    def _run(self, name: str) -> Record:
        return next(run for run in self._runs() if run.name == name)

    def _cells(self) -> dict[str, Cell]:
        return {run.name: tuple(json.loads(run.parameters).values()) for run in self._runs()}


class DrainedMachine(Machine):
    """The same, and at the end of each example the rest of the sweep is done."""

    def teardown(self) -> None:
        """Judge the end before the folder goes."""
        try:
            if hasattr(self, "sweep"):
                self.drain()
        finally:
            super().teardown()


TestNoCellTwiceAndNoneLost = DrainedMachine.TestCase
TestNoCellTwiceAndNoneLost.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
