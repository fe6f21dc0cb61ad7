"""Finds the rules, and explains them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from fer_sweep.diagnosis import rules as package
from fer_sweep.diagnosis.rule import Rule
from fer_sweep.errors import ConfigError


def _discover() -> dict[str, Rule]:
    names = sorted(
        info.name for info in pkgutil.iter_modules(package.__path__) if info.name.startswith("fs")
    )
    found: list[Rule] = [
        importlib.import_module(f"{package.__name__}.{name}").RULE for name in names
    ]
    return {rule.code: rule for rule in found}


RULES: Mapping[str, Rule] = _discover()
"""Every rule by its code, in order of code."""


def find_rule(code: str) -> Rule:
    """The rule with this code or name.

    Raises:
        ConfigError: If there is none; lists those there are.
    """
    wanted = code.strip().lower()
    for rule in RULES.values():
        if wanted in (rule.code.lower(), rule.name):
            return rule
    known = ", ".join(RULES)
    raise ConfigError(f"rule {code}: no such rule. Known: {known}.")


def explain(code: str) -> str:
    """What a rule says, as plain text of a few paragraphs.

    Raises:
        ConfigError: If there is no such rule.
    """
    rule = find_rule(code)
    text = rule.text
    verdict = f', headline "{rule.verdict}"' if rule.verdict else ""
    sections = (
        ("Why it matters", text.why),
        ("How it decides", text.how),
        ("Try", text.remedy),
        ("When it is wrong", text.caution),
        ("Source", text.source),
    )
    body = "\n\n".join(f"{title}: {content}" for title, content in sections)
    return f"{rule.code} {rule.name} ({rule.severity}{verdict}, {rule.status})\n{text.summary}\n\n{body}\n"
