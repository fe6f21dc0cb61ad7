"""The supervisor: one worker process per slot, kept alive, counted, shown, and always cleaned up.

One thread decides. Reader threads and signal handlers only put what happened into its queue, so there are
no locks and no order of events to get wrong.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from fer_sweep.agent.board import Board
from fer_sweep.agent.display import Display
from fer_sweep.agent.fit import check_sweep
from fer_sweep.agent.machine import Machine, this_machine
from fer_sweep.agent.messages import Drain, Event, Ready, StopNow
from fer_sweep.agent.report import AgentReport, TrialRecord
from fer_sweep.agent.seat import SlotSeat, Tokens
from fer_sweep.agent.signals import caught_signals
from fer_sweep.agent.slots import SlotPlan, plan_slots
from fer_sweep.agent.sweep_watch import SweepWatch, open_cells
from fer_sweep.agent.view import View, make_view
from fer_sweep.agent.worker import WorkerOptions
from fer_sweep.errors import ExitCode, FersweepError
from fer_sweep.tracking import (
    Connection,
    SweepInfo,
    SweepRef,
    check_client,
    client_environment,
    fetch_sweep,
)

STOP_GRACE_S = 30.0
"""From "stop now" to SIGKILL: a batch of the largest network on a CPU, and closing the run."""

_TICK_S = 0.2
_NOTHING_TO_DO = "The sweep had no trial for this agent: others have taken or finished them all, or it was stopped."
_ENDED = ("FINISHED", "CANCELED")


class WorkersFailedError(FersweepError):
    """No worker could start; the text is what they said, once.

    Args:
        message: The workers' own error.
        exit_code: What the command ends with.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = ExitCode(exit_code)


@dataclass(frozen=True)
class AgentOptions:
    """What ``fersweep agent`` was asked to do.

    Attributes:
        connection: A checked connection; its server must outlive the agent.
        sweep: Whose trials to run.
        home: The project's ``.fersweep`` folder: logs, checkpoints, caches.
        data: As in ``load_faces``.
        drop_duplicates: Leave out training copies of validation and test images.
        gpus: As in ``plan_slots``.
        workers: As in ``plan_slots``.
        count: Run exactly this many trials, over all slots; None until the sweep is done.
        worker_command: How a worker is started; its arguments are appended.
        stop_grace_s: Seconds a worker may take to stop before it is killed.
        restart_after_s: Wait before a dead worker's first successor; doubles with each death in a row.
    """

    connection: Connection
    sweep: SweepRef
    home: Path
    data: str | None = None
    drop_duplicates: bool = False
    gpus: str | None = None
    workers: int | None = None
    count: int | None = None
    worker_command: Sequence[str] = field(default=(sys.executable, "-m", "fer_sweep.agent.worker"))
    stop_grace_s: float = STOP_GRACE_S
    restart_after_s: float = 1.0


class _Phase(IntEnum):
    """How far the agent is on its way out; each Ctrl-C goes one further."""

    WORK = 0
    DRAIN = 1
    STOP = 2
    KILL = 3


