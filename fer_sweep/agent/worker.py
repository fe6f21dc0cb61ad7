"""The worker: one warm process on one slot, trial after trial. ``python -m fer_sweep.agent.worker``.

Everything slow (torch, the wandb client, the data) is loaded once. The worker asks its supervisor for
permission before each trial, so that a count over all slots is exact, and the server for the trial itself.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from fer_sweep.agent.channel import Channel
from fer_sweep.agent.messages import (
    Drain,
    EpochDone,
    Fatal,
    Free,
    Order,
    Progress,
    Ready,
    StopNow,
    SweepDone,
    Take,
    TrialEnded,
    TrialStarted,
    Waiting,
)
from fer_sweep.agent.trainer import DataSource, TorchTrainer, Trainer, TrainerLoader
from fer_sweep.agent.trial import StopSwitch, TrialOutcome, run_trial
from fer_sweep.errors import ExitCode, FersweepError, TrackingError
from fer_sweep.tracking import (
    HEARTBEAT_S,
    AgentSession,
    Command,
    Connection,
    SweepGoneError,
    SweepRef,
    parse_sweep_ref,
    start_run,
)
from fer_sweep.train_config import TrainConfig

if TYPE_CHECKING:
    from fer_sweep.train.device import DeviceKind

IDLE_POLL_S = 1.0
ORPHAN_GRACE_S = 15.0
"""A worker whose supervisor died may lose its server with it (local mode): it closes its run if it can, but
does not wait for a server that is not coming back."""

_PROGRESS_EVERY_S = 0.25

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is started with; the server and its key come by environment.

    Attributes:
        sweep: Whose trials to take.
        home: The project's ``.fersweep`` folder.
        data: As in ``load_faces``; None when nothing was configured.
        drop_duplicates: Leave out training copies of validation and test images.
        device: What its slot was planned on; it trains on nothing else.
    """

    sweep: SweepRef
    home: Path
    data: str | None = None
    drop_duplicates: bool = False
    device: DeviceKind = "cpu"

    @property
    def source(self) -> DataSource:
        """The data, cached in the project's folder."""
        return DataSource(self.data, self.home / "cache", self.drop_duplicates, self.device)

    def arguments(self) -> list[str]:
        """The command line that ``parse`` reads back."""
        data = [] if self.data is None else ["--data", self.data]
        flags = ["--drop-duplicates"] if self.drop_duplicates else []
        always = ["--sweep", self.sweep.path, "--home", str(self.home), "--device", self.device]
        return [*always, *data, *flags]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> WorkerOptions:
        """Read ``arguments()``."""
        parser = argparse.ArgumentParser(prog="fer_sweep.agent.worker", description=__doc__)
        parser.add_argument("--sweep", required=True, help="entity/project/id")
        parser.add_argument("--home", required=True, type=Path)
        parser.add_argument("--device", required=True, choices=("cuda", "cpu"))
        parser.add_argument("--data")
        parser.add_argument("--drop-duplicates", action="store_true")
        given = parser.parse_args(arguments)
        sweep = parse_sweep_ref(given.sweep, entity="", project="")
        return cls(sweep, given.home, given.data, given.drop_duplicates, given.device)


