"""The lines between worker and supervisor."""

from __future__ import annotations

import math

import pytest

from fer_sweep.agent.messages import (
    Drain,
    EpochDone,
    Event,
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
    decode,
    encode,
)

MESSAGES: list[Event | Order] = [
    Ready("cpu", 1.5, ["a note"]),
    Free(),
    Waiting(),
    TrialStarted("ab12", "trial-1", {"arch": "cnn1", "dropout": 0.5}, 20),
    EpochDone("ab12", {"epoch": 1, "val/loss": 0.5}),
    Progress("ab12", 3, 9),
    TrialEnded("ab12", "trial-1", "failed", 2.0, 0.4, "exception", "ValueError: é\nsecond line"),
    SweepDone(),
    Fatal("no data", 2),
    Take(),
    Drain(),
    StopNow("Ctrl-C"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_a_message_arrives_as_it_was_sent_on_one_line(message: Event | Order) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


def test_a_diverged_row_arrives_as_such() -> None:
    row = decode(encode(EpochDone("ab12", {"val/loss": math.nan, "train/loss": math.inf}))).row
    assert math.isnan(row["val/loss"])
    assert row["train/loss"] == math.inf


@pytest.mark.parametrize(
    "line",
    [b"", b"Downloading: 100%\n", b"{}", b'{"kind": "explode"}', b"[1]", b'{"kind": "fatal"}'],
)
def test_anything_else_is_dropped(line: bytes) -> None:
    assert decode(line) is None
