"""Problem: one thing that is wrong, or odd, about a sweep config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fer_sweep.errors import ConfigError


@dataclass(frozen=True)
class Problem:
    """One finding of the lint.

    Attributes:
        where: File and key, such as ``sweeps/base.yaml: parameters.dropout``.
        text: ``what (got …). how to fix.``
        severity: An error stops ``create``; a warning is shown and the sweep goes on.
    """

    where: str
    text: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def check_problems(problems: Iterable[Problem]) -> None:
    """Raise if any problem is an error.

    Raises:
        ConfigError: With all errors, and none of the warnings.
    """
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    if errors:
        raise ConfigError(errors)
