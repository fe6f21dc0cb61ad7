"""Who gets which trial: leases, commands, states."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fer_sweep.errors import TrackingError
from fer_sweep.server.embedded import start_server
from fer_sweep.server.runs import LEASE_S, MAX_OFFERS
from fer_sweep.tracking import (
    AgentSession,
    Command,
    Connection,
    SweepGoneError,
    SweepRef,
    connect,
    create_sweep,
    fetch_runs,
    fetch_sweep,
    record_failure,
)

INIT = """mutation UpsertBucket($name: String, $sweep: String) {
  upsertBucket(input: {name: $name, modelName: "p", host: "here", sweep: $sweep}) {
    bucket { id sweepName } inserted
  }
}"""
SET_STATE = """mutation UpsertSweep($id: ID, $state: String) {
  upsertSweep(input: {id: $id, state: $state}) { sweep { name } }
}"""
STOP = "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"
DELETE = "mutation DeleteRun($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
SWEEP_ID = """query S($name: String!) {
  project(name: "p") { sweep(sweepName: $name) { id bestLoss agents { edges { node { state totalRuns } } } } }
}"""
GRID: dict[str, Any] = {
    "method": "grid",
    "metric": {"name": "acc", "goal": "maximize"},
    "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}},
}


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Lab:
    """One sweep and the moves an agent and its trials make."""

    def __init__(self, conn: Connection, ref: SweepRef) -> None:
        self.conn = conn
        self.ref = ref

    def agent(self) -> AgentSession:
        return AgentSession(self.conn, self.ref)

    def take(self, agent: AgentSession) -> Command:
        command = agent.heartbeat([])
        assert command is not None
        assert command.type == "run"
        return command

    def start(self, run_id: str) -> str:
        answer = self.conn.execute(INIT, {"name": run_id, "sweep": self.ref.sweep_id})
        return str(answer["upsertBucket"]["bucket"]["id"])

    def log(self, run_id: str, values: Sequence[float]) -> dict[str, Any]:
        lines = [json.dumps({"_step": i, "acc": value}) for i, value in enumerate(values)]
        body = {"files": {"wandb-history.jsonl": {"offset": 0, "content": lines}}}
        return self.conn.post(f"/files/local/p/{run_id}/file_stream", body)

    def finish(self, run_id: str, exit_code: int = 0) -> None:
        body = {"complete": True, "exitcode": exit_code}
        self.conn.post(f"/files/local/p/{run_id}/file_stream", body)

    def set_state(self, state: str) -> None:
        self.conn.execute(SET_STATE, {"id": self.node()["id"], "state": state})

    def node(self) -> dict[str, Any]:
        found = self.conn.execute(SWEEP_ID, {"name": self.ref.sweep_id})["project"]["sweep"]
        assert isinstance(found, dict)
        return found

    def state(self) -> str:
        return fetch_sweep(self.conn, self.ref).state

    def states(self) -> list[str]:
        return [run.state for run in fetch_runs(self.conn, sweep=self.ref)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def conn(tmp_path: Path, clock: Clock) -> Iterator[Connection]:
    with start_server(tmp_path / "server.sqlite", clock=clock) as server:
        yield connect(server.url, server.api_key, "local", "p")


@pytest.fixture
def lab(conn: Connection) -> Lab:
    return Lab(conn, create_sweep(conn, GRID))


def test_a_grid_is_handed_out_once_and_then_the_agent_exits(lab: Lab) -> None:
    agent = lab.agent()
    assert lab.state() == "PENDING"
    for lr in (0.1, 0.2, 0.3):
        command = lab.take(agent)
        assert command.parameters == {"lr": lr}
        lab.start(command.run_id)
        assert agent.heartbeat([command.run_id]) is None
        assert lab.state() == "RUNNING"
        lab.finish(command.run_id)

    assert agent.heartbeat([]) == Command("exit")
    assert lab.state() == "FINISHED"
    runs = fetch_runs(lab.conn, sweep=lab.ref)
    assert [run.config for run in runs] == [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}]
    assert [run.name for run in runs] == ["trial-1", "trial-2", "trial-3"]
    agents = lab.node()["agents"]["edges"]
    assert [edge["node"] for edge in agents] == [{"state": "FINISHED", "totalRuns": 3}]


def test_a_sweep_whose_runs_are_all_over_reads_as_finished_although_nobody_asks(lab: Lab) -> None:
    agent = lab.agent()
    for _ in range(3):
        command = lab.take(agent)
        lab.start(command.run_id)
        assert lab.state() == "RUNNING"
        lab.finish(command.run_id)

    assert lab.state() == "FINISHED"


def test_a_trial_that_never_started_goes_to_the_next_agent_after_the_lease(
    lab: Lab, clock: Clock
) -> None:
    lost = lab.take(lab.agent())
    other = lab.agent()
    for lr in (0.2, 0.3):
        command = lab.take(other)
        assert command.parameters == {"lr": lr}
        lab.start(command.run_id)
        lab.finish(command.run_id)

    clock.now += LEASE_S - 1
    assert other.heartbeat([]) is None  # not over: the first trial may still have to be done
    clock.now += 2
    assert lab.take(other) == lost
    assert lab.states() == ["pending", "finished", "finished"]


def test_an_agent_that_missed_the_answer_gets_the_same_trial_again(lab: Lab) -> None:
    agent = lab.agent()

    assert lab.take(agent) == lab.take(agent)


def test_a_trial_that_dies_before_it_starts_is_given_up_after_some_offers(
    lab: Lab, clock: Clock
) -> None:
    agent = lab.agent()
    offers = [lab.take(agent).run_id for _ in range(MAX_OFFERS)]
    next_trial = lab.take(agent)

    assert len(set(offers)) == 1
    assert next_trial.run_id != offers[0]
    clock.now += LEASE_S + 1
    assert lab.states() == ["crashed", "pending"]


def test_naming_a_run_in_the_heartbeat_renews_its_lease(lab: Lab, clock: Clock) -> None:
    agent = lab.agent()
    command = lab.take(agent)
    lab.start(command.run_id)
    for _ in range(3):
        clock.now += LEASE_S - 1
        assert agent.heartbeat([command.run_id]) is None
    assert lab.states() == ["running"]

    clock.now += LEASE_S + 1
    assert lab.states() == ["crashed"]


def test_a_killed_workers_run_is_completed_by_somebody_else(lab: Lab) -> None:
    command = lab.take(lab.agent())
    lab.start(command.run_id)
    lab.log(command.run_id, [0.5])
    failure = {"failure/cause": "killed", "failure/message": "SIGKILL"}
    record_failure(lab.conn, lab.ref, command.run_id, exit_code=137, failure=failure)

    (run,) = fetch_runs(lab.conn, sweep=lab.ref)
    assert run.state == "failed"
    assert run.summary == failure


def test_a_stopped_run_is_told_through_both_ways_and_ends_as_killed(lab: Lab) -> None:
    agent = lab.agent()
    command = lab.take(agent)
    node_id = lab.start(command.run_id)
    lab.conn.execute(STOP, {"id": node_id})

    assert agent.heartbeat([command.run_id]) == Command("stop", command.run_id)
    assert lab.log(command.run_id, [0.1])["stopped"] is True
    lab.take(agent)  # the agent no longer names it: its process was ended by a signal
    assert lab.states() == ["killed", "pending"]


def test_pause_hands_out_nothing_and_resume_goes_on(lab: Lab) -> None:
    agent = lab.agent()
    first = lab.take(agent)
    lab.start(first.run_id)
    lab.set_state("PAUSED")
    assert agent.heartbeat([first.run_id]) is None  # the trial in hand goes on
    lab.finish(first.run_id)
    assert agent.heartbeat([]) is None

    lab.set_state("RUNNING")
    assert lab.take(agent).parameters == {"lr": 0.2}


def test_stopping_a_sweep_lets_trials_finish_and_then_agents_exit(lab: Lab) -> None:
    agent = lab.agent()
    command = lab.take(agent)
    lab.start(command.run_id)
    lab.set_state("FINISHED")

    assert agent.heartbeat([command.run_id]) is None
    lab.finish(command.run_id)
    assert agent.heartbeat([]) == Command("exit")
    assert lab.states() == ["finished"]


def test_cancelling_a_sweep_stops_its_trials_and_agents(lab: Lab) -> None:
    agents = [lab.agent(), lab.agent()]
    running, pending = (lab.take(agent) for agent in agents)
    lab.start(running.run_id)
    lab.set_state("CANCELED")

    assert agents[0].heartbeat([running.run_id]) == Command("stop", running.run_id)
    assert agents[0].heartbeat([]) == Command("exit")
    assert lab.states() == ["killed", "killed"]
    assert agents[1].heartbeat([pending.run_id]) == Command("stop", pending.run_id)


def test_a_deaf_run_does_not_keep_another_from_being_stopped(lab: Lab) -> None:
    agent = lab.agent()
    runs = []
    for _ in range(2):
        runs.append(lab.take(agent).run_id)
        lab.conn.execute(STOP, {"id": lab.start(runs[-1])})

    told = {getattr(agent.heartbeat(runs), "run_id", None) for _ in range(2)}
    assert told == set(runs)


def test_a_cell_whose_run_was_deleted_is_handed_out_again(lab: Lab) -> None:
    agent = lab.agent()
    node_ids = []
    for _ in range(3):
        command = lab.take(agent)
        node_ids.append(lab.start(command.run_id))
        lab.finish(command.run_id)
    lab.conn.execute(DELETE, {"id": node_ids[1]})

    assert lab.take(agent).parameters == {"lr": 0.2}


def test_run_cap_and_target_end_a_sweep(conn: Connection) -> None:
    space = {"parameters": {"lr": {"min": 0.1, "max": 1.0}}, "method": "random"}
    goal = {"name": "acc", "goal": "maximize", "target": 0.9}
    capped = Lab(conn, create_sweep(conn, {**space, "run_cap": 1}))
    aimed = Lab(conn, create_sweep(conn, {**space, "metric": goal}))
    for lab in (capped, aimed):
        agent = lab.agent()
        command = lab.take(agent)
        lab.start(command.run_id)
        lab.log(command.run_id, [0.2, 0.95, float("nan"), 0.3])  # the best row counts
        lab.finish(command.run_id)
        assert agent.heartbeat([]) == Command("exit")
        assert lab.state() == "FINISHED"
    assert fetch_sweep(conn, capped.ref).expected == 1
    assert aimed.node()["bestLoss"] == 0.95


def test_hyperband_stops_the_worst_of_three(conn: Connection) -> None:
    hyperband = {"type": "hyperband", "min_iter": 2, "eta": 3}
    lab = Lab(conn, create_sweep(conn, {**GRID, "early_terminate": hyperband}))
    agents = [lab.agent() for _ in range(3)]
    runs = [lab.take(agent).run_id for agent in agents]
    for run_id, best in zip(runs, (0.9, 0.8, 0.1), strict=True):
        lab.start(run_id)
        lab.log(run_id, [0.05, best])

    commands = [agent.heartbeat([run]) for agent, run in zip(agents, runs, strict=True)]
    assert commands[0] is None
    assert commands[2] == Command("stop", runs[2])


def test_a_config_without_runs_can_be_updated_and_later_not(lab: Lab) -> None:
    update = """mutation UpsertSweep($id: ID, $config: String) {
      upsertSweep(input: {id: $id, config: $config}) { sweep { name } configValidationWarnings }
    }"""
    variables = {"id": lab.node()["id"], "config": json.dumps({**GRID, "run_cap": 1})}
    lab.conn.execute(update, variables)
    assert fetch_sweep(lab.conn, lab.ref).expected == 1

    lab.take(lab.agent())
    with pytest.raises(TrackingError, match="cannot be updated"):
        lab.conn.execute(update, variables)


def test_a_run_that_joins_by_itself_counts_as_its_cell(lab: Lab) -> None:
    config = json.dumps({"lr": {"value": 0.1}})
    join = """mutation UpsertBucket($config: JSONString, $sweep: String) {
      upsertBucket(input: {name: "mine", modelName: "p", host: "here", sweep: $sweep, config: $config}) {
        bucket { sweepName }
      }
    }"""
    answer = lab.conn.execute(join, {"config": config, "sweep": lab.ref.sweep_id})
    lab.log("mine", [0.5, 0.7])

    assert answer["upsertBucket"]["bucket"]["sweepName"] == lab.ref.sweep_id
    assert lab.node()["bestLoss"] == 0.7
    assert lab.take(lab.agent()).parameters == {"lr": 0.2}
    with pytest.raises(TrackingError, match=r"no sweep 'nothere'.*WANDB_SWEEP_ID"):
        lab.conn.execute(join, {"config": config, "sweep": "nothere"})


def test_a_new_metric_is_collected_from_what_was_logged(lab: Lab) -> None:
    lab.start("mine")
    lines = [json.dumps({"_step": i, "acc": i, "val": {"loss": 9 - i}}) for i in range(3)]
    body = {"files": {"wandb-history.jsonl": {"offset": 0, "content": lines}}}
    lab.conn.post("/files/local/p/mine/file_stream", body)
    assert lab.node()["bestLoss"] == 2

    update = """mutation UpsertSweep($id: ID, $config: String) {
      upsertSweep(input: {id: $id, config: $config}) { sweep { name } }
    }"""
    config = {**GRID, "metric": {"name": "val.loss", "goal": "minimize"}}
    lab.conn.execute(update, {"id": lab.node()["id"], "config": json.dumps(config)})
    assert lab.node()["bestLoss"] == 7


def test_an_agent_that_is_silent_reads_as_crashed(lab: Lab, clock: Clock) -> None:
    agent = lab.agent()
    lab.take(agent)
    assert [edge["node"]["state"] for edge in lab.node()["agents"]["edges"]] == ["RUNNING"]
    clock.now += LEASE_S + 1
    assert [edge["node"]["state"] for edge in lab.node()["agents"]["edges"]] == ["CRASHED"]


def test_an_agent_of_a_deleted_sweep_is_told_so_by_a_404(lab: Lab) -> None:
    agent = lab.agent()
    agent.agent_id = "QWdlbnQ6djE6Z29uZQ=="

    with pytest.raises(SweepGoneError):
        agent.heartbeat([])


def test_a_config_that_cannot_be_searched_creates_nothing_and_names_every_problem(
    conn: Connection,
) -> None:
    create = """mutation UpsertSweep($config: String) {
      upsertSweep(input: {config: $config, projectName: "p"}) { sweep { name } }
    }"""
    bad = {"method": "grid", "parameters": {"a": {"min": 0.0, "max": 1.0}, "b": {"valeus": [1]}}}
    with pytest.raises(TrackingError) as caught:
        conn.execute(create, {"config": json.dumps(bad)})

    assert "sweep config: parameters.b" in str(caught.value)
    assert conn.execute('{ project(name: "p") { totalSweeps } }', {})["project"] is None


def test_an_agent_of_no_sweep_is_refused(conn: Connection, lab: Lab) -> None:
    with pytest.raises(TrackingError, match="no such sweep"):
        AgentSession(conn, SweepRef("local", "p", "nothere"))
