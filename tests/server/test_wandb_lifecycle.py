"""The unmodified wandb client over real HTTP: a run is resumed, preempted, renamed, moved and deleted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import wandb

from fer_sweep.server.embedded import LocalServer
from fer_sweep.tracking import AgentSession, Command, SweepRef, connect

pytestmark = [
    pytest.mark.wandb_client,
    pytest.mark.filterwarnings(
        "ignore:Read the `app_url` setting:DeprecationWarning"
    ),  # wandb's own
]


@pytest.fixture(autouse=True)
def client(local_server: LocalServer) -> Iterator[None]:
    """wandb reads its environment once per process, so each test gets a client of its own."""
    wandb.teardown()
    yield
    wandb.teardown()
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        os.environ.pop(name, None)  # wandb.sweep leaves them set


def api_run(run_id: str) -> Any:
    return wandb.Api().run(f"local/faces/{run_id}")


def log(run_id: str, *losses: float, resume: Any = None, **settings: Any) -> None:
    with wandb.init(project="faces", id=run_id, resume=resume, **settings) as run:
        for loss in losses:
            run.log({"loss": loss})


@pytest.mark.parametrize("resume", ["allow", "must"])
def test_a_resumed_run_keeps_its_rows_config_and_count_of_steps(resume: Any) -> None:
    log("again", 3.0, 2.0, config={"lr": 0.1})
    with wandb.init(project="faces", id="again", resume=resume, config={"lr": 0.2}) as run:
        # "allow" and "must" do not let code change what the run was started with
        run.config.update({"batch": 8})
        run.log({"loss": 1.0})
    found = api_run("again")

    rows = [(row["_step"], row["loss"]) for row in found.scan_history()]
    assert rows == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert found.lastHistoryStep == 2
    assert found.config["batch"] == 8
    assert (found.summary["loss"], found.state) == (1.0, "finished")
    assert len(wandb.Api().runs("local/faces")) == 1


def test_resume_allow_creates_what_is_missing_and_must_and_never_refuse() -> None:
    log("fresh", 1.0, resume="allow")
    assert api_run("fresh").summary["loss"] == 1.0
    with pytest.raises(wandb.errors.UsageError, match="requires an existing run to resume"):
        log("nothere", 1.0, resume="must")
    with pytest.raises(wandb.errors.UsageError, match="already exists"):
        log("fresh", 2.0, resume="never")
    log("new", 4.0, resume="never")

    assert {run.id for run in wandb.Api().runs("local/faces")} == {"fresh", "new"}
    assert [row["loss"] for row in api_run("fresh").scan_history()] == [1.0]


def test_the_same_id_without_resume_starts_over() -> None:
    log("again", 3.0, 2.0, 1.0)
    log("again", 9.0)
    found = api_run("again")

    assert [(row["_step"], row["loss"]) for row in found.scan_history()] == [(0, 9.0)]
    assert (found.lastHistoryStep, found.summary["loss"]) == (0, 9.0)


def test_a_run_that_was_killed_counts_as_running_again_once_resumed() -> None:
    run = wandb.init(project="faces", id="again")
    run.log({"loss": 1.0})
    run.finish(exit_code=1)
    assert api_run("again").state == "failed"

    run = wandb.init(project="faces", id="again", resume="must")
    assert api_run("again").state == "running"
    run.finish()
    assert api_run("again").state == "finished"


def test_a_preempted_trial_is_handed_out_again_and_goes_on(local_server: LocalServer) -> None:
    sweep_id = wandb.sweep(
        {"method": "grid", "parameters": {"lr": {"values": [0.1, 0.2]}}}, project="faces"
    )
    conn = connect(local_server.url, local_server.api_key, "local", "faces")
    agents = [AgentSession(conn, SweepRef("local", "faces", sweep_id)) for _ in range(3)]
    first = agents[0].heartbeat([])
    assert first is not None

    run = wandb.init(project="faces", id=first.run_id, config={"lr": 0.1, "host": "gpu1"})
    run.log({"loss": 3.0})
    run.mark_preempting()
    run.finish(exit_code=143)
    assert api_run(first.run_id).state == "preempted"

    resumed = agents[1].heartbeat([])
    assert resumed == Command("resume", first.run_id, {"lr": 0.1})
    other = agents[2].heartbeat([])
    assert other is not None
    assert (other.type, other.parameters) == ("run", {"lr": 0.2})
    log(first.run_id, 2.0, resume="allow")
    found = api_run(first.run_id)
    assert (found.state, found.sweep.id) == ("finished", sweep_id)
    assert [row["loss"] for row in found.scan_history()] == [3.0, 2.0]


def test_a_preempting_run_that_exits_well_is_finished() -> None:
    run = wandb.init(project="faces", id="lucky")
    run.mark_preempting()
    run.finish()

    assert api_run("lucky").state == "finished"


def test_group_job_type_and_notes_are_kept_changed_and_found() -> None:
    log("a", 1.0, group="night", job_type="train", notes="first", name="alpha", tags=["x"])
    log("b", 2.0, group="day", job_type="eval")
    found = api_run("a")
    assert (found.group, found.job_type, found.notes) == ("night", "train", "first")
    assert (found.name, found.display_name) == ("alpha", "alpha")
    found.group = "morning"
    found.display_name = "omega"
    found.job_type = "eval"
    found.update()

    def names(**filters: Any) -> list[str]:
        return [run.id for run in wandb.Api().runs("local/faces", filters=filters)]

    assert names(group="morning") == ["a"]
    assert names(jobType="eval") == ["b", "a"] or names(jobType="eval") == ["a", "b"]
    assert names(display_name="omega") == ["a"]
    assert names(display_name={"$regex": "^ome"}) == ["a"]


def test_config_and_summary_change_while_a_run_lives() -> None:
    with wandb.init(project="faces", id="live", config={"net": {"width": 8}}) as run:
        run.config.update({"net": {"width": 16, "depth": 2}}, allow_val_change=True)
        run.config["late"] = [1, {"a": None}]
        run.summary.update({"best": {"acc": 0.5}})
        run.log({"loss": 1.0})
        run.summary["best"] = {"acc": 0.9}
        run.summary["note"] = "kept"
    found = api_run("live")

    assert found.config == {"net": {"width": 16, "depth": 2}, "late": [1, {"a": None}]}
    assert found.summary["best"]["acc"] == 0.9
    assert found.summary["note"] == "kept"


def test_a_deleted_trial_frees_its_cell_for_a_resumed_sweep(local_server: LocalServer) -> None:
    """W&B: "delete the ones you want to re-execute, then choose Resume"."""
    sweep_id = wandb.sweep(
        {"method": "grid", "parameters": {"lr": {"values": [0.1, 0.2]}}}, project="faces"
    )
    conn = connect(local_server.url, local_server.api_key, "local", "faces")
    session = AgentSession(conn, SweepRef("local", "faces", sweep_id))
    while (command := session.heartbeat([])) != Command("exit"):
        assert command is not None
        log(command.run_id, 1.0, config=command.parameters)
    sweep = wandb.Api().sweep(f"local/faces/{sweep_id}")
    assert sweep.state == "FINISHED"
    next(run for run in sweep.runs if run.config["lr"] == 0.2).delete()

    set_state(sweep_id, "RUNNING")
    again = AgentSession(conn, SweepRef("local", "faces", sweep_id)).heartbeat([])
    assert again is not None
    assert again.parameters == {"lr": 0.2}


def set_state(sweep_id: str, state: str) -> None:
    """What ``wandb sweep --pause`` and its sisters call."""
    from wandb.apis.public.sweeps import _set_sweep_state

    _set_sweep_state(wandb.Api(), sweep_id, state, entity="local", project="faces")
