"""One trial in this process, for a plain ``wandb agent``: what ``agents/train.py`` starts."""

from __future__ import annotations

import logging
import signal
import sys

from fer_sweep.agent.trainer import DataSource, TorchTrainer, Trainer, TrainerLoader
from fer_sweep.agent.trial import Run, StopSwitch, run_trial
from fer_sweep.errors import FersweepError, TrackingError
from fer_sweep.settings import Settings, load_settings
from fer_sweep.tracking import TrialRun, join_run

_logger = logging.getLogger(__name__)


def main(*, load: TrainerLoader = TorchTrainer) -> int:
    """Train the trial that ``wandb agent`` prepared in the environment.

    Data comes from FERSWEEP_DATA or ``fersweep.toml``, the parameters from the run.

    Args:
        load: Makes the trainer.

    Returns:
        The process's exit code: 0 finished, 1 failed, 255 stopped, 2 for unusable data or settings.
    """
    logging.basicConfig(stream=sys.stderr, format="fersweep: %(message)s")
    stop = StopSwitch()

    def stop_by(number: int, _frame: object) -> None:
        # Asked for when the trial stands still, so the run is open by then.
        stop.request(signal.Signals(number).name, recorded=lambda: not _sweep_stopped(run))

    signal.signal(signal.SIGTERM, stop_by)
    try:
        settings = load_settings(local=True)  # the server is the wandb client's business here
        run = join_run()
        trainer = _load_or_record(load, settings, run)
        checkpoint = settings.home / "checkpoints" / f"{run.run_id}.pt"
        outcome = run_trial(run, trainer, run.config, stop, checkpoint=checkpoint)
    except FersweepError as error:
        sys.stderr.write(f"fersweep: error: {error}\n")
        return int(error.exit_code)
    return outcome.exit_code


def _load_or_record(load: TrainerLoader, settings: Settings, run: Run) -> Trainer:
    """Load the data; the run says why when that fails, as whoever reads it does not see this terminal."""
    try:
        return load(DataSource(settings.data, settings.home / "cache"))
    except FersweepError as error:
        run.summarise({"failure/cause": "exception", "failure/message": str(error)})
        run.finish(1)
        raise


def _sweep_stopped(run: TrialRun) -> bool:
    """Whether a SIGTERM carried out the sweep's own decision: ``wandb agent`` passes that on as one.

    A server that does not answer leaves the signal as all that is known, and a trial that a cluster
    killed must not pass for one that the sweep was done with.
    """
    try:
        return run.is_asked_to_stop()
    except TrackingError as error:
        _logger.warning("cannot tell whether the sweep stopped this trial: %s", error)
        return False
