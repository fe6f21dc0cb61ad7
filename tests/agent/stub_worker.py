"""A real worker around a stub trainer, started by the agent tests as a process of its own.

What the stub does is chosen by the trial's seed, so that a sweep can hold good and bad trials.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_sweep.agent.messages import Cause
from fer_sweep.agent.trainer import DataSource
from fer_sweep.agent.worker import main
from fer_sweep.errors import DataError, DeviceError
from fer_sweep.train_config import TrainConfig

RAISES, EXITS, DIVERGES, DIES, PRINTS, BREAKS = 13, 14, 15, 16, 17, 18
BATCHES = 5


class NonFiniteStubError(Exception):
    """Stands for a diverged loss."""


@dataclass
class StubResult:
    stopped: bool
    summary: dict[str, Any] = field(default_factory=lambda: {"params": 7})


class StubTrainer:
    """Takes 0.02 s per batch and gets better every epoch."""

    device = "stub"
    notes = ("the stub's data has a note",)

    def __init__(self, source: DataSource) -> None:
        if source.data == "missing.csv":
            raise DataError("missing.csv: no such file. Give --data PATH.")
        if source.data == "strange.csv":
            raise ImportError("libstrange.so: cannot open\n(a second line)")
        self._broken = False

    def train(
        self,
        config: TrainConfig,
        log: Callable[[dict[str, float]], None],
        should_stop: Callable[[], bool],
        *,
        checkpoint: Path | None,
        on_batch: Callable[[int, int], None] | None,
        describe: Callable[[dict[str, Any]], None] | None,
    ) -> StubResult:
        del checkpoint
        if describe:
            describe({"n_train": 64})
        for epoch in range(1, config.epochs + 1):
            for batch in range(BATCHES):
                time.sleep(0.02)
                if should_stop():
                    return StubResult(stopped=True)
                if on_batch:
                    on_batch(batch + 1, BATCHES)
            self._broken = config.seed == BREAKS
            misbehave(config.seed)
            accuracy = 1 - 1 / (epoch + 1)
            log({"epoch": epoch, "val/accuracy": accuracy, "best/val_accuracy": accuracy})
        return StubResult(stopped=False)

    def cause(self, error: BaseException) -> Cause:
        return "non-finite" if isinstance(error, NonFiniteStubError) else "exception"

    def free_memory(self) -> None:
        if self._broken:
            raise DeviceError("the stub's device takes no more work from this process.")


def misbehave(seed: int) -> None:
    if seed in (RAISES, BREAKS):
        raise ValueError("the stub was told to fail")
    if seed == EXITS:
        sys.exit("bye")
    if seed == DIVERGES:
        raise NonFiniteStubError("loss is nan at epoch 1. Lower learning_rate.")
    if seed == DIES:
        os._exit(5)
    if seed == PRINTS:
        print("a stray print")
        os.write(1, b"native noise\n")


if __name__ == "__main__":
    sys.exit(main(load=StubTrainer))
