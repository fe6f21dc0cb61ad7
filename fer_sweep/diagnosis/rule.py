"""What a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fer_sweep.history import History


class Severity(StrEnum):
    """How much a finding should worry you."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class Verdict(StrEnum):
    """The headline of a run; the first that applies, in this order."""

    DIVERGED = "diverged"
    """The loss became NaN or infinite, or ended above where it began."""
    FAILED = "failed"
    """The trial did not finish: exception, out of memory, killed, lost."""
    OVERFIT = "overfit"
    """Validation loss turned up while training loss kept falling (FS101)."""
    MEMORISING = "memorising"
    """Training accuracy runs away from validation accuracy (FS102)."""
    VAL_ABOVE_TRAIN = "val-above-train"
    """Validation stays above the running training accuracy (FS201)."""
    UNDERFIT = "underfit"
    """The network does not even learn the training images (FS301)."""
    UNDERTRAINED = "undertrained"
    """Still improving when it stopped (FS303)."""
    TOO_SHORT = "too short"
    """Too few epochs, or too little was logged, to say (FS001)."""
    HEALTHY = "healthy"
    """None of the above."""


VERDICTS: tuple[Verdict, ...] = tuple(Verdict)
"""In order of precedence."""


@dataclass(frozen=True)
class Change:
    """One change of the sweep's space that a finding suggests.

    Attributes:
        parameter: A hyperparameter of ``TrainConfig``; empty for advice about something else.
        values: Values worth sweeping next.
        why: The advice, as a clause that can follow the change.
    """

    parameter: str
    values: tuple[Any, ...]
    why: str

    def __str__(self) -> str:
        if not self.parameter:
            return self.why
        return f"{self.parameter}: {', '.join(map(str, self.values))} ({self.why})"


@dataclass(frozen=True)
class Finding:
    """One hit of one rule on one run.

    Attributes:
        code: The rule's code, such as ``FS101``.
        name: The rule's name.
        severity: How bad.
        message: Plain words with the numbers in them.
        evidence: The numbers behind the message: fractions, nats, epochs.
        threshold: What the numbers were held against, in words.
        epochs_used: How many epochs the decision rests on.
        marked: Epochs worth shading in a chart.
        onset: The epoch at which it began, or None.
        remedies: What to change, most promising first.
        provisional: True when more epochs or metrics could overturn it.
    """

    code: str
    name: str
    severity: Severity
    message: str
    evidence: Mapping[str, float | int | str]
    threshold: str
    epochs_used: int
    marked: tuple[int, ...] = ()
    onset: int | None = None
    remedies: tuple[Change, ...] = ()
    provisional: bool = False


@dataclass(frozen=True)
class Peers:
    """What a rule may know about the other runs of the sweep.

    Attributes:
        median_accuracy: Median over runs of the best validation accuracy; None with fewer than 4 runs.
    """

    median_accuracy: float | None = None


@dataclass(frozen=True)
class Case:
    """A generated history that documents and tests a rule."""

    name: str
    history: History
    peers: Peers = Peers()


@dataclass(frozen=True)
class Text:
    """A rule's explanation, read from its module docstring."""

    summary: str
    why: str
    how: str
    remedy: str
    caution: str
    source: str


_SECTIONS = {
    "Why it matters": "why",
    "How": "how",
    "Try": "remedy",
    "When it is wrong": "caution",
    "Source": "source",
}


@dataclass(frozen=True)
class Rule:
    """One check, with its explanation and its own examples.

    Attributes:
        code: ``FS`` and three digits; never reused.
        name: Kebab case, names the defect.
        severity: The usual severity; a finding may carry a milder one.
        check: Looks at one run; returns a finding or None. Pure; never raises, whatever the history.
        doc: The module's docstring: a summary and the sections of ``Text``.
        verdict: The headline it brings, or None.
        fires_on: Histories that must give a finding.
        silent_on: Histories that must not.
        status: preview, stable or deprecated.
    """

    code: str
    name: str
    severity: Severity
    check: Callable[[History, Peers], Finding | None]
    doc: str
    verdict: Verdict | None = None
    fires_on: tuple[Case, ...] = ()
    silent_on: tuple[Case, ...] = ()
    status: str = "stable"
    text: Text = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", parse_doc(self.doc))

    @property
    def summary(self) -> str:
        """What is wrong, in one line."""
        return self.text.summary


def parse_doc(doc: str) -> Text:
    """Split a rule's docstring into its sections.

    Raises:
        ValueError: If a section is missing: a mistake of the rule's author.
    """
    first, _, rest = doc.strip().partition("\n")
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in rest.splitlines():
        head, colon, tail = line.strip().partition(":")
        if colon and head in _SECTIONS:
            current = found.setdefault(_SECTIONS[head], [tail.strip()])
        elif line.strip() and current is not None:
            current.append(line.strip())
    missing = [title for title, key in _SECTIONS.items() if key not in found]
    if missing:
        raise ValueError(f"rule docstring {first!r}: no section {', '.join(missing)}")
    return Text(summary=first.strip(), **{key: " ".join(lines) for key, lines in found.items()})
