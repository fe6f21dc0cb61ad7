"""The three commands as a user types them, with nothing copied between them, and what goes wrong on the way."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fer_sweep.server.embedded import LocalServer

Cli = Callable[..., Any]
KEY = "k" * 40
TINY = ("create", "--arch", "cnn1", "--train-size", "100", "--epochs", "2", "--dropout", "0,0.3")


@pytest.mark.slow
def test_create_agent_report_needs_no_id_and_no_account(run_cli: Cli, tmp_path: Path) -> None:
    sweep = run_cli(*TINY).out.strip()
    agent = run_cli("agent", "--data", "faces:n=320", "--workers", "2", "--json")
    report = run_cli("report", "--json")
    table = run_cli("report")

    assert (agent.code, report.code) == (0, 0)
    trials = json.loads(agent.out)["trials"]
    assert [trial["state"] for trial in trials] == ["finished", "finished"]
    runs = json.loads(report.out)["runs"]
    assert sorted(run["config"]["dropout"] for run in runs) == [0, 0.3]
    assert all(run["epochs"] == 2 for run in runs)
    page = tmp_path / ".fersweep" / "reports" / f"{sweep.rpartition('/')[2]}.html"
    assert str(page) in table.out
    assert "trial-1" in page.read_text()
    assert [line for line in table.out.splitlines() if line != line.rstrip()] == []
    assert len(list(csv.DictReader(io.StringIO(run_cli("report", "--csv").out)))) == 2
    assert run_cli("report", "--markdown").out.startswith("#")

    again = run_cli("agent")
    assert again.code == 0
    assert "nothing to run" in again.err


@pytest.mark.slow
def test_a_trial_that_fails_ends_in_exit_code_3_and_in_the_report(
    run_cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text(
        "method: grid\nmetric: {name: best/val_accuracy, goal: maximize}\nparameters:\n"
        "  arch: {value: cnn1}\n  train_size: {values: [100, 5000]}\n  epochs: {value: 1}\n"
    )
    run_cli("create", "s.yaml")

    agent = run_cli("agent", "--data", "faces:n=320", "--workers", "1")
    report = json.loads(run_cli("report", "--json").out)

    assert agent.code == 3
    warning = "parameters.train_size: trials cannot take more than the 256 training images"
    assert warning in agent.err
    states = {run["config"]["train_size"]: run["state"] for run in report["runs"]}
    assert states == {100: "finished", 5000: "failed"}
    failed = next(run for run in report["runs"] if run["state"] == "failed")
    assert failed["failure"]["cause"] == "exception"
    assert "train_size" in failed["failure"]["traceback"]


def test_a_sweep_that_wants_more_images_than_there_are_costs_no_trial(run_cli: Cli) -> None:
    run_cli("create", "--arch", "cnn1", "--train-size", "5000,6000", "--epochs", "1")

    agent = run_cli("agent", "--data", "faces:n=320")

    assert agent.code == 2
    assert "256 training images of the data (got 5000, 6000)" in agent.err
    assert json.loads(run_cli("report", "--json").out)["runs"] == []


@pytest.mark.slow
def test_a_trial_that_diverges_is_said_to_and_keeps_what_it_measured(run_cli: Cli) -> None:
    run_cli("create", "--arch", "cnn4", "--lr", "10", "--optimizer", "sgd", "--epochs", "3")

    agent = run_cli("agent", "--data", "faces:n=320", "--workers", "1")
    (run,) = json.loads(run_cli("report", "--json").out)["runs"]

    assert agent.code == 3
    assert (run["state"], run["verdict"], run["failure"]["cause"]) == (
        "failed",
        "diverged",
        "non-finite",
    )
    assert (run["n_train"], run["sizes_assumed"]) == (256, False)
    assert "FS402" in [finding["code"] for finding in run["findings"]]


def test_commands_without_a_sweep_say_how_to_get_one(run_cli: Cli) -> None:
    for command in ("agent", "report"):
        result = run_cli(command)
        assert result.code == 2
        assert "no sweep was created here yet. Run `fersweep create`" in result.err


def test_gpus_that_are_not_there_are_refused_with_the_cpu_way(run_cli: Cli) -> None:
    run_cli(*TINY)

    result = run_cli("agent", "--gpus", "0,1")

    assert result.code == 2
    assert "--gpus" in result.err
    assert "--workers" in result.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "no such file", id="wrong path"),
        pytest.param("emotion,pixels,Usage\n9,{px},Training\n", "data.csv:2", id="label 9"),
        pytest.param("emotion,pixels,Usage\n1,1 2 3,Training\n", "data.csv:2", id="pixel count"),
        pytest.param("emotion,pixels,Usage\n1,{px},Training\n2,{px}", "data.csv:3", id="truncated"),
        pytest.param("a,b\n1,2\n", "data.csv", id="other columns"),
        pytest.param("", "data.csv", id="empty"),
    ],
)
def test_bad_data_is_said_once_and_costs_no_trial(
    run_cli: Cli, tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "data.csv").write_text(content.replace("{px}", " ".join(["7"] * 2304)))
    run_cli(*TINY)

    result = run_cli("agent", "--data", "data.csv")

    assert result.code == 2
    assert message in result.err
    assert result.err.count("fersweep: error:") == 1
    assert "Traceback" not in result.err
    assert json.loads(run_cli("report", "--json").out)["runs"] == []
    assert run_cli("data", "info", "--data", "data.csv").code == 2


def test_no_data_names_the_ways_to_give_it(run_cli: Cli) -> None:
    run_cli(*TINY)

    result = run_cli("agent")

    assert result.code == 2
    for way in ("--data", "FERSWEEP_DATA", "fersweep.toml", "faces"):
        assert way in result.err


def test_what_is_no_sweep_and_what_is_in_another_project_lists_what_there_is(run_cli: Cli) -> None:
    sweep = run_cli(*TINY).out.strip()
    sweep_id = sweep.rpartition("/")[2]

    unknown = run_cli("report", "zzzzzzzz")
    elsewhere = run_cli("report", sweep_id, "--project", "other")

    assert (unknown.code, elsewhere.code) == (1, 1)
    assert sweep_id in unknown.err
    assert "local/other" in elsewhere.err


def test_the_last_sweep_of_another_server_is_not_taken_for_one_of_this(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cli(*TINY, "--local")
    monkeypatch.setenv("WANDB_API_KEY", KEY)

    result = run_cli("report", "--cloud")

    assert result.code == 2
    assert "lives on the local server; this command talks to wandb.ai. Add --local" in result.err


def test_a_local_server_is_the_same_after_it_came_back_on_another_port(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_server: LocalServer
) -> None:
    from fer_sweep.server.embedded import start_server

    created = run_cli(*TINY)
    with start_server(tmp_path / "server" / "server.sqlite") as again:
        assert again.url != local_server.url
        monkeypatch.setenv("WANDB_BASE_URL", again.url)
        report = run_cli("report", "--json")

    assert (created.code, report.code) == (0, 0)


def test_a_project_may_have_spaces_in_its_name(run_cli: Cli) -> None:
    created = run_cli(*TINY, "--project", "my faces")

    assert created.out.strip().startswith("local/my faces/")
    assert run_cli("report", "--json").code == 0


def test_a_flag_beats_the_project_of_the_file(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "project: file\nmethod: grid\nmetric: {name: best/val_accuracy, goal: maximize}\n"
        "parameters:\n  arch: {value: cnn1}\n"
    )

    assert run_cli("create", "s.yaml").out.startswith("local/file/")
    assert run_cli("create", "s.yaml", "-p", "other").out.startswith("local/other/")


def test_a_project_that_the_last_sweep_is_not_of_is_said_to_be_so(run_cli: Cli) -> None:
    sweep = run_cli(*TINY).out.strip()

    result = run_cli("report", "-p", "nope")

    assert result.code == 2
    assert f"--project nope: the last sweep created here, {sweep}, is not of that" in result.err
    assert run_cli("report", "-p", "fersweep", "--json").code == 0


def test_the_url_of_a_cloud_sweep_is_not_looked_up_in_the_local_server(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = run_cli(*TINY).out.strip()
    sweep_id = sweep.rpartition("/")[2]

    cloud = run_cli("report", f"https://wandb.ai/local/fersweep/sweeps/{sweep_id}")
    local = run_cli("report", f"http://localhost:1/local/fersweep/sweeps/{sweep_id}", "--json")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    other = run_cli("report", f"http://localhost:1/local/fersweep/sweeps/{sweep_id}")

    assert (cloud.code, local.code, other.code) == (2, 0, 2)
    assert "lives on wandb.ai; this command is local. Add --cloud" in cloud.err
    assert "lives on the local server; this command talks to wandb.ai. Add --local" in other.err


def test_addresses_that_die_with_the_command_are_not_printed(run_cli: Cli, tmp_path: Path) -> None:
    from fer_sweep.server.embedded import start_server
    from fer_sweep.tracking import AgentSession, SweepRef, connect

    created = json.loads(run_cli(*TINY, "--json").out)
    with start_server(tmp_path / ".fersweep" / "server.sqlite") as server:
        connection = connect(server.url, server.api_key, "local", "fersweep")
        AgentSession(connection, SweepRef(*created["sweep"].split("/"))).heartbeat(())
    (run,) = json.loads(run_cli("report", "--json").out)["runs"]

    assert (created["url"], run["url"]) == (None, "")


@pytest.mark.parametrize("sweep", [(), ("zzzzzzzz",)], ids=["no sweep named", "an unknown one"])
@pytest.mark.parametrize("command", ["agent", "report"])
def test_a_command_that_finds_no_sweep_leaves_nothing_behind(
    run_cli: Cli, tmp_path: Path, command: str, sweep: tuple[str, ...]
) -> None:
    result = run_cli(command, *sweep)

    assert result.code == 2
    assert "Run `fersweep create`" in result.err
    assert not (tmp_path / ".fersweep").exists()


def test_a_wrong_api_key_is_one_line(
    run_cli: Cli, local_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)

    result = run_cli(*TINY)

    assert result.code == 1
    assert local_server.url in result.err
    assert "API key" in result.err
    assert KEY not in result.err
    assert len(result.err.splitlines()) == 1


def test_an_unreachable_server_is_one_line(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{unused_port}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)

    result = run_cli(*TINY)

    assert result.code == 1
    assert f"http://127.0.0.1:{unused_port}" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_taken_port_is_one_line(run_cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_cli("serve", "--port", str(port))

    assert result.code == 1
    assert str(port) in result.err
    assert len(result.err.splitlines()) == 1


def test_a_home_that_cannot_be_made_is_one_line(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = run_cli(*TINY, "--home", "file/home")

    assert result.code == 1
    assert "file/home" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_full_disk_is_one_line_and_leaves_the_sweep_before_it(
    run_cli: Cli, small_disk: Path
) -> None:
    before = run_cli(*TINY, "--home", str(small_disk / "home")).out.strip()
    filler = small_disk / "filler"
    fill(filler)
    assert shutil.disk_usage(small_disk).free == 0

    result = run_cli(*TINY, "--home", str(small_disk / "home"))
    filler.unlink()

    assert result.code in (1, 2)
    assert "Traceback" not in result.err
    assert str(small_disk) in result.err
    report = run_cli("report", before, "--home", str(small_disk / "home"), "--json")
    assert report.code == 0


def test_a_folder_in_use_is_shared(run_cli: Cli, tmp_path: Path) -> None:
    from fer_sweep.server.embedded import start_server

    with start_server(tmp_path / ".fersweep" / "server.sqlite"):
        created = run_cli(*TINY)
        report = run_cli("report", "--json")

    assert (created.code, report.code) == (0, 0)


def test_serve_prints_what_to_paste(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fer_sweep.cli.main", "serve", "--home", str(tmp_path / "h")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    lines = [server.stdout.readline().strip() for _ in range(2)]
    server.send_signal(2)
    server.stdout.close()

    assert lines[0].startswith("export WANDB_BASE_URL=http://127.0.0.1:")
    assert len(lines[1].removeprefix("export WANDB_API_KEY=")) == 40
    assert server.wait(timeout=20) == 130


def test_a_bug_of_ours_is_said_as_one(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import fer_sweep.settings

    def broken(**_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(fer_sweep.settings, "load_settings", broken)
    result = run_cli("report")

    assert result.code == 1
    assert result.err.startswith("fersweep: bug: RuntimeError: boom.")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root: a small disk is mounted")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)