def run_agent(
    options: AgentOptions,
    *,
    view: View | None = None,
    machine: Machine | None = None,
    environ: Mapping[str, str] | None = None,
    read_data: Callable[[], int] | None = None,
) -> AgentReport:
    """Run trials of a sweep on every slot of this machine until it is done.

    Ctrl-C once lets the trials in hand finish, twice stops them, three times kills the workers; SIGTERM and
    SIGHUP act like the second. No process is left behind, whatever happens.

    Args:
        options: What to do.
        view: How to talk; by default what suits stderr.
        machine: Devices and cores; by default this machine's.
        environ: The environment of the workers; by default this process's.
        read_data: Called before the first worker starts, if there is anything to run; reads the data into
            the cache and returns the number of training images.

    Raises:
        ConfigError: If every trial would fail: the sweep is another program's, or asks for more images
            than there are.
        DeviceError: If a GPU that was asked for is not there.
        TrackingError: If the sweep cannot be read.
        WorkersFailedError: If no worker could start.
    """
    check_client()
    environ = os.environ if environ is None else environ
    info = fetch_sweep(options.connection, options.sweep)
    left = _trials_left(info, options.count)
    plan = plan_slots(
        gpus=options.gpus,
        workers=options.workers,
        machine=machine or this_machine(),
        environ=environ,
        at_most=left,
    )
    board = Board(
        [slot.label for slot in plan.slots], left, constant=_constant_parameters(info.config)
    )
    display = Display(board, view or make_view(sys.stderr))
    if info.state in _ENDED:
        display.say(f"sweep {options.sweep.path} is {info.state.lower()}: nothing to run.")
        return AgentReport(options.sweep, (), 0.0, 0.0, plan.on_gpu)
    images = read_data() if read_data else None
    for line in check_sweep(info.config, where=f"sweep {options.sweep.path}", train_images=images):
        display.say(f"warning: {line}")
    display.say(f"sweep {options.sweep.path} ({info.method}): {plan.note}.")
    return Supervisor(options, plan, display, environ).run()


def _trials_left(info: SweepInfo, count: int | None) -> int | None:
    known = [number for number in (open_cells(info), count) if number is not None]
    return min(known) if known else None


def _constant_parameters(config: Mapping[str, Any]) -> list[str]:
    parameters = config.get("parameters") or {}
    return [
        name
        for name, spec in parameters.items()
        if isinstance(spec, dict) and ("value" in spec or len(spec.get("values") or (1, 2)) == 1)
    ]


