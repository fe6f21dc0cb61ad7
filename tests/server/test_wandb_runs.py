"""The unmodified wandb client over real HTTP: runs written, read back and changed."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from fer_sweep.server.embedded import LocalServer

pytestmark = [pytest.mark.wandb_client]
DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def client(local_server: LocalServer) -> Iterator[None]:
    """wandb reads its environment once per process, so each test gets a client of its own."""
    wandb.teardown()
    yield
    wandb.teardown()


def api_run(run_id: str) -> Any:
    """The run as a fresh client sees it; one client's objects are cached."""
    return wandb.Api().run(f"local/faces/{run_id}")


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_login_is_verified_against_the_server(local_server: LocalServer) -> None:
    assert wandb.login(key=local_server.api_key, host=local_server.url, verify=True)
    with pytest.raises(wandb.errors.AuthenticationError):
        wandb.login(key="0" * 40, host=local_server.url, verify=True, relogin=True)


def test_what_a_run_logs_is_read_back_whole() -> None:
    with wandb.init(project="faces", config={"lr": 0.1}, tags=["quick"], notes="first") as run:
        for epoch in range(30):
            run.log({"epoch": epoch + 1, "val/accuracy": epoch / 30, "val/loss": 1.0})
        run.log({"epoch": 31, "val/loss": math.nan, "grad_norm": math.inf, "x": -math.inf})
        run.config.update({"added": [1, 2]})
        run.summary["best/val_accuracy"] = 0.9
    found = api_run(run.id)

    assert found.state == "finished"
    assert found.config == {"lr": 0.1, "added": [1, 2]}
    assert (found.tags, found.notes, found.name) == (["quick"], "first", "run-1")
    assert found.summary["best/val_accuracy"] == 0.9
    assert math.isnan(found.summary["val/loss"])
    assert found.lastHistoryStep == 30

    rows = list(found.scan_history())
    assert [row["epoch"] for row in rows] == list(range(1, 32))
    assert math.isnan(rows[-1]["val/loss"])
    assert (rows[-1]["grad_norm"], rows[-1]["x"]) == (math.inf, -math.inf)
    assert "val/accuracy" not in rows[-1]


def test_histories_are_sampled_paged_and_filtered_by_key() -> None:
    with wandb.init(project="faces") as run:
        for step in range(2100):
            run.log({"loss": step} if step % 2 else {"loss": step, "extra": step})
    found = api_run(run.id)

    assert len(found.history(pandas=False)) == 500
    assert len(found.history(samples=5000, pandas=False)) == 2100
    assert len(list(found.scan_history(page_size=500))) == 2100
    extra = [row["extra"] for row in found.scan_history(keys=["_step", "extra"])]
    assert extra == list(range(0, 2100, 2))
    window = found.scan_history(min_step=1000, max_step=1003)
    assert [row["loss"] for row in window] == [1000, 1001, 1002]
    sampled = found.history(keys=["extra"], samples=100, pandas=False)
    assert len(sampled) == 100
    assert set(sampled[0]) == {"_step", "extra"}


def test_changes_made_through_the_api_are_kept() -> None:
    with wandb.init(project="faces", config={"lr": 0.1}) as run:
        run.log({"loss": 1.0})
    found = api_run(run.id)
    found.tags = [*found.tags, "overfits"]
    found.notes = "val loss turns up"
    found.name = "a better name"
    found.config["reviewed"] = True
    found.summary["fersweep/verdict"] = "FS102"
    found.update()

    again = api_run(run.id)
    assert (again.tags, again.notes) == (["overfits"], "val loss turns up")
    assert again.name == "a better name"
    assert again.config == {"lr": 0.1, "reviewed": True}
    assert again.summary["fersweep/verdict"] == "FS102"
    assert again.summary["loss"] == 1.0
    assert again.state == "finished"


def test_files_are_uploaded_listed_downloaded_and_deleted(tmp_path: Path) -> None:
    with wandb.init(project="faces", config={"lr": 0.1}) as run:
        pass
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "curve 1.svg").write_text("<svg/>")
    found = api_run(run.id)
    found.upload_file(str(tmp_path / "plots" / "curve 1.svg"), root=str(tmp_path))

    names = [file.name for file in found.files()]
    assert {"config.yaml", "wandb-metadata.json", "plots/curve 1.svg"} <= set(names)
    file = found.file("plots/curve 1.svg")
    with file.download(root=str(tmp_path / "back")) as stream:
        assert stream.read() == "<svg/>"
    assert found.metadata["host"]
    file.delete()
    assert "plots/curve 1.svg" not in [file.name for file in api_run(run.id).files()]


def test_runs_are_filtered_ordered_and_paged() -> None:
    for lr in (0.3, 0.1, 0.2):
        with wandb.init(project="faces", config={"lr": lr}) as run:
            run.summary["acc"] = 1 - lr
    api = wandb.Api()

    def rates(**query: Any) -> list[float]:
        return [run.config["lr"] for run in api.runs("local/faces", **query)]

    assert rates() == [0.3, 0.1, 0.2]
    assert rates(order="-summary_metrics.acc", per_page=2) == [0.1, 0.2, 0.3]
    assert rates(filters={"config.lr": {"$gt": 0.15}}, lazy=False) == [0.3, 0.2]
    assert len(api.runs("local/faces", filters={"state": "failed"})) == 0
    assert [project.name for project in api.projects("local")] == ["faces"]


def test_a_run_is_resumed_where_it_ended() -> None:
    with wandb.init(project="faces", id="again") as run:
        run.log({"loss": 3})
    with wandb.init(project="faces", id="again", resume="must") as run:
        run.log({"loss": 2})
    found = api_run("again")

    assert [row["loss"] for row in found.scan_history()] == [3, 2]
    assert found.state == "finished"


def test_a_deleted_run_is_gone() -> None:
    with wandb.init(project="faces") as run:
        run.log({"loss": 3})
    api_run(run.id).delete()

    with pytest.raises(wandb.errors.CommError, match="Could not find run"):
        api_run(run.id)


@pytest.mark.parametrize(("code", "state"), [(3, "failed"), (255, "killed")])
def test_the_exit_code_a_run_finishes_with_is_its_state(code: int, state: str) -> None:
    run = wandb.init(project="faces")
    run.finish(exit_code=code)

    assert api_run(run.id).state == state


def test_an_optional_operation_that_is_missing_breaks_nothing() -> None:
    with wandb.init(project="faces") as run:
        run.log({"table": wandb.Table(columns=["a"], data=[[1]]), "loss": 1.0})
        run.log({"loss": 0.5})
    found = api_run(run.id)

    assert found.state == "finished"
    assert [row["loss"] for row in found.scan_history()] == [1.0, 0.5]


@pytest.mark.slow
def test_a_plain_run_is_stopped_from_elsewhere(tmp_path: Path) -> None:
    script = """
import time, wandb
with wandb.init(project="faces", id="endless") as run:
    for step in range(1200):
        run.log({"step": step})
        time.sleep(0.05)
"""
    environment = os.environ | {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_until(lambda: bool(run_exists("endless")))
        api_run("endless").stop()
        process.wait(DEADLINE_S)

    assert api_run("endless").state == "killed"


def run_exists(run_id: str) -> bool:
    try:
        return bool(api_run(run_id).state == "running")
    except (ValueError, wandb.errors.CommError):
        return False
