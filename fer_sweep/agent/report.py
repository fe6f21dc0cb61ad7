"""What an agent did, when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
        log: The worker's log, which has the whole traceback.
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
        signal: The signal that stopped the trials (2 for the second Ctrl-C), or None.
        gave_up: True when every slot gave up.
    """

    sweep: SweepRef
    trials: tuple[TrialRecord, ...]
    wall_s: float
    worker_s: float
    on_gpu: bool
    problems: tuple[str, ...] = ()
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
    def exit_code(self) -> int:
        """What the command ends with."""
        if self.signal is not None:
            return 128 + self.signal
        if self.gave_up:
            return ExitCode.TOOL_ERROR
        return ExitCode.TRIALS_FAILED if self.by_state["failed"] else ExitCode.DONE
