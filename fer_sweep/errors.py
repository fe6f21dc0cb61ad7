"""Every error a user can cause, and the exit code it ends with.

A message reads ``where: what (got …). how to fix.`` and stands on its own: ``cli.main`` prints it after
``fersweep: error:`` with no traceback. Anything that is not a ``FersweepError`` is a bug of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command; 128+n stands for death by signal n."""

    DONE = 0
    TOOL_ERROR = 1
    USAGE = 2
    TRIALS_FAILED = 3
    """Some trials failed, or a report found something at the asked severity."""
    BUDGET = 4
    """A budget was reached; running the command again continues."""
    WORKER_DRAINED = 75
    """A worker gives its slot back to the queue (``EX_TEMPFAIL``)."""
    WORKER_MISCONFIGURED = 78
    """A worker that must not be restarted (``EX_CONFIG``)."""


class FersweepError(Exception):
    """An expected error; its text is the whole message for the user."""

    exit_code = ExitCode.TOOL_ERROR


class ConfigError(FersweepError):
    """What the user asked for is wrong: flags, sweep file, search space, settings.

    Args:
        problems: One line per problem, all of them at once; at least one.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(FersweepError):
    """A data set is missing, malformed or unusable; the text names file and line."""

    exit_code = ExitCode.USAGE


class DeviceError(FersweepError):
    """A GPU that was asked for is not there."""

    exit_code = ExitCode.USAGE


class TrackingError(FersweepError):
    """The W&B server (the cloud's or ours) refused, or cannot be reached."""


class ServerError(FersweepError):
    """Our own server cannot start: port taken, unusable or newer database, read-only folder."""
