"""One slot over the life of its workers: permits, restarts, and the record of a trial whose worker died."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fer_sweep.agent.messages import (
    METRIC,
    Drain,
    EpochDone,
    Event,
    Fatal,
    Free,
    Order,
    Ready,
    SweepDone,
    Take,
    TrialEnded,
    TrialStarted,
)
from fer_sweep.agent.report import TrialRecord
from fer_sweep.agent.slots import Slot
from fer_sweep.agent.worker_process import WorkerProcess, describe_exit
from fer_sweep.errors import ExitCode, TrackingError
from fer_sweep.tracking import EXIT_KILLED, Connection, SweepRef, record_failure

MAX_DEATHS = 5
_LONGEST_BACKOFF_S = 60.0


class Tokens:
    """Permits to start a trial, shared by all slots; None means as many as anybody likes."""

    def __init__(self, count: int | None) -> None:
        self._left = count

    def take(self) -> bool:
        """Take one, if there is one."""
        if self._left is None:
            return True
        if self._left == 0:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Return one that started no trial."""
        if self._left is not None:
            self._left += 1


class SlotSeat:
    """Keeps one slot staffed.

    Args:
        slot: The device.
        command: How to start its worker.
        env: The worker's environment.
        log: The worker's log.
        connection: For the record of trials whose worker died.
        sweep: The sweep.
        tokens: Permits.
        restart_after_s: Wait before a dead worker's first successor; doubles with each death in a row.
        report: Called from a thread with events, and with the return code of a worker that ended.

    Attributes:
        status: What the slot does while it trains nothing.
        problem: One line, when the slot gave up.
        fatal: The last worker's own last words, if it had any.
        was_ready: Whether any worker got as far as asking for trials.
        trials: Ended trials, each with its time.
        worker_s: Seconds that workers of this slot existed.
    """

    def __init__(
        self,
        *,
        slot: Slot,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        connection: Connection,
        sweep: SweepRef,
        tokens: Tokens,
        restart_after_s: float,
        report: Callable[[Event | int], None],
    ) -> None:
        self.slot = slot
        self.status = "starting"
        self.problem = ""
        self.fatal: Fatal | None = None
        self.was_ready = False
        self.trials: list[tuple[float, TrialRecord]] = []
        self.worker_s = 0.0
        self._command = command
        self._env = env
        self._log = log
        self._connection = connection
        self._sweep = sweep
        self._tokens = tokens
        self._restart_after_s = restart_after_s
        self._report = report
        self._process: WorkerProcess | None = None
        self._holds_token = False
        self._trial: TrialStarted | None = None
        self._trial_begun = 0.0
        self._best: float | None = None
        self._deaths = 0
        self._restart_at: float | None = None
        self._leaving = False
        self._killed_because = ""
        self._news: list[str] = []

    @property
    def closed(self) -> bool:
        """Whether no worker runs here, nor will."""
        return self._process is None and self._restart_at is None

    def start(self) -> None:
        """Start a worker."""
        self._restart_at = None
        self.fatal = None
        self.status = "starting"
        self._process = WorkerProcess(
            self._command, self._env, self._log, on_event=self._report, on_exit=self._report
        )

    def restart_if_due(self, now: float) -> None:
        """Start the next worker when its wait is over."""
        if self._restart_at is not None and now >= self._restart_at:
            self.start()

    def leave(self, order: Order) -> None:
        """Pass on that no more trials are wanted."""
        self._leaving = True
        self._restart_at = None
        if self._process is not None:
            self._process.send(order)

    def kill(self, reason: str) -> None:
        """SIGKILL the worker and all below it; its exit is reported as usual, for ``reason``."""
        self._leaving = True
        self._killed_because = reason
        self._restart_at = None
        if self._process is not None:
            self._process.kill()

    def destroy(self) -> None:
        """Leave nothing behind, whatever state things are in."""
        if self._process is not None:
            self._process.kill()
            self._process.join(timeout_s=10)

    def worker_said(self, event: Event) -> None:
        """Take in an event of this slot's worker."""
        match event:
            case Ready():
                self.was_ready = True
            case Free():
                self._answer_free()
            case TrialStarted():
                if self._trial is None:
                    self._holds_token = False
                    self._trial_begun = time.monotonic()
                    self._best = None
                self._trial = event
            case EpochDone(_, row):
                self._best = row.get(METRIC)
            case TrialEnded():
                self._deaths = 0
                self._close_trial(event)
            case SweepDone():
                self._return_token()
            case Fatal():
                self.fatal = event
            case _:
                pass

    def worker_ended(self, code: int, *, stopping: bool) -> TrialEnded | None:
        """Take in that the worker is gone, and record the trial it took along.

        Args:
            code: Its return code; negative for a signal.
            stopping: The user asked for the trials to be stopped.

        Returns:
            The end of the trial it had in hand, if it had one.
        """
        assert self._process is not None
        self.worker_s += time.monotonic() - self._process.started
        self._process = None
        self._return_token()
        lost = self._record_lost_trial(code, stopping) if self._trial else None
        if code in (ExitCode.DONE, ExitCode.WORKER_DRAINED) or self._leaving:
            self.status = "done"
        elif code == ExitCode.WORKER_MISCONFIGURED:
            self._give_up(self.fatal.message if self.fatal else f"worker {describe_exit(code)}")
        else:
            self._plan_restart(code)
        return lost

    def take_news(self) -> list[str]:
        """What the user should be told about this slot; each line once."""
        news, self._news = self._news, []
        return news

    def _answer_free(self) -> None:
        assert self._process is not None
        self._holds_token = not self._leaving and self._tokens.take()
        self._process.send(Take() if self._holds_token else Drain())

    def _return_token(self) -> None:
        if self._holds_token:
            self._holds_token = False
            self._tokens.give_back()

    def _plan_restart(self, code: int) -> None:
        self._deaths += 1
        why = self.fatal.message if self.fatal else f"worker {describe_exit(code)}"
        if self._deaths >= MAX_DEATHS:
            self._give_up(
                f"{why}; {MAX_DEATHS} workers in a row died without finishing a trial, so this slot stops. "
                f"Their log: {self._log}"
            )
            return
        doubled_s = self._restart_after_s * 2 ** (self._deaths - 1)
        wait_s = min(doubled_s, _LONGEST_BACKOFF_S) * random.uniform(0.9, 1.1)
        self._restart_at = time.monotonic() + wait_s
        self.status = f"restarting after: {why}"
        self._news.append(f"{why}; a new one starts in {wait_s:.0f} s. Log: {self._log}")

    def _give_up(self, why: str) -> None:
        self.status = "gave up"
        self.problem = f"{self.slot.label}: {why}"
        # Before the first worker was ready the command itself ends with this message.
        if self.was_ready:
            self._news.append(why)

    def _record_lost_trial(self, code: int, stopping: bool) -> TrialEnded:
        assert self._trial is not None
        run_id = self._trial.run_id
        message = self._killed_because or self._last_words(code)
        ended = TrialEnded(
            run_id,
            self._trial.name or run_id,
            "killed" if stopping else "failed",
            time.monotonic() - self._trial_begun,
            self._best,
            cause="killed",
            message=message,
        )
        failure = {"failure/cause": "killed", "failure/message": message}
        exit_code = EXIT_KILLED if stopping else 128 - code if code < 0 else max(code, 1)
        try:
            record_failure(
                self._connection, self._sweep, run_id, exit_code=exit_code, failure=failure
            )
        except TrackingError as error:
            self._news.append(f"run {run_id} could not be closed as {ended.state}: {error}")
        self._close_trial(ended)
        return ended

    def _last_words(self, code: int) -> str:
        if self.fatal:
            return self.fatal.message
        return f"its worker {'was ' if code < 0 else ''}{describe_exit(code)}"

    def _close_trial(self, ended: TrialEnded) -> None:
        trial, self._trial = self._trial, None
        record = TrialRecord(
            run_id=ended.run_id,
            name=ended.name,
            slot=self.slot.label,
            state=ended.state,
            seconds=ended.seconds,
            parameters=trial.parameters if trial else {},
            best=ended.best,
            cause=ended.cause,
            message=ended.message,
            log=self._log,
        )
        self.trials.append((time.monotonic(), record))
