"""Board and view as one, where nothing that goes wrong may end the agent."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import IO

from fer_sweep.agent.board import Board
from fer_sweep.agent.messages import Event, TrialEnded
from fer_sweep.agent.view import NullView, PlainView, View

_logger = logging.getLogger(__name__)


class Display:
    """Shows what happens, and survives what happens to the showing.

    A terminal that is gone (SSH dropped, tmux closed) leaves a display that shows nothing: whether the
    trials stop is for SIGHUP to say, which a user who wants them to go on has switched off. A bug in board or view
    costs the table, not the trials: plain lines follow, and nothing if they fail too.

    Args:
        board: The state of all slots.
        view: How it is shown at first.
        stream: Where the view writes.
    """

    def __init__(self, board: Board, view: View, stream: IO[str] | None = None) -> None:
        self.board = board
        self._view = view
        self._stream = stream or sys.stderr

    def open(self) -> None:
        """Begin."""
        self._attempt(lambda view: view.open(self.board))

    def event(self, index: int, event: Event) -> None:
        """Slot ``index`` reported ``event``."""

        def show(view: View) -> None:
            self.board.apply(index, event)
            view.event(index, event)

        self._attempt(show)

    def lost(self, index: int, ended: TrialEnded) -> None:
        """The worker of slot ``index`` died and its trial with it."""

        def show(view: View) -> None:
            self.board.end(index, ended)
            view.event(index, ended)

        self._attempt(show)

    def say(self, text: str) -> None:
        """Tell the user something."""
        self._attempt(lambda view: view.say(text))

    def refresh(self) -> None:
        """Called several times per second."""
        self._attempt(lambda view: view.refresh())

    def close(self) -> None:
        """The board will not change any more."""
        self._attempt(lambda view: view.close())

    def _attempt(self, show: Callable[[View], None]) -> None:
        try:
            show(self._view)
        except OSError as error:
            _let_go(self._stream)
            self._replace(NullView())
            _logger.warning("nothing more is shown: %s", error)
        except Exception:
            if isinstance(self._view, NullView):
                return  # told already
            _logger.exception("a bug in fersweep's display; the trials go on")
            was_plain = isinstance(self._view, PlainView)
            self._replace(NullView() if was_plain else PlainView(self._stream))

    def _replace(self, view: View) -> None:
        with contextlib.suppress(Exception):
            self._view.close()
        self._view = view
        view.open(self.board)


def _let_go(stream: IO[str]) -> None:
    """Send nowhere what else would be written to a file or terminal that fails, by whomever.

    The report at the end, or Python's own flush, would fail as the view did and change the exit code.
    """
    with contextlib.suppress(OSError, ValueError):
        broken = os.fstat(stream.fileno())
        same = [fd for fd in (1, 2) if os.path.samestat(os.fstat(fd), broken)]
        null = os.open(os.devnull, os.O_WRONLY)
        for fd in {*same, stream.fileno()}:
            os.dup2(null, fd)
        os.close(null)
