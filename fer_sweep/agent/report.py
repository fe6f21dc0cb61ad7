"""What an agent did, when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fer_sweep.agent.durations import format_seconds
from fer_sweep.agent.messages import Cause, TrialState
from fer_sweep.errors import ExitCode
from fer_sweep.tracking import SweepRef


@dataclass(frozen=True)
class TrialRecord:
    """One trial that this agent ran.

    Attributes:
        run_id: The run.
        name: Its display name.
        slot: The label of the slot it ran on.
        state: finished, failed or killed.
        seconds: From being handed out to being closed.
        parameters: What the sweep chose.
        best: Best validation accuracy, in [0, 1]; None when no epoch was finished.
        cause: Why it failed; None for finished trials and those that the sweep stopped.
        message: One line about the failure.
        log: The worker's log, which has the whole traceback where there was one.
    """

    run_id: str
    name: str
    slot: str
    state: TrialState
    seconds: float
    parameters: Mapping[str, Any]
    best: float | None
    cause: Cause | None
    message: str
    log: Path


@dataclass(frozen=True)
class AgentReport:
    """The outcome of one ``fersweep agent``.

    Attributes:
        sweep: Whose trials they were.
        trials: In the order they ended.
        wall_s: Seconds from start to end.
        worker_s: Seconds that workers existed, summed over slots: GPU seconds where a slot is a GPU.
        on_gpu: Whether the slots were GPUs.
        problems: Lines about slots that gave up.
        note: Why there was nothing to do, when there was not; else empty.
        signal: The signal that stopped the trials (2 for the second Ctrl-C), or None.
        gave_up: True when every slot gave up.
    """

    sweep: SweepRef
    trials: tuple[TrialRecord, ...]
    wall_s: float
    worker_s: float
    on_gpu: bool
    problems: tuple[str, ...] = ()
    note: str = ""
    signal: int | None = None
    gave_up: bool = False
    by_state: Counter[str] = field(init=False)
    by_cause: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        states = Counter[str](trial.state for trial in self.trials)
        causes = Counter[str](trial.cause for trial in self.trials if trial.cause)
        object.__setattr__(self, "by_state", states)
        object.__setattr__(self, "by_cause", causes)

    @property
    def failed(self) -> list[TrialRecord]:
        """Trials that failed, and those that were killed by a user or a signal."""
        return [trial for trial in self.trials if trial.state == "failed" or trial.cause]

    @property
    def lines(self) -> list[str]:
        """The summary for people: totals, then what failed and why, then where to read on."""
        done = ", ".join(f"{number} {state}" for state, number in sorted(self.by_state.items()))
        unit = "GPU time" if self.on_gpu else "worker time"
        lines = [
            f"{self.sweep.path}: {done or 'no trials'} in {format_seconds(self.wall_s)} "
            f"({format_seconds(self.worker_s)} of {unit})."
        ]
        lines += [
            f"  {trial.name} {trial.state} ({trial.cause}): {_first_line(trial)}"
            for trial in self.failed[:10]
        ]
        if len(self.failed) > 10:
            lines.append(f"  and {len(self.failed) - 10} more.")
        # What a user or a signal stopped left nothing to read.
        logs = sorted({str(trial.log) for trial in self.failed if trial.state == "failed"})
        if logs:
            lines.append(f"  More in {', '.join(logs)}")
        return [*lines, *([f"  {self.note}"] if self.note else []), *self.problems]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``; every number in the unit its name says."""
        return {
            "sweep": self.sweep.path,
            "by_state": dict(self.by_state),
            "by_cause": dict(self.by_cause),
            "wall_s": self.wall_s,
            "worker_s": self.worker_s,
            "on_gpu": self.on_gpu,
            "problems": list(self.problems),
            "note": self.note,
            "signal": self.signal,
            "exit_code": self.exit_code,
            "trials": [{**asdict(trial), "log": str(trial.log)} for trial in self.trials],
        }

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        if self.signal is not None:
            return 128 + self.signal
        if self.gave_up:
            return ExitCode.TOOL_ERROR
        return ExitCode.TRIALS_FAILED if self.by_state["failed"] else ExitCode.DONE


def _first_line(trial: TrialRecord) -> str:
    return trial.message.splitlines()[0] if trial.message else ""
