"""One trial, from its parameters to its closed run: shared by our worker and by a plain ``wandb agent``."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fer_sweep.agent.messages import METRIC, Cause, TrialState
from fer_sweep.agent.trainer import Trainer
from fer_sweep.errors import FersweepError, TrackingError
from fer_sweep.tracking import EXIT_KILLED
from fer_sweep.train_config import TrainConfig

TRACEBACK_LINES = 40

_logger = logging.getLogger(__name__)


class StopSwitch:
    """Asks the trial in hand to stop at its next batch; read every batch, so it is one attribute.

    Attributes:
        reason: Why, for the run's record; None until asked.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._recorded: bool | Callable[[], bool] = False

    def request(self, reason: str, *, recorded: bool | Callable[[], bool]) -> None:
        """Ask for the stop; the first reason stays.

        Args:
            reason: Why.
            recorded: Whether the stop counts as a failure to be retried (the user or a signal stopped it)
                rather than as the sweep's own decision; a callable is asked once training stands still.
        """
        if self.reason is None:
            self._recorded = recorded
            self.reason = reason

    def is_recorded(self) -> bool:
        """Whether the stop counts as a failure; may ask the server."""
        return self._recorded() if callable(self._recorded) else self._recorded

    def is_set(self) -> bool:
        """Whether the trial should stop."""
        return self.reason is not None


class Run(Protocol):
    """The open run of a trial; ``tracking.TrialRun`` is one."""

    @property
    def run_id(self) -> str:
        """Its id."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Log one epoch."""

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Set summary values."""

    def finish(self, exit_code: int) -> None:
        """Close it."""


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended.

    Attributes:
        state: The state its run got.
        exit_code: What the run was closed with.
        best: Best validation accuracy, in [0, 1]; None when no epoch was finished.
        cause: Why it failed; None for a trial that finished or that the sweep stopped.
        message: One line about the failure.
    """

    state: TrialState
    exit_code: int
    best: float | None = None
    cause: Cause | None = None
    message: str = ""


def run_trial(
    run: Run,
    trainer: Trainer,
    parameters: Mapping[str, Any],
    stop: StopSwitch,
    *,
    checkpoint: Path | None = None,
    on_row: Callable[[dict[str, float]], None] | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> TrialOutcome:
    """Train, log every epoch, and close the run with the truth about how it went.

    Whatever the trial raises, ``sys.exit`` included, ends only this trial.

    Args:
        run: An open run.
        trainer: With its data loaded.
        parameters: What the sweep chose.
        stop: Polled at every batch.
        checkpoint: Where the best epoch's weights go.
        on_row: Sees each row after it was logged.
        on_batch: Sees (batches done, batches per epoch).

    Raises:
        TrackingError: If the run cannot be recorded any more; the caller's process is of no use then.
    """
    last: dict[str, float] = {}

    def log(row: dict[str, float]) -> None:
        run.log(row)
        last.update(row)
        if on_row:
            on_row(row)

    try:
        config = TrainConfig.from_parameters(parameters, where=f"run {run.run_id}")
        result = trainer.train(
            config,
            log,
            stop.is_set,
            checkpoint=checkpoint,
            on_batch=on_batch,
            describe=run.summarise,
        )
    except TrackingError:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - a trial may raise anything
        outcome = _failed(error, trainer.cause(error), _best(last))
        record = _failure_record(outcome, _traceback_tail(error))
        run.summarise({**_summary_so_far(error), **record})
    else:
        run.summarise(result.summary)
        outcome = _stopped(stop, _best(last)) if result.stopped else _finished(last)
        if outcome.cause:
            run.summarise(_failure_record(outcome, ""))
    run.finish(outcome.exit_code)
    return outcome


def _finished(last: Mapping[str, float]) -> TrialOutcome:
    return TrialOutcome("finished", 0, _best(last))


def _stopped(stop: StopSwitch, best: float | None) -> TrialOutcome:
    cause: Cause | None = "killed" if stop.is_recorded() else None
    return TrialOutcome("killed", EXIT_KILLED, best, cause, stop.reason or "")


def _failed(error: BaseException, cause: Cause, best: float | None) -> TrialOutcome:
    if isinstance(error, SystemExit):
        message = f"the trial called sys.exit({error.code!r})"
    else:
        # Our own errors are sentences already; of others the type says what the text often does not.
        text = str(error).strip()
        ours = isinstance(error, FersweepError) or cause == "non-finite"
        message = text if ours else f"{type(error).__name__}: {text}".rstrip(": ")
    return TrialOutcome("failed", 1, best, cause, message)


def _failure_record(outcome: TrialOutcome, trace: str) -> dict[str, str]:
    record = {"failure/cause": outcome.cause or "", "failure/message": outcome.message}
    return {**record, "failure/traceback": trace} if trace else record


def _summary_so_far(error: BaseException) -> Mapping[str, Any]:
    """What the trial had reached: a diverged one's error carries it."""
    summary = getattr(error, "summary", None)
    return summary if isinstance(summary, Mapping) else {}


def _traceback_tail(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    _logger.error("trial failed\n%s", text)
    # The frames hold the trial's tensors: without this an out-of-memory error keeps the memory it lacked.
    traceback.clear_frames(error.__traceback__)
    return "\n".join(text.rstrip().splitlines()[-TRACEBACK_LINES:])


def _best(row: Mapping[str, float]) -> float | None:
    value = row.get(METRIC)
    return value if value is not None and math.isfinite(value) else None
