"""What the user sees while the agent works: a live table on a terminal, plain lines elsewhere.

Both write to stderr; stdout is for data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Protocol

from fer_sweep.agent.board import Board, Seat, Trial
from fer_sweep.agent.durations import format_seconds
from fer_sweep.agent.messages import EpochDone, Event, TrialEnded, TrialStarted, Waiting

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_EVERY_S = 10.0
_BAR = 12
_GAP = 2
_LONGEST_NAME = 24
_FEWEST_PARAMETERS = 10
_NUMBERS = ("epoch", "train", "val", "best", "left")
_COLUMNS = {
    "slot": "slot",
    "trial": "trial",
    "parameters": "parameters",
    "epoch": "epoch",
    "bar": "",
} | {name: name for name in ("train", "val", "best", "left")}
"""Titles by column."""


class View(Protocol):
    """How the agent talks while it works."""

    def open(self, board: Board) -> None:
        """Begin to show ``board``."""

    def event(self, index: int, event: Event) -> None:
        """Slot ``index`` reported ``event``, which is on the board already."""

    def say(self, text: str) -> None:
        """Tell the user something."""

    def refresh(self) -> None:
        """Called several times per second."""

    def close(self) -> None:
        """The board will not change any more."""


def make_view(stream: IO[str]) -> View:
    """The view that suits ``stream``: a live table on a terminal, else plain lines."""
    return LiveView(stream) if stream.isatty() else PlainView(stream)


class NullView:
    """Shows nothing: there is nobody to show it to."""

    def open(self, board: Board) -> None:
        """Nothing."""

    def event(self, index: int, event: Event) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def refresh(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class PlainView:
    """One line per thing worth knowing; epochs at most every ten seconds per slot."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._board: Board | None = None
        self._told: dict[int, float] = {}

    def open(self, board: Board) -> None:
        """Begin."""
        self._board = board

    def event(self, index: int, event: Event) -> None:
        """Print the event if it is worth a line."""
        assert self._board is not None
        seat = self._board.seats[index]
        match event:
            case TrialStarted() if event.name and seat.trial:
                shown = summarise_parameters(seat.trial.parameters)
                self._line(seat, f"{event.name} started: {shown}")
                self._told[index] = time.monotonic()
            case EpochDone() if seat.trial and self._due(index, seat.trial):
                self._line(seat, f"{seat.trial.name} {describe_epoch(seat.trial)}")
            case TrialEnded():
                self._line(seat, f"{describe_end(event)}; {describe_totals(self._board)}")
            case Waiting() if not self._board.running:
                self._line(seat, "waiting: other agents hold what is left, or the sweep is paused")
            case _:
                pass

    def say(self, text: str) -> None:
        """Print ``text``."""
        print(text, file=self._stream, flush=True)

    def refresh(self) -> None:
        """Lines need no refresh."""

    def close(self) -> None:
        """Nothing to put back."""

    def _due(self, index: int, trial: Trial) -> bool:
        now = time.monotonic()
        # The last epoch is told by the line that ends the trial.
        if trial.epoch >= trial.epochs or now - self._told.get(index, -math.inf) < PLAIN_EVERY_S:
            return False
        self._told[index] = now
        return True

    def _line(self, seat: Seat, text: str) -> None:
        self.say(f"[{seat.label}] {text}")


