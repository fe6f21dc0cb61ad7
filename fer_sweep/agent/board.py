"""The state of all slots and trials as the views show it; fed with events, knows no terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from fer_sweep.agent.messages import (
    EpochDone,
    Event,
    Fatal,
    Free,
    Progress,
    Ready,
    SweepDone,
    TrialEnded,
    TrialStarted,
    Waiting,
)


@dataclass
class Seat:
    """One slot on the board.

    Attributes:
        label: The slot's.
        status: What it does when it trains nothing: starting, waiting, restarting in 4 s, done, …
        trial: The trial in hand, or None.
    """

    label: str
    status: str = "starting"
    trial: Trial | None = None


@dataclass
class Trial:
    """The trial in hand of one slot; ``parameters`` are those worth showing."""

    run_id: str
    begun: float
    name: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    epoch: int = 0
    row: dict[str, float] = field(default_factory=dict)
    batch_fraction: float = 0.0

    @property
    def fraction(self) -> float:
        """Of the trial's epochs done, in [0, 1]."""
        return min((self.epoch + self.batch_fraction) / self.epochs, 1.0) if self.epochs else 0.0

    def eta_s(self, now: float) -> float | None:
        """Seconds left at the pace so far; None until there is a pace."""
        done = self.fraction
        return (now - self.begun) * (1 - done) / done if done > 0.02 else None


class Board:
    """All slots, and the totals.

    Args:
        labels: Of the slots, in order.
        left: Trials that this agent may still start; None when nobody knows.
        constant: Names of parameters that are the same in every trial, and so not worth showing.
        clock: Seconds.
    """

    def __init__(
        self,
        labels: Sequence[str],
        left: int | None,
        *,
        constant: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seats = [Seat(label) for label in labels]
        self.counts: Counter[str] = Counter()
        self.best: float | None = None
        self.best_name = ""
        self._allowance = left
        self._constant = frozenset(constant)
        self._taken = 0
        self._clock = clock
        self._begun = clock()
        self._trial_seconds: list[float] = []

    def apply(self, index: int, event: Event) -> None:
        """Take in what the worker of slot ``index`` said."""
        seat = self.seats[index]
        match event:
            case TrialStarted():
                self._start(seat, event)
            case EpochDone(run_id, row) if seat.trial and seat.trial.run_id == run_id:
                seat.trial.epoch = int(row.get("epoch", seat.trial.epoch + 1))
                seat.trial.row = row
                seat.trial.batch_fraction = 0.0
            case Progress(run_id, batch, batches) if seat.trial and seat.trial.run_id == run_id:
                seat.trial.batch_fraction = batch / batches if batches else 0.0
            case TrialEnded():
                self.end(index, event)
            case Ready() | Free():
                seat.status = "asking"
            case Waiting():
                seat.status = "waiting for the sweep"
            case SweepDone():
                seat.status = "done"
            case Fatal():
                seat.status = "stopped"
            case _:
                pass

    def end(self, index: int, ended: TrialEnded) -> None:
        """Close the trial of slot ``index``, also one whose worker died."""
        seat = self.seats[index]
        seat.trial = None
        self.counts[ended.state] += 1
        if ended.state == "finished":
            self._trial_seconds.append(ended.seconds)
        if ended.best is not None and (self.best is None or ended.best > self.best):
            self.best, self.best_name = ended.best, ended.name

    @property
    def running(self) -> int:
        """Trials in hand."""
        return sum(seat.trial is not None for seat in self.seats)

    @property
    def left(self) -> int | None:
        """Trials not yet started; None when nobody knows."""
        return None if self._allowance is None else max(0, self._allowance - self._taken)

    def limit_left(self, open_cells: int) -> None:
        """Take in how many trials nobody has taken yet: other agents take some too."""
        if self.left is not None and open_cells < self.left:
            self._allowance = self._taken + open_cells

    @property
    def elapsed_s(self) -> float:
        """Since the agent started."""
        return self._clock() - self._begun

    def eta_s(self) -> float | None:
        """Seconds until the last trial ends, judged by the trials so far; None until one can say."""
        now = self._clock()
        running = [seat.trial.eta_s(now) for seat in self.seats if seat.trial]
        if self.left is None or any(eta is None for eta in running):
            return None
        rest = sum(eta for eta in running if eta is not None)
        if self.left:
            if not self._trial_seconds:
                return None
            rest += self.left * sum(self._trial_seconds) / len(self._trial_seconds)
        return rest / len(self.seats) if self.left else max((e or 0 for e in running), default=0)

    def _start(self, seat: Seat, event: TrialStarted) -> None:
        if seat.trial is None or seat.trial.run_id != event.run_id:
            self._taken += 1
            seat.trial = Trial(event.run_id, self._clock())
        seat.trial.name = event.name or event.run_id
        varied = {k: v for k, v in event.parameters.items() if k not in self._constant}
        seat.trial.parameters = varied or event.parameters
        # A sweep may say "10": the trial then fails by its config, and the board must live to tell.
        epochs: object = event.epochs
        seat.trial.epochs = epochs if isinstance(epochs, int) and epochs > 0 else 0