class Supervisor:
    """Runs the slots of one agent.

    Args:
        options: What to do.
        plan: The slots.
        display: How to talk; its board has one seat per slot.
        environ: The environment of the workers.
    """

    def __init__(
        self,
        options: AgentOptions,
        plan: SlotPlan,
        display: Display,
        environ: Mapping[str, str],
    ) -> None:
        self._options = options
        self._plan = plan
        self._display = display
        self._board = display.board
        self._watch = SweepWatch(options.connection, options.sweep)
        self._phase = _Phase.WORK
        self._signal: int | None = None
        self._kill_at: float | None = None
        self._told: set[str] = set()
        self._inbox: SimpleQueue[tuple[int, Event | int | None]] = SimpleQueue()
        self._signals: SimpleQueue[int] = SimpleQueue()
        tokens = Tokens(options.count)
        worker = WorkerOptions(options.sweep, options.home, options.data, options.drop_duplicates)
        base = client_environment(options.connection, options.home, environ)
        self._seats = [
            SlotSeat(
                slot=slot,
                command=[
                    *options.worker_command,
                    *replace(worker, device=slot.device).arguments(),
                ],
                env={**base, **slot.env},
                # Two agents may work in one folder.
                log=options.home / "logs" / f"{_file_name(slot.label)}-{os.getpid()}.log",
                connection=options.connection,
                sweep=options.sweep,
                tokens=tokens,
                restart_after_s=options.restart_after_s,
                report=partial(self._report, index),
            )
            for index, slot in enumerate(plan.slots)
        ]

    def run(self) -> AgentReport:
        """Start the workers and stay until the last one is gone."""
        begun = time.monotonic()
        self._options.home.mkdir(parents=True, exist_ok=True)
        with caught_signals(self._signals.put):
            self._display.open()
            self._watch.start()
            try:
                for seat in self._seats:
                    seat.start()
                while not all(seat.closed for seat in self._seats):
                    self._step()
            finally:
                for seat in self._seats:
                    seat.destroy()
                self._watch.finish()
                self._display.close()
        self._raise_if_none_started()
        trials = tuple(self._in_order())
        problems = tuple(seat.problem for seat in self._seats if seat.problem)
        idle = not trials and not problems and self._phase == _Phase.WORK
        return AgentReport(
            sweep=self._options.sweep,
            trials=trials,
            wall_s=time.monotonic() - begun,
            worker_s=sum(seat.worker_s for seat in self._seats),
            on_gpu=self._plan.on_gpu,
            problems=problems,
            note=_NOTHING_TO_DO if idle else "",
            signal=self._signal,
            gave_up=all(seat.problem for seat in self._seats),
        )

    def _report(self, index: int, happened: Event | int) -> None:
        """Called by reader threads: an event, or the return code of a worker that ended."""
        self._inbox.put((index, happened))

    def _step(self) -> None:
        try:
            index, happened = self._inbox.get(timeout=_TICK_S)
        except Empty:
            pass
        else:
            self._handle(index, happened)
        while not self._signals.empty():
            self._advance(self._signals.get())
        now = time.monotonic()
        for seat in self._seats:
            seat.restart_if_due(now)
        if self._kill_at is not None and now >= self._kill_at:
            self._enter(_Phase.KILL)
        if self._watch.open_cells is not None:
            self._board.limit_left(self._watch.open_cells)
        self._display.refresh()

    def _handle(self, index: int, happened: Event | int | None) -> None:
        seat = self._seats[index]
        if isinstance(happened, int):
            ended = seat.worker_ended(happened, stopping=self._phase >= _Phase.STOP)
            if ended is not None:
                self._display.lost(index, ended)
            self._board.seats[index].status = seat.status
            for line in seat.take_news():
                self._display.say(f"[{seat.slot.label}] {line}")
        elif happened is not None:
            if isinstance(happened, Ready):
                self._tell_notes(happened.notes)
            seat.worker_said(happened)
            self._display.event(index, happened)

    def _tell_notes(self, notes: Sequence[str]) -> None:
        """All workers read the same data: what there is to say about it is said once."""
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                self._display.say(f"data: {note}")

    def _advance(self, number: int) -> None:
        """One signal: Ctrl-C goes one phase further, SIGTERM and SIGHUP go to "stop now" at least."""
        if number == signal.SIGINT:
            target = _Phase(min(self._phase + 1, _Phase.KILL))
        else:
            target = max(self._phase, _Phase.STOP)
        if target >= _Phase.STOP and self._signal is None:
            self._signal = number
        self._enter(target)

    def _enter(self, phase: _Phase) -> None:
        if phase == self._phase:
            return
        self._phase = phase
        running = self._board.running
        match phase:
            case _Phase.DRAIN:
                self._display.say(
                    f"Ctrl-C: finishing {running} running trial{'' if running == 1 else 's'}, taking no more. "
                    "Ctrl-C again stops them now."
                )
                for seat in self._seats:
                    seat.leave(Drain())
            case _Phase.STOP:
                self._display.say("Stopping the trials now. Ctrl-C again kills the workers.")
                self._kill_at = time.monotonic() + self._options.stop_grace_s
                reason = f"stopped by the user ({_signal_name(self._signal)})"
                for seat in self._seats:
                    seat.leave(StopNow(reason))
            case _Phase.KILL:
                self._display.say("Killing the workers.")
                reason = self._why_killed()
                self._kill_at = None
                for seat in self._seats:
                    seat.kill(reason)
            case _Phase.WORK:
                pass

    def _why_killed(self) -> str:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            waited = f"{self._options.stop_grace_s:g} s"
            return f"killed: did not stop within {waited} of {_signal_name(self._signal)}"
        return "killed by the user (Ctrl-C)"

    def _raise_if_none_started(self) -> None:
        if any(seat.was_ready or seat.fatal is None for seat in self._seats):
            return
        fatal = [seat.fatal for seat in self._seats if seat.fatal]
        lines = list(dict.fromkeys(event.message for event in fatal))
        raise WorkersFailedError("\n".join(lines), fatal[0].exit_code)

    def _in_order(self) -> list[TrialRecord]:
        ended = [pair for seat in self._seats for pair in seat.trials]
        return [record for _, record in sorted(ended, key=lambda pair: pair[0])]


def _signal_name(number: int | None) -> str:
    if number is None or number == signal.SIGINT:
        return "Ctrl-C"
    return signal.Signals(number).name


def _file_name(label: str) -> str:
    return label.replace(" ", "-").replace("/", "-")