class LiveView:
    """A table with one line per slot, redrawn in place; messages scroll above it."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console: Console = Console(file=stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._board: Board | None = None

    def open(self, board: Board) -> None:
        """Begin to draw."""
        self._board = board
        self._live.start()
        self.refresh()

    def event(self, index: int, event: Event) -> None:
        """Failed trials scroll by above the table; the rest is in it."""
        assert self._board is not None
        if isinstance(event, TrialEnded) and event.state == "failed":
            self.say(f"[{self._board.seats[index].label}] {describe_end(event)}")

    def say(self, text: str) -> None:
        """Print above the table."""
        self._console.print(text, markup=False, highlight=False)

    def refresh(self) -> None:
        """Redraw."""
        if self._board is not None:
            self._live.update(_table(self._board, self._console.width), refresh=True)

    def close(self) -> None:
        """Leave the last table on the screen."""
        try:
            self.refresh()
        finally:
            self._live.stop()  # gives stdout and stderr back


def _table(board: Board, width: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = [_cells(seat) for seat in board.seats]
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = fit_columns(_natural_widths(rows), width)
    for name, column_width in columns.items():
        table.add_column(
            _COLUMNS[name],
            justify="right" if name in _NUMBERS else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=column_width,
        )
    for row in rows:
        table.add_row(*(Text(row.get(name, "")) for name in columns))
    return Group(table, Text(describe_totals(board), style="bold"))


def _natural_widths(rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    widths = {
        name: max(len(title), *(len(row.get(name, "")) for row in rows))
        for name, title in _COLUMNS.items()
    }
    return widths | {"trial": min(widths["trial"], _LONGEST_NAME)}


def fit_columns(natural: Mapping[str, int], width: int) -> dict[str, int]:
    """Which columns a terminal has room for, and how wide.

    Numbers and names are useless when cut, so they keep their natural width and the parameters get what
    is left; where that is next to nothing, the bar goes, then what other columns nearly say.

    Args:
        natural: Characters that each column needs.
        width: Characters of the terminal.
    """
    shown = dict(natural)
    wanted = min(natural["parameters"], _FEWEST_PARAMETERS)
    for expendable in ("bar", "train", "left"):
        if _room(shown, width) < wanted:
            del shown[expendable]
    shown["parameters"] = max(1, min(_room(shown, width), natural["parameters"]))
    return shown


def _room(shown: Mapping[str, int], width: int) -> int:
    """What the other columns leave for the parameters."""
    others = sum(size for name, size in shown.items() if name != "parameters")
    return width - others - _GAP * (len(shown) - 1)


def _cells(seat: Seat) -> dict[str, str]:
    trial = seat.trial
    if trial is None:
        return {"slot": seat.label, "parameters": seat.status}
    row = trial.row
    done = round(trial.fraction * _BAR)
    return {
        "slot": seat.label,
        "trial": trial.name,
        "parameters": summarise_parameters(trial.parameters),
        "epoch": f"{trial.epoch}/{trial.epochs or '?'}",
        "bar": "━" * done + "╌" * (_BAR - done),
        "train": format_accuracy(row.get("train/accuracy")),
        "val": format_accuracy(row.get("val/accuracy")),
        "best": format_accuracy(row.get("best/val_accuracy")),
        "left": format_seconds(trial.eta_s(time.monotonic())),
    }


def describe_epoch(trial: Trial) -> str:
    """One epoch in words: train and validation accuracy, best so far, time left."""
    row = trial.row
    return (
        f"epoch {trial.epoch}/{trial.epochs}: train {format_accuracy(row.get('train/accuracy'))}, "
        f"val {format_accuracy(row.get('val/accuracy'))}, best {format_accuracy(row.get('best/val_accuracy'))}, "
        f"{format_seconds(trial.eta_s(time.monotonic()))} left"
    )


def describe_end(ended: TrialEnded) -> str:
    """How a trial ended, in one line."""
    took = f"after {format_seconds(ended.seconds)}"
    if ended.state == "finished":
        return f"{ended.name} finished {took}: best val {format_accuracy(ended.best)}"
    cause = f" ({ended.cause})" if ended.cause else ""
    first_line = ended.message.splitlines()[0] if ended.message else ""
    return f"{ended.name} {ended.state}{cause} {took}: {first_line}".rstrip(": ")


def describe_totals(board: Board) -> str:
    """Counts, best result, and how long it took and will take."""
    parts = [f"{board.counts['finished']} finished"]
    parts += [
        f"{board.counts[state]} {state}" for state in ("failed", "killed") if board.counts[state]
    ]
    parts.append(f"{board.running} running")
    if board.left is not None:
        parts.append(f"{board.left} left")
    if board.best is not None:
        parts.append(f"best val {format_accuracy(board.best)} ({board.best_name})")
    parts.append(f"{format_seconds(board.elapsed_s)} elapsed")
    eta_s = board.eta_s()
    if eta_s is not None and (board.running or board.left):
        parts.append(f"about {format_seconds(eta_s)} to go")
    return ", ".join(parts)


def summarise_parameters(parameters: Mapping[str, Any]) -> str:
    """The parameters in one short line, what varies first in people's minds first.

    Example:
        >>> summarise_parameters({"seed": 0, "learning_rate": 0.001, "arch": "cnn1"})
        'cnn1 lr=0.001 seed=0'
    """
    short = {
        "learning_rate": "lr",
        "batch_size": "bs",
        "weight_decay": "wd",
        "label_smoothing": "ls",
    }
    order = ["arch", "learning_rate", "batch_size", "dropout", "weight_decay", "augment"]
    names = [name for name in order if name in parameters]
    names += [name for name in sorted(parameters) if name not in order]
    texts = (_format_value(parameters[name]) for name in names)
    return " ".join(
        text if name == "arch" else f"{short.get(name, name)}={text}"
        for name, text in zip(names, texts, strict=True)
    )


def _format_value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def format_accuracy(value: float | None) -> str:
    """A fraction as percent; NaN stays visible."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}%" if math.isfinite(value) else "nan"
