"""Supervisor and workers as real processes, against our real server through the real wandb client.

Only training is a stub (``stub_worker.py``), so that a worker starts in half a second instead of three.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_sweep.agent.machine import Machine
from fer_sweep.agent.report import AgentReport
from fer_sweep.agent.supervisor import AgentOptions, WorkersFailedError, run_agent
from fer_sweep.agent.view import PlainView
from fer_sweep.errors import ConfigError, ExitCode
from fer_sweep.server.embedded import LocalServer, start_server
from fer_sweep.tracking import (
    AgentSession,
    Connection,
    RunInfo,
    SweepRef,
    connect,
    create_sweep,
    fetch_history,
    fetch_runs,
    fetch_sweep,
    record_failure,
)

pytestmark = [pytest.mark.slow, pytest.mark.wandb_client]

HERE = Path(__file__).parent
RAISES, EXITS, DIVERGES, DIES, PRINTS, BREAKS = 13, 14, 15, 16, 17, 18
"""Seeds that make the stub misbehave; as in stub_worker.py."""

LONG = 500
"""Epochs of a trial that a test means to stop: about 50 s."""


def make_sweep(connection: Connection, seeds: Sequence[int], epochs: int = 2) -> SweepRef:
    return create_sweep(
        connection,
        {
            "method": "grid",
            "metric": {"name": "best/val_accuracy", "goal": "maximize"},
            "parameters": {"seed": {"values": list(seeds)}, "epochs": {"value": epochs}},
        },
    )


@pytest.fixture
def options(connection: Connection, tmp_path: Path) -> Iterator[Callable[..., AgentOptions]]:
    """Builds the options of an agent with stub workers; afterwards no process may be left."""
    home = tmp_path / "project" / ".fersweep"

    def build(sweep: SweepRef, **changes: Any) -> AgentOptions:
        command = (sys.executable, str(HERE / "stub_worker.py"))
        plain = AgentOptions(connection, sweep, home, workers=2, worker_command=command)
        return replace(plain, restart_after_s=0.05, **changes)

    yield build
    wait_until(lambda: not processes_of(home), 1, lambda: f"left behind: {processes_of(home)}")


def run(options: AgentOptions, stream: io.StringIO | None = None) -> AgentReport:
    view = PlainView(stream or io.StringIO())
    return run_agent(options, view=view, machine=Machine((), 2, 8.0))


def wait_until(
    true: Callable[[], bool], seconds: float, what: Callable[[], str] = lambda: "timed out"
) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def processes_of(home: Path) -> dict[int, str]:
    """Workers, and all that they started, by what only they have in their environment."""
    marker = f"WANDB_DIR={home}\0".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "environ").read_bytes():
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(folder.name)] = command
        except OSError:
            continue
    return found


def worker_log(home: Path) -> str:
    """Of the first slot of an agent in this process."""
    return (home / "logs" / f"cpu-0-{os.getpid()}.log").read_text()


def worker_pids(home: Path) -> list[int]:
    return [pid for pid, command in processes_of(home).items() if "stub_worker" in command]


def runs_by_seed(connection: Connection, sweep: SweepRef) -> dict[int, RunInfo]:
    runs = fetch_runs(connection, sweep=sweep)
    by_seed = {run.config["seed"]: run for run in runs}
    assert len(by_seed) == len(runs), "a cell was handed out twice"
    return by_seed


def test_every_cell_of_a_grid_runs_once_and_is_complete(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    sweep = make_sweep(connection, [1, 2, 3])
    stream = io.StringIO()
    report = run(options(sweep), stream)

    assert report.exit_code == ExitCode.DONE
    assert report.by_state == {"finished": 3}
    runs = runs_by_seed(connection, sweep)
    assert sorted(runs) == [1, 2, 3]
    for info in runs.values():
        assert info.state == "finished"
        assert [row["epoch"] for row in fetch_history(connection, info)] == [1, 2]
        assert info.summary["best/val_accuracy"] == pytest.approx(2 / 3)
        assert info.summary["params"] == 7
    assert fetch_sweep(connection, sweep).run_count == 3
    assert "2 workers on the CPU" in stream.getvalue()
    assert "3 finished, 0 running, 0 left" in stream.getvalue()
    assert stream.getvalue().count("the stub's data has a note") == 1
    assert report.worker_s > 0


def test_failed_trials_are_recorded_with_their_cause_and_the_others_go_on(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    sweep = make_sweep(connection, [RAISES, 1, EXITS, DIVERGES, 2])
    report = run(options(sweep))

    assert report.exit_code == ExitCode.TRIALS_FAILED
    assert report.by_state == {"finished": 2, "failed": 3}
    assert report.by_cause == {"exception": 2, "non-finite": 1}
    runs = runs_by_seed(connection, sweep)
    assert {seed: info.state for seed, info in runs.items()} == {
        RAISES: "failed",
        EXITS: "failed",
        DIVERGES: "failed",
        1: "finished",
        2: "finished",
    }
    raised = runs[RAISES].summary
    assert raised["failure/cause"] == "exception"
    assert raised["failure/message"] == "ValueError: the stub was told to fail"
    assert "in misbehave" in raised["failure/traceback"]
    assert "sys.exit('bye')" in runs[EXITS].summary["failure/message"]
    assert runs[DIVERGES].summary["failure/cause"] == "non-finite"


def test_a_config_that_does_not_fit_fails_only_its_trial(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    config = {"method": "grid", "parameters": {"arch": {"values": ["cnn1", "cnn99"]}}}
    config["parameters"]["epochs"] = {"value": 1}  # type: ignore[index]
    sweep = create_sweep(connection, config)
    report = run(options(sweep, workers=1))

    assert report.by_state == {"finished": 1, "failed": 1}
    (failed,) = report.failed
    assert "arch: must be one of cnn1" in failed.message


def test_stray_output_of_a_trial_goes_to_the_workers_log(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    sweep = make_sweep(connection, [PRINTS])
    given = options(sweep)
    assert run(given).by_state == {"finished": 1}
    log = worker_log(given.home)
    assert "a stray print" in log
    assert "native noise" in log


def test_a_killed_worker_is_a_failed_trial_and_comes_back(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    sweep = make_sweep(connection, [1, 2, 3], epochs=20)
    given = options(sweep, workers=1)
    killed: list[int] = []

    def kill_when_training() -> None:
        wait_until(lambda: "running" in states(connection, sweep), 20)
        killed.extend(worker_pids(given.home))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_when_training)
    killer.start()
    stream = io.StringIO()
    report = run(given, stream)
    killer.join()

    assert report.by_state == {"finished": 2, "failed": 1}
    (failed,) = report.failed
    assert failed.cause == "killed"
    assert "SIGKILL" in failed.message
    dead = next(r for r in fetch_runs(connection, sweep=sweep) if r.run_id == failed.run_id)
    assert dead.state == "failed"
    assert dead.summary["failure/cause"] == "killed"
    assert "a new one starts" in stream.getvalue()
    assert Counter(states(connection, sweep)) == {"finished": 2, "failed": 1}


def states(connection: Connection, sweep: SweepRef) -> list[str]:
    return [run.state for run in fetch_runs(connection, sweep=sweep)]


def test_a_slot_gives_up_after_five_deaths_in_a_row(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    config = {
        "method": "random",
        "parameters": {"seed": {"value": DIES}, "learning_rate": {"min": 0.1, "max": 0.2}},
    }
    report = run(options(create_sweep(connection, config), workers=1))

    assert report.gave_up
    assert report.exit_code == ExitCode.TOOL_ERROR
    assert len(report.trials) == 5
    (problem,) = report.problems
    assert "5 workers in a row died" in problem


def test_an_agent_without_a_trial_says_that_others_have_them(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    sweep = make_sweep(connection, [1])
    taken = AgentSession(connection, sweep).heartbeat(())
    assert taken is not None
    stream = io.StringIO()

    def close_the_other_agents_run() -> None:
        wait_until(lambda: "other agents hold what is left" in stream.getvalue(), 20)
        failure = {"failure/cause": "killed"}
        record_failure(connection, sweep, taken.run_id, exit_code=1, failure=failure)

    other = threading.Thread(target=close_the_other_agents_run)
    other.start()
    report = run(options(sweep, workers=1), stream)
    other.join()
    assert report.exit_code == ExitCode.DONE
    assert report.lines[0].startswith(f"{sweep.path}: no trials in")
    assert "others have taken or finished them all" in report.lines[1]


def test_count_is_exact_over_all_slots(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    sweep = make_sweep(connection, [1, 2, 3, 4, 5, 6])
    first = run(options(sweep, count=3))
    assert len(first.trials) == 3
    assert first.exit_code == ExitCode.DONE
    assert len(fetch_runs(connection, sweep=sweep)) == 3
    second = run(options(sweep))
    assert len(second.trials) == 3
    assert sorted(runs_by_seed(connection, sweep)) == [1, 2, 3, 4, 5, 6]


def test_a_finished_sweep_starts_no_worker(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    sweep = make_sweep(connection, [1])
    run(options(sweep))
    wait_until(lambda: fetch_sweep(connection, sweep).state == "FINISHED", 5)
    stream = io.StringIO()
    given = options(sweep, worker_command=("/does/not/exist",))
    assert run(given, stream).trials == ()
    assert "nothing to run" in stream.getvalue()


def test_data_that_no_worker_can_load_is_reported_once(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    sweep = make_sweep(connection, [1, 2])
    with pytest.raises(WorkersFailedError) as error:
        run(options(sweep, data="missing.csv"))
    assert str(error.value) == "missing.csv: no such file. Give --data PATH."
    assert error.value.exit_code == ExitCode.USAGE
    assert fetch_runs(connection, sweep=sweep) == []


def test_a_worker_that_cannot_start_says_why_and_is_not_started_again(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    given = options(make_sweep(connection, [1, 2]), data="strange.csv", workers=1)
    with pytest.raises(WorkersFailedError, match=r"^ImportError: libstrange\.so: cannot open$"):
        run(given)
    log = worker_log(given.home)
    assert log.count("--- worker started") == 1
    assert "(a second line)" in log


def test_a_worker_whose_device_is_lost_is_replaced_after_its_trial_was_closed(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    sweep = make_sweep(connection, [BREAKS, 1])
    given = options(sweep, workers=1)
    stream = io.StringIO()
    report = run(given, stream)

    assert report.by_state == {"finished": 1, "failed": 1}
    assert report.by_cause == {"exception": 1}
    assert not report.problems
    broken = runs_by_seed(connection, sweep)[BREAKS]
    assert broken.summary["failure/message"] == "ValueError: the stub was told to fail"
    assert "takes no more work from this process" in stream.getvalue()
    assert worker_log(given.home).count("--- worker started") == 2


def test_a_sweep_of_another_program_is_refused_before_it_costs_a_trial(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    parameters = {"lr": {"values": [0.1, 0.2]}, "epochs": {"value": 1}}
    sweep = create_sweep(connection, {"method": "grid", "parameters": parameters})
    with pytest.raises(ConfigError) as error:
        run(options(sweep))
    assert f"sweep {sweep.path}: parameters.lr: no such hyperparameter" in str(error.value)
    assert "Did you mean learning_rate?" in str(error.value)
    assert fetch_sweep(connection, sweep).run_count == 0


def test_a_worker_count_below_one_is_refused(
    connection: Connection, options: Callable[..., AgentOptions]
) -> None:
    sweep = make_sweep(connection, [1])
    with pytest.raises(ConfigError, match="--workers: must be at least 1"):
        run(options(sweep, workers=0))


def test_agents_survive_a_restart_of_their_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "server" / "server.sqlite"
    with socket.create_server(("127.0.0.1", 0)) as free:
        # Not the default port, which any other server may take meanwhile.
        port = free.getsockname()[1]
    server = start_server(database, port=port)
    connection = connect(server.url, server.api_key, "", "fersweep")
    sweep = make_sweep(connection, [1, 2, 3, 4], epochs=10)
    command = (sys.executable, str(HERE / "stub_worker.py"))
    home = tmp_path / "home" / ".fersweep"
    given = AgentOptions(connection, sweep, home, workers=2, worker_command=command)
    servers = [server]

    def restart() -> None:
        wait_until(lambda: "running" in states(connection, sweep), 20)
        servers[0].close()
        time.sleep(2)  # the outage itself
        servers.append(start_server(database, port=port))

    restarter = threading.Thread(target=restart)
    restarter.start()
    try:
        report = run(given)
        restarter.join()
        assert report.by_state == {"finished": 4}
        for info in runs_by_seed(connection, sweep).values():
            assert info.state == "finished"
            assert len(fetch_history(connection, info)) == 10
    finally:
        servers[-1].close()


def own_terminal() -> None:
    """Make the terminal on stdin the one whose end means SIGHUP, as a login does."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Agent:
    """An agent in a process of its own, to be signalled."""

    def __init__(
        self,
        sweep: SweepRef,
        home: Path,
        *,
        workers: int = 2,
        count: str = "",
        terminal: int | None = None,
    ) -> None:
        self.home = home
        self.hung_up = threading.Event()
        self.errors = home.parent / "agent.err"
        self.errors.parent.mkdir(parents=True, exist_ok=True)
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    str(HERE / "stub_agent.py"),
                    sweep.path,
                    str(home),
                    str(workers),
                    count,
                ],
                stdout=subprocess.PIPE,
                stdin=terminal,
                stderr=errors if terminal is None else terminal,
                start_new_session=terminal is not None,
                preexec_fn=None if terminal is None else own_terminal,  # noqa: PLW1509 — one ioctl
            )

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def said(self, text: str) -> bool:
        return text in self.errors.read_text()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: self.said(text), 20, self.errors.read_text)

    def end(self) -> tuple[int, dict[str, Any]]:
        out, _ = self.process.communicate(timeout=40)
        wait_until(lambda: not processes_of(self.home), 1, lambda: str(processes_of(self.home)))
        return self.process.returncode, json.loads(out or b"{}")


