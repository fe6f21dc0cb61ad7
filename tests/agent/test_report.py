"""What the agent says when it is over."""

from __future__ import annotations

from pathlib import Path

from fer_sweep.agent.messages import TrialState
from fer_sweep.agent.report import AgentReport, TrialRecord
from fer_sweep.errors import ExitCode
from fer_sweep.tracking import SweepRef


def record(state: TrialState, message: str) -> TrialRecord:
    log = Path("logs/cpu-0-1.log")
    return TrialRecord("a", "trial-a", "cpu 0", state, 3.0, {}, None, "killed", message, log)


def report(*trials: TrialRecord) -> AgentReport:
    return AgentReport(SweepRef("me", "fer", "ab12"), trials, 3.0, 3.0, on_gpu=False)


def test_a_failure_names_the_log_to_read() -> None:
    lines = report(record("failed", "its worker exited with code 5")).lines
    assert lines[1:] == [
        "  trial-a failed (killed): its worker exited with code 5",
        "  More in logs/cpu-0-1.log",
    ]


def test_a_trial_that_the_user_stopped_has_nothing_to_read() -> None:
    stopped = report(record("killed", "stopped by the user (Ctrl-C)"))
    assert stopped.lines[1:] == ["  trial-a killed (killed): stopped by the user (Ctrl-C)"]
    assert stopped.exit_code == ExitCode.DONE
