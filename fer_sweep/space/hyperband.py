"""Brackets: after how many logged values of the metric hyperband compares the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fer_sweep.errors import ConfigError
from fer_sweep.space.number import is_finite

DEFAULT_ETA = 3
COMPARISONS = ("best", "last")
_MOST_BRACKETS = 100  # of an open-ended `min_iter` schedule; W&B's own number


@dataclass(frozen=True)
class Hyperband:
    """A parsed ``early_terminate`` section.

    Attributes:
        brackets: Ascending counts of logged metric values (epochs, for our trials), each >= 1.
        eta: At each bracket the best 1/eta of the runs go on; > 1.
        strict: Compare the value at the bracket, not the best value so far.
        last: Compare the last value, so that a run that overfits is stopped; ours, W&B ignores it.
    """

    brackets: tuple[int, ...]
    eta: float
    strict: bool
    last: bool = False


def parse_hyperband(config: Mapping[str, Any]) -> Hyperband | None:
    """Read ``early_terminate`` of a sweep config; None if there is none.

    Source: W&B, "Sweep configuration options", early_terminate: either ``min_iter`` (brackets at
    min_iter·eta^k) or ``max_iter`` with ``s`` (s brackets at max_iter/eta^k); eta defaults to 3.

    Raises:
        ConfigError: If the section is not a usable hyperband schedule.

    Example:
        >>> parse_hyperband({"early_terminate": {"type": "hyperband", "max_iter": 27, "s": 2}}).brackets
        (3, 9)
    """
    section = config.get("early_terminate")
    if section is None:
        return None
    problems = hyperband_problems(section)
    if problems:
        raise ConfigError([f"early_terminate{key}: {text}" for key, text in problems])
    eta = section.get("eta", DEFAULT_ETA)
    if "max_iter" in section:
        counts = [section["max_iter"] / eta**k for k in range(1, int(section["s"]) + 1)]
    else:
        counts = [section["min_iter"] * eta**k for k in range(_MOST_BRACKETS)]
    brackets = tuple(sorted({int(count) for count in counts if 1 <= count < 1e9}))
    last = section.get("compare", "best") == "last"
    return Hyperband(brackets, float(eta), bool(section.get("strict", False)), last)


def hyperband_problems(section: Any) -> list[tuple[str, str]]:
    """What is wrong with an ``early_terminate`` section, as (key with leading dot or "", text)."""
    if not isinstance(section, Mapping):
        return [("", f"must be a mapping with type: hyperband (got {section!r}).")]
    problems = []
    if section.get("type") != "hyperband":
        problems.append((".type", f"must be hyperband (got {section.get('type')!r})."))
    known = ("type", "min_iter", "max_iter", "s", "eta", "strict", "compare")
    problems += [
        (f".{key}", f"unknown key. Known: {', '.join(known)}.")
        for key in section
        if key not in known
    ]
    eta = section.get("eta", DEFAULT_ETA)
    if not is_finite(eta) or eta <= 1:
        problems.append(
            (".eta", f"must be a number greater than 1 (got {eta!r}). The default is 3.")
        )
    if not isinstance(section.get("strict", False), bool):
        problems.append((".strict", f"must be true or false (got {section['strict']!r})."))
    if section.get("compare", "best") not in COMPARISONS:
        choices = " or ".join(COMPARISONS)
        problems.append((".compare", f"must be {choices} (got {section['compare']!r})."))
    elif section.get("compare") == "last" and section.get("strict") is True:
        problems.append(
            (
                ".compare",
                "last and strict: true exclude each other. Keep one: strict compares at the bracket.",
            )
        )
    return problems or _schedule_problems(section, eta)


def _schedule_problems(section: Mapping[str, Any], eta: float) -> list[tuple[str, str]]:
    if "min_iter" not in section and "max_iter" not in section:
        return [
            (
                "",
                "has neither min_iter nor max_iter. Add min_iter: 3 (the first epoch runs may stop at).",
            )
        ]
    if "min_iter" in section and "max_iter" in section:
        return [("", "has both min_iter and max_iter. Keep one: min_iter, or max_iter with s.")]
    if "min_iter" in section:
        return _count_problem(section, "min_iter")
    problems = _count_problem(section, "max_iter")
    if "s" not in section:
        problems.append(
            ("", "max_iter needs s, the number of brackets. Add s: 2, or use min_iter instead.")
        )
    else:
        problems += _count_problem(section, "s")
    if not problems and section["max_iter"] / eta < 1:
        problems.append(
            (
                ".max_iter",
                f"leaves no bracket (got {section['max_iter']} with eta {eta:g}). Raise max_iter.",
            )
        )
    return problems


def _count_problem(section: Mapping[str, Any], key: str) -> list[tuple[str, str]]:
    value = section[key]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return []
    return [(f".{key}", f"must be a whole number of at least 1 (got {value!r}).")]
