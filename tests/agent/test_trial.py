"""How one trial's run is closed, around a run and a trainer that do as they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_sweep.agent.messages import Cause
from fer_sweep.agent.trial import StopSwitch, run_trial
from fer_sweep.errors import FersweepError
from fer_sweep.train_config import TrainConfig

SIZES = {"n_train": 64, "n_val": 32}


@dataclass
class Notebook:
    """A run on paper."""

    run_id: str = "a"
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    def log(self, row: Mapping[str, Any]) -> None:
        self.summary.update(row)

    def summarise(self, values: Mapping[str, Any]) -> None:
        self.summary.update(values)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


@dataclass
class Result:
    summary: Mapping[str, Any]
    stopped: bool


@dataclass
class Trainer:
    """Says what it is about to train, then fails or stops."""

    error: Exception | None = None
    device: str = "none"
    notes: tuple[str, ...] = ()

    def train(
        self,
        config: TrainConfig,
        log: Callable[[dict[str, float]], None],
        should_stop: Callable[[], bool],
        *,
        checkpoint: Path | None,
        on_batch: Callable[[int, int], None] | None,
        describe: Callable[[dict[str, Any]], None] | None,
    ) -> Result:
        del config, log, checkpoint, on_batch
        assert describe is not None
        describe(dict(SIZES))
        if self.error:
            raise self.error
        return Result({}, stopped=should_stop())

    def cause(self, error: BaseException) -> Cause:
        del error
        return "exception"

    def free_memory(self) -> None:
        pass


def test_a_failed_trial_has_its_sizes_on_record() -> None:
    run = Notebook()
    outcome = run_trial(run, Trainer(ValueError("boom")), {}, StopSwitch())
    assert run.exit_code == outcome.exit_code == 1
    assert run.summary["failure/message"] == "ValueError: boom"
    assert run.summary.items() >= SIZES.items()


def test_our_own_errors_are_told_without_their_class() -> None:
    class DiskError(FersweepError):
        pass

    outcome = run_trial(Notebook(), Trainer(DiskError("disk: full. Free 1 GB.")), {}, StopSwitch())
    assert outcome.message == "disk: full. Free 1 GB."


def test_a_trial_that_the_sweep_stopped_is_no_failure() -> None:
    run, stop = Notebook(), StopSwitch()
    stop.request("SIGTERM", recorded=lambda: False)
    assert run_trial(run, Trainer(), {}, stop).state == "killed"
    assert run.exit_code == 255
    assert "failure/cause" not in run.summary


def test_a_trial_that_a_signal_stopped_says_so() -> None:
    run, stop = Notebook(), StopSwitch()
    stop.request("SIGTERM", recorded=lambda: True)
    assert run_trial(run, Trainer(), {}, stop).cause == "killed"
    assert run.summary["failure/message"] == "SIGTERM"