class Worker:
    """Takes trials until the sweep, the supervisor or a signal says otherwise."""

    def __init__(self, options: WorkerOptions, channel: Channel, load: TrainerLoader) -> None:
        self._options = options
        self._channel = channel
        self._load = load
        self._permits: SimpleQueue[bool] = SimpleQueue()
        self._leaving = threading.Event()
        self._loaded = False
        self._stop_all: str | None = None
        self._stop = StopSwitch()
        self._handed_out: deque[Command] = deque()
        self._connection = Connection(
            os.environ["WANDB_BASE_URL"],
            os.environ["WANDB_API_KEY"],
            options.sweep.entity,
            options.sweep.project,
        )

    def run(self) -> int:
        """Work; the process's exit code is returned."""
        started = time.monotonic()
        self._channel.listen(self._obey)
        try:
            trainer = self._load(self._options.source)
            session = AgentSession(self._connection, self._options.sweep, pause=self._leaving.wait)
        except FersweepError as error:
            return self._give_up(error, ExitCode.WORKER_MISCONFIGURED)
        except Exception as error:  # whatever it is, the next worker would meet it too
            _logger.exception("cannot start")
            said = FersweepError(_first_line(error))
            return self._give_up(said, ExitCode.WORKER_MISCONFIGURED)
        self._loaded = True
        self._channel.send(Ready(trainer.device, time.monotonic() - started, list(trainer.notes)))
        try:
            self._take_trials(trainer, session)
        except FersweepError as error:
            if not self._leaving.is_set():
                return self._give_up(error, ExitCode.TOOL_ERROR)
        return ExitCode.DONE

    def _give_up(self, error: FersweepError, code: ExitCode) -> int:
        _logger.error("%s", error)
        self._channel.send(Fatal(str(error), int(error.exit_code)))
        return code

    def _take_trials(self, trainer: Trainer, session: AgentSession) -> None:
        while not self._leaving.is_set():
            self._channel.send(Free())
            if not self._permits.get():
                return
            command = self._next_trial(session)
            if command is None:
                return
            self._run_command(command, trainer, session)

    def _next_trial(self, session: AgentSession) -> Command | None:
        """Ask until the server hands out a trial; None when it has no more, or we are leaving."""
        told = False
        while not self._leaving.is_set():
            command = self._handed_out.popleft() if self._handed_out else self._ask(session)
            if command is not None and command.type in ("run", "resume"):
                return command
            if command is not None and command.type == "exit":
                self._channel.send(SweepDone())
                return None
            if not told:
                self._channel.send(Waiting())
                told = True
            self._leaving.wait(IDLE_POLL_S)
        return None

    def _ask(self, session: AgentSession) -> Command | None:
        try:
            return session.heartbeat(())
        except SweepGoneError:
            return Command("exit")

    def _run_command(self, command: Command, trainer: Trainer, session: AgentSession) -> None:
        begun = time.monotonic()
        run_id = command.run_id
        # Announced before anything can go wrong: if the process dies now, the supervisor knows the run.
        self._channel.send(TrialStarted(run_id, parameters=command.parameters))
        self._stop = StopSwitch()
        if self._stop_all:
            self._stop.request(self._stop_all, recorded=True)
        beats = _Heartbeats(session, run_id, self._stop, self._handed_out, self._leaving)
        beats.start()
        try:
            name, outcome = self._train(command, trainer)
        finally:
            beats.finish()
        self._channel.send(
            TrialEnded(
                run_id,
                name,
                outcome.state,
                time.monotonic() - begun,
                outcome.best,
                outcome.cause,
                outcome.message,
            )
        )
        # Only now that the trial is closed and told: if the device is lost, this worker goes with it.
        if outcome.cause in ("exception", "out-of-memory"):
            trainer.free_memory()

    def _train(self, command: Command, trainer: Trainer) -> tuple[str, TrialOutcome]:
        run_id, stop = command.run_id, self._stop
        _logger.info("trial %s: %s", run_id, command.parameters)
        run = start_run(
            self._connection,
            self._options.sweep,
            run_id,
            command.parameters,
            folder=self._options.home,
            resume=command.type == "resume",
            on_stop=lambda: stop.request("stopped on its page", recorded=False),
        )
        epochs = command.parameters.get("epochs", TrainConfig.model_fields["epochs"].default)
        self._channel.send(TrialStarted(run_id, run.name, command.parameters, epochs))
        checkpoints = self._options.home / "checkpoints" / self._options.sweep.sweep_id
        outcome = run_trial(
            run,
            trainer,
            command.parameters,
            stop,
            checkpoint=checkpoints / f"{run_id}.pt",
            on_row=lambda row: self._channel.send(EpochDone(run_id, row)),
            on_batch=_Throttle(self._channel, run_id),
        )
        _logger.info("trial %s: %s %s", run_id, outcome.state, outcome.message)
        return run.name, outcome

    def _obey(self, order: Order | None) -> None:
        match order:
            case Take():
                self._permits.put(True)
                return
            case Drain():
                pass
            case StopNow(reason):
                self._stop_trial(reason)
            case None:
                self._stop_trial("its supervisor died")
                _exit_after(ORPHAN_GRACE_S)
        if not self._loaded:
            os._exit(
                ExitCode.DONE
            )  # nobody waits for seconds of imports to be told that it was for nothing
        self._leaving.set()
        self._permits.put(False)

    def _stop_trial(self, reason: str) -> None:
        # In this order: a trial that starts in between sees either the old switch pulled or this text.
        self._stop_all = reason
        self._stop.request(reason, recorded=True)