@pytest.fixture
def start_agent(local_server: LocalServer, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Starts agents; afterwards none, and nothing below them, may be left."""
    agents: list[Agent] = []

    def start(sweep: SweepRef, folder: str = "project", **options: Any) -> Agent:
        agents.append(Agent(sweep, tmp_path / folder / ".fersweep", **options))
        return agents[-1]

    yield start
    for agent in agents:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.communicate()
        wait_until(
            lambda agent=agent: not processes_of(agent.home),  # type: ignore[misc]
            25,
            lambda agent=agent: f"left behind: {processes_of(agent.home)}",  # type: ignore[misc]
        )


def test_ctrl_c_once_finishes_the_trials_in_hand(
    connection: Connection, start_agent: Callable[..., Agent]
) -> None:
    sweep = make_sweep(connection, [1, 2, 3, 4], epochs=20)
    agent = start_agent(sweep)
    wait_until(lambda: states(connection, sweep).count("running") == 2, 20)
    agent.interrupt()
    agent.wait_for("finishing 2 running trials, taking no more")
    code, report = agent.end()

    assert code == ExitCode.DONE
    assert report["states"] == {"finished": 2}
    assert states(connection, sweep) == ["finished", "finished"]


def test_ctrl_c_twice_stops_the_trials_and_records_them(
    connection: Connection, start_agent: Callable[..., Agent]
) -> None:
    sweep = make_sweep(connection, [1, 2, 3], epochs=LONG)
    agent = start_agent(sweep)
    wait_until(lambda: states(connection, sweep).count("running") == 2, 20)
    agent.interrupt()
    agent.wait_for("taking no more")
    agent.interrupt()
    code, report = agent.end()

    assert code == 130
    assert report == {"states": {"killed": 2}, "causes": {"killed": 2}}
    runs = fetch_runs(connection, sweep=sweep)
    assert [run.state for run in runs] == ["killed", "killed"]
    assert all("stopped by the user (Ctrl-C)" in run.summary["failure/message"] for run in runs)


def test_ctrl_c_three_times_kills_workers_that_do_not_listen(
    connection: Connection, start_agent: Callable[..., Agent]
) -> None:
    sweep = make_sweep(connection, [1], epochs=LONG)
    agent = start_agent(sweep, workers=1)
    wait_until(lambda: states(connection, sweep) == ["running"], 20)
    for pid in worker_pids(agent.home):
        os.kill(pid, signal.SIGSTOP)
    for text in ("taking no more", "Stopping the trials now", "Killing the workers"):
        agent.interrupt()
        agent.wait_for(text)
    code, report = agent.end()

    assert code == 130
    assert report["states"] == {"killed": 1}
    (killed,) = fetch_runs(connection, sweep=sweep)
    assert killed.state == "killed"
    assert killed.summary["failure/message"] == "killed by the user (Ctrl-C)"


def test_a_closed_terminal_stops_the_trials_and_records_them(
    connection: Connection, start_agent: Callable[..., Agent]
) -> None:
    sweep = make_sweep(connection, [1, 2], epochs=LONG)
    ours, its = pty.openpty()
    agent = start_agent(sweep, workers=1, terminal=its)
    os.close(its)
    drain = threading.Thread(target=read_until, args=(ours, agent.hung_up))
    drain.start()
    wait_until(lambda: states(connection, sweep) == ["running"], 20)
    agent.hung_up.set()
    drain.join()
    os.close(ours)
    code, report = agent.end()

    assert code == 129
    assert report["states"] == {"killed": 1}
    (stopped,) = fetch_runs(connection, sweep=sweep)
    assert stopped.state == "killed"
    assert stopped.summary["failure/message"] == "stopped by the user (SIGHUP)"


def read_until(terminal: int, over: threading.Event) -> None:
    """Take what is written to a terminal, so that its writer does not wait."""
    while not over.is_set():
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 65536)


def test_sigterm_stops_the_trials(
    connection: Connection, start_agent: Callable[..., Agent]
) -> None:
    sweep = make_sweep(connection, [1, 2], epochs=LONG)
    agent = start_agent(sweep, workers=1)
    wait_until(lambda: states(connection, sweep) == ["running"], 20)
    agent.process.terminate()
    code, _ = agent.end()

    assert code == 143
    assert states(connection, sweep) == ["killed"]


def test_workers_do_not_outlive_a_killed_supervisor(
    connection: Connection, start_agent: Callable[..., Agent]
) -> None:
    sweep = make_sweep(connection, [1, 2, 3], epochs=LONG)
    agent = start_agent(sweep)
    wait_until(lambda: states(connection, sweep).count("running") == 2, 20)
    agent.process.kill()
    agent.process.communicate()
    wait_until(lambda: not processes_of(agent.home), 10, lambda: str(processes_of(agent.home)))
    assert states(connection, sweep) == ["killed", "killed"]


def test_two_agents_in_one_folder_share_a_sweep(
    connection: Connection, start_agent: Callable[..., Agent]
) -> None:
    sweep = make_sweep(connection, range(8))
    agents = [start_agent(sweep), start_agent(sweep)]
    ends = [agent.end() for agent in agents]

    assert [code for code, _ in ends] == [0, 0]
    assert sum(report["states"].get("finished", 0) for _, report in ends) == 8
    runs = runs_by_seed(connection, sweep)
    assert sorted(runs) == list(range(8))
    assert {info.state for info in runs.values()} == {"finished"}


def test_a_run_stopped_on_the_server_ends_as_killed_and_the_worker_goes_on(
    connection: Connection, start_agent: Callable[..., Agent]
) -> None:
    sweep = make_sweep(connection, [1, 2], epochs=LONG)
    agent = start_agent(sweep, workers=1)
    wait_until(lambda: states(connection, sweep) == ["running"], 20)
    stop_run(connection, sweep, fetch_runs(connection, sweep=sweep)[0].run_id)
    wait_until(lambda: states(connection, sweep) == ["killed", "running"], 20)
    stopped = fetch_runs(connection, sweep=sweep)[0]
    assert "failure/cause" not in stopped.summary
    agent.process.terminate()
    agent.end()


def stop_run(connection: Connection, sweep: SweepRef, run_id: str) -> None:
    query = (
        "query Run($p: String!, $e: String!, $r: String!) {"
        " project(name: $p, entityName: $e) { run(name: $r) { id } } }"
    )
    names = {"p": sweep.project, "e": sweep.entity, "r": run_id}
    run = connection.execute(query, names)["project"]["run"]
    mutation = "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"
    connection.execute(mutation, {"id": run["id"]})
