"""What the board counts and what the views print."""

from __future__ import annotations

import io
import math
import os
import pty
import re
from typing import Any

import pytest

from fer_sweep.agent.board import Board
from fer_sweep.agent.display import Display
from fer_sweep.agent.messages import EpochDone, Event, Progress, TrialEnded, TrialStarted, Waiting
from fer_sweep.agent.view import LiveView, PlainView, describe_totals, make_view


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def started(run_id: str, **parameters: object) -> TrialStarted:
    return TrialStarted(run_id, f"trial-{run_id}", dict(parameters), 4)


def row(epoch: int, accuracy: float = 0.5) -> dict[str, float]:
    return {
        "epoch": epoch,
        "train/accuracy": 0.6,
        "val/accuracy": accuracy,
        "best/val_accuracy": accuracy,
    }


def finished(run_id: str, best: float = 0.5, seconds: float = 10.0) -> TrialEnded:
    return TrialEnded(run_id, f"trial-{run_id}", "finished", seconds, best)


def test_the_board_counts_trials_and_keeps_the_best(clock: Clock) -> None:
    board = Board(["gpu 0", "gpu 1"], left=3, clock=clock)
    board.apply(0, started("a"))
    board.apply(1, started("b"))
    assert (board.running, board.left) == (2, 1)
    board.apply(0, finished("a", best=0.7))
    board.apply(1, TrialEnded("b", "trial-b", "failed", 1.0, cause="exception", message="boom"))
    assert board.counts == {"finished": 1, "failed": 1}
    assert (board.best, board.best_name, board.running) == (0.7, "trial-a", 0)


def test_a_trial_announced_twice_is_taken_once(clock: Clock) -> None:
    board = Board(["gpu 0"], left=5, clock=clock)
    board.apply(0, TrialStarted("a"))
    board.apply(0, started("a"))
    assert board.left == 4
    assert board.seats[0].trial is not None
    assert board.seats[0].trial.name == "trial-a"


def test_the_time_left_of_a_trial_counts_batches_too(clock: Clock) -> None:
    board = Board(["gpu 0"], left=1, clock=clock)
    board.apply(0, started("a"))
    clock.now += 10
    board.apply(0, EpochDone("a", row(1)))
    trial = board.seats[0].trial
    assert trial is not None
    assert trial.eta_s(clock.now) == pytest.approx(30)
    board.apply(0, Progress("a", 5, 5))
    assert trial.eta_s(clock.now) == pytest.approx(10)


def test_the_sweeps_time_left_is_what_the_trials_took_over_all_slots(clock: Clock) -> None:
    board = Board(["gpu 0", "gpu 1"], left=7, clock=clock)
    assert board.eta_s() is None
    board.apply(0, started("a"))
    board.apply(0, finished("a", seconds=20))
    assert board.eta_s() == pytest.approx(6 * 20 / 2)


def test_an_event_of_another_trial_changes_nothing(clock: Clock) -> None:
    board = Board(["gpu 0"], left=None, clock=clock)
    board.apply(0, started("a"))
    board.apply(0, EpochDone("old", row(3)))
    assert board.seats[0].trial is not None
    assert board.seats[0].trial.epoch == 0
    assert board.left is None


def feed(view: PlainView | LiveView, board: Board, events: list[Event]) -> None:
    view.open(board)
    for event in events:
        board.apply(0, event)
        view.event(0, event)
    view.close()


def test_plain_lines_tell_start_epochs_and_end_but_not_every_epoch() -> None:
    board = Board(["gpu 0"], left=2, constant=["epochs"])
    stream = io.StringIO()
    events: list[Event] = [
        TrialStarted("a"),
        started("a", arch="cnn1", learning_rate=0.001, epochs=4),
        *(EpochDone("a", row(epoch)) for epoch in (1, 2, 3, 4)),
        finished("a"),
    ]
    feed(PlainView(stream), board, events)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[gpu 0] trial-a started: cnn1 lr=0.001"
    assert lines[1].startswith(
        "[gpu 0] trial-a finished after 10 s: best val 50.0%; 1 finished, 0 running, 1 left"
    )
    assert len(lines) == 2, "four epochs in no time are not worth a line each"


def test_plain_lines_tell_an_epoch_when_the_last_line_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fer_sweep.agent.view.PLAIN_EVERY_S", 0.0)
    stream = io.StringIO()
    feed(
        PlainView(stream), Board(["cpu 0"], None), [started("a"), EpochDone("a", row(1, math.nan))]
    )
    assert "[cpu 0] trial-a epoch 1/4: train 60.0%, val nan, best nan" in stream.getvalue()


def test_a_failure_is_told_with_its_cause() -> None:
    stream = io.StringIO()
    ended = TrialEnded(
        "a", "trial-a", "failed", 3.0, None, "out-of-memory", "OutOfMemoryError: 2 GiB\nmore"
    )
    feed(PlainView(stream), Board(["gpu 1"], None), [started("a"), ended])
    assert (
        "[gpu 1] trial-a failed (out-of-memory) after 3.0 s: OutOfMemoryError: 2 GiB;"
        in stream.getvalue()
    )