class _Heartbeats(threading.Thread):
    """Reports one running trial and passes on what the server says about it."""

    def __init__(
        self,
        session: AgentSession,
        run_id: str,
        stop: StopSwitch,
        handed_out: deque[Command],
        leaving: threading.Event,
    ) -> None:
        super().__init__(name=f"heartbeat-{run_id}", daemon=True)
        self._session = session
        self._run_id = run_id
        self._stop_trial = stop
        self._handed_out = handed_out
        self._leaving = leaving
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(HEARTBEAT_S):
            running = [self._run_id, *(command.run_id for command in self._handed_out)]
            try:
                command = self._session.heartbeat(running)
            except SweepGoneError:
                return  # deleted: the trial may finish, and the next question is answered by the same error
            except TrackingError as error:
                _logger.warning("heartbeat: %s", error)
                continue
            if command is not None and not self._over.is_set():
                self._act(command)

    def finish(self) -> None:
        """End with the trial, but do not wait for a server that hangs."""
        self._over.set()
        self.join(timeout=1.0)

    def _act(self, command: Command) -> None:
        match command.type:
            case "stop" if command.run_id == self._run_id:
                self._stop_trial.request("stopped by the sweep", recorded=False)
            case "stop":
                pass
            case "exit":
                self._stop_trial.request("the sweep was cancelled", recorded=False)
            case "run" | "resume":
                # W&B may hand out the next trial before this one ends: keep it, and report it as ours.
                known = {self._run_id, *(other.run_id for other in self._handed_out)}
                if command.run_id not in known:
                    self._handed_out.append(command)


class _Throttle:
    """Batches done, a few times per second."""

    def __init__(self, channel: Channel, run_id: str) -> None:
        self._channel = channel
        self._run_id = run_id
        self._next = 0.0

    def __call__(self, batch: int, batches: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_EVERY_S
            self._channel.send(Progress(self._run_id, batch, batches))


def _first_line(error: Exception) -> str:
    """What an error of somebody else's says, with its type; the log has the rest."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}".rstrip(": ")


def _exit_after(seconds: float) -> None:
    """End the process even if a native call or a lost server holds the main thread."""
    timer = threading.Timer(seconds, os._exit, [int(ExitCode.TOOL_ERROR)])
    timer.daemon = True
    timer.start()


def main(arguments: Sequence[str] | None = None, *, load: TrainerLoader = TorchTrainer) -> int:
    """Run one worker.

    Args:
        arguments: ``WorkerOptions.arguments()``; the process's own by default.
        load: Makes the trainer.
    """
    channel = Channel()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line per heartbeat says nothing
    options = WorkerOptions.parse(sys.argv[1:] if arguments is None else arguments)
    # A terminal's Ctrl-C is the supervisor's business; a direct SIGTERM means this worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: channel.deliver(StopNow("SIGTERM")))
    return Worker(options, channel, load).run()


if __name__ == "__main__":
    sys.exit(main())
