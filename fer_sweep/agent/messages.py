"""What a worker and its supervisor say to each other: one JSON object per line, over pipes.

Worker to supervisor are events (on a descriptor of its own, so that a stray print cannot break in);
supervisor to worker are orders (on stdin, whose end means that the supervisor is gone).
JSON's missing NaN and infinity are written as Python does, since a diverged epoch must arrive as such.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

Cause = Literal["exception", "out-of-memory", "non-finite", "killed", "timeout"]
"""Why a trial failed; also ``failure/cause`` in its summary."""

METRIC = "best/val_accuracy"
"""The running maximum that every row holds, and that our sweeps optimise."""

TrialState = Literal["finished", "failed", "killed"]


@dataclass(frozen=True)
class Ready:
    """The worker has loaded everything and can train; ``notes`` are about the data."""

    kind: ClassVar[str] = "ready"
    device: str
    startup_s: float
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Free:
    """The worker wants a trial and waits for permission to ask the server."""

    kind: ClassVar[str] = "free"


@dataclass(frozen=True)
class Waiting:
    """The server has nothing for the worker now: the sweep is paused, or its last cells run elsewhere."""

    kind: ClassVar[str] = "waiting"


@dataclass(frozen=True)
class TrialStarted:
    """A trial began; ``epochs`` rows are expected.

    Sent twice: when the server hands the trial out, and with ``name`` and ``epochs`` once its run is open.
    """

    kind: ClassVar[str] = "trial-started"
    run_id: str
    name: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0


@dataclass(frozen=True)
class EpochDone:
    """One epoch's row, as logged."""

    kind: ClassVar[str] = "epoch-done"
    run_id: str
    row: dict[str, float]


@dataclass(frozen=True)
class Progress:
    """Where the trial is inside an epoch; ``batch`` of ``batches`` done."""

    kind: ClassVar[str] = "progress"
    run_id: str
    batch: int
    batches: int


@dataclass(frozen=True)
class TrialEnded:
    """A trial ended and its run is closed on the server."""

    kind: ClassVar[str] = "trial-ended"
    run_id: str
    name: str
    state: TrialState
    seconds: float
    best: float | None = None
    cause: Cause | None = None
    message: str = ""


@dataclass(frozen=True)
class SweepDone:
    """The server has no more work for this worker, which exits."""

    kind: ClassVar[str] = "sweep-done"


@dataclass(frozen=True)
class Fatal:
    """The worker cannot go on; ``message`` is for the user, ``exit_code`` what the command should end with."""

    kind: ClassVar[str] = "fatal"
    message: str
    exit_code: int


@dataclass(frozen=True)
class Take:
    """Ask the server for one trial."""

    kind: ClassVar[str] = "take"


@dataclass(frozen=True)
class Drain:
    """Finish the trial in hand, then exit."""

    kind: ClassVar[str] = "drain"


@dataclass(frozen=True)
class StopNow:
    """Stop at the next batch, close the run as killed, exit."""

    kind: ClassVar[str] = "stop-now"
    reason: str = ""


Event = (
    Ready | Free | Waiting | TrialStarted | EpochDone | Progress | TrialEnded | SweepDone | Fatal
)
Order = Take | Drain | StopNow

_TYPES: dict[str, type[Any]] = {
    message.kind: message
    for message in (
        *(Ready, Free, Waiting, TrialStarted, EpochDone, Progress, TrialEnded, SweepDone, Fatal),
        *(Take, Drain, StopNow),
    )
}


def encode(message: Event | Order) -> bytes:
    """One line, newline included.

    Example:
        >>> encode(Take()).decode().strip()
        '{"kind": "take"}'
    """
    return json.dumps({"kind": message.kind, **asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> Any:
    """The message of one line, or None for a kind or shape we do not know.

    Both ends come from one installation, so an unknown line means that something else wrote to the pipe;
    it is dropped rather than trusted.

    Example:
        >>> decode(encode(StopNow("Ctrl-C")))
        StopNow(reason='Ctrl-C')
        >>> decode(b"Downloading: 100%")
    """
    try:
        values = json.loads(line)
        message = _TYPES[values.pop("kind")]
        return message(**{f.name: values[f.name] for f in fields(message) if f.name in values})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