@pytest.mark.parametrize("epochs", ["10", 0, -3, None, 2.5])
def test_epochs_that_are_no_number_of_epochs_are_unknown(clock: Clock, epochs: Any) -> None:
    board = Board(["gpu 0"], left=None, clock=clock)
    board.apply(0, TrialStarted("a", "trial-a", {"epochs": epochs}, epochs))
    board.apply(0, Progress("a", 1, 2))
    trial = board.seats[0].trial
    assert trial is not None
    assert (trial.epochs, trial.fraction, trial.eta_s(clock.now)) == (0, 0.0, None)


def test_cells_that_other_agents_took_are_not_left(clock: Clock) -> None:
    board = Board(["gpu 0"], left=8, clock=clock)
    board.apply(0, started("a"))
    board.limit_left(3)
    assert board.left == 3
    board.apply(0, finished("a"))
    board.apply(0, started("b"))
    assert board.left == 2
    board.limit_left(5)
    assert board.left == 2, "an answer older than our own trial"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_per_slot_with_the_totals_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    view = make_view(stream)
    assert isinstance(view, LiveView)
    board = Board(["gpu 0", "gpu 1"], left=9)
    view.open(board)
    board.apply(0, started("a", arch="cnn1"))
    board.apply(0, EpochDone("a", row(2)))
    board.apply(1, Waiting())
    view.say("a message with [brackets] stays as it is")
    view.close()
    last_frame = stream.getvalue()[stream.getvalue().rindex("slot") :]
    assert last_frame.splitlines()[1].split()[:4] == ["gpu", "0", "trial-a", "cnn1"]
    assert "2/4" in last_frame
    assert "━━━━━━╌╌╌╌╌╌" in last_frame
    assert "60.0%  50.0%  50.0%" in last_frame
    assert "waiting for the sweep" in last_frame
    assert describe_totals(board).split(", best")[0] in last_frame
    assert "a message with [brackets] stays as it is" in stream.getvalue()


NAMES = ("devout-sweep-1", "chocolate-sweep-2")


def draw(monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    """The table of two slots in the middle of their trials, in a terminal so wide."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    view = LiveView(stream)
    board = Board(["gpu 0", "gpu 1"], left=9)
    for index, name in enumerate(NAMES):
        parameters = {"arch": "cnn4_bn", "learning_rate": 0.001, "batch_size": 64, "dropout": 0.3}
        board.apply(index, TrialStarted(name, name, parameters, 40))
        board.apply(index, EpochDone(name, row(12)))
    view.open(board)
    view.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    lines = text[text.rindex("slot") :].splitlines()
    assert all(len(line) <= columns for line in lines)
    return lines[:3]


def test_80_columns_hold_every_number_and_name_and_cut_the_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, *rows = draw(monkeypatch, 80)
    assert head.split() == ["slot", "trial", "parameters", "epoch", "train", "val", "best", "left"]
    for name, line in zip(NAMES, rows, strict=True):
        assert name in line
        assert "12/40  60.0%  50.0%  50.0%" in line
        assert "cnn4_bn" in line
        assert line.count("…") == 1


def test_60_columns_hold_the_numbers_that_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    head, *rows = draw(monkeypatch, 60)
    assert head.split()[:4] == ["slot", "trial", "parameters", "epoch"]
    for name, line in zip(NAMES, rows, strict=True):
        assert name in line
        assert "12/40  50.0%  50.0%" in line


def test_a_wide_terminal_has_the_bar_and_all_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    _, *rows = draw(monkeypatch, 140)
    assert all("cnn4_bn lr=0.001 bs=64 dropout=0.3" in line and "━━━━" in line for line in rows)


@pytest.mark.parametrize("kind", [PlainView, LiveView])
def test_a_terminal_that_is_gone_ends_nothing(kind: type[PlainView | LiveView]) -> None:
    ours, its = pty.openpty()
    with os.fdopen(its, "w", encoding="utf-8") as stream:
        display = Display(Board(["cpu 0"], left=1), kind(stream), stream)
        display.open()
        os.close(ours)
        display.say("nobody reads this")
        display.event(0, started("a"))
        display.event(0, finished("a"))
        display.close()
        print("and this does not fail either", file=stream, flush=True)
    assert display.board.counts == {"finished": 1}


def test_a_bug_in_a_view_leaves_plain_lines(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(PlainView):
        """Plain in name only."""

        def event(self, index: int, event: Event) -> None:
            raise ZeroDivisionError

    class BrokenLive(LiveView):
        def event(self, index: int, event: Event) -> None:
            raise ZeroDivisionError

    stream = io.StringIO()
    display = Display(Board(["cpu 0"], left=1), BrokenLive(stream), stream)
    display.open()
    display.event(0, started("a"))
    display.event(0, finished("a"))
    assert "[cpu 0] trial-a finished" in stream.getvalue()
    assert "ZeroDivisionError" in caplog.text

    silent = Display(Board(["cpu 0"], left=1), Broken(stream), stream)
    silent.open()
    silent.event(0, started("a"))
    silent.event(0, finished("a"))
    assert silent.board.counts == {"finished": 1}
