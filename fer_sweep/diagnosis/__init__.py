"""History in, findings out: pure, and the same on anybody's runs.

``rules/`` has one module per rule, ``engine.py`` runs them, ``registry.py`` finds and explains them.
"""

from fer_sweep.diagnosis.engine import Diagnosis, diagnose
from fer_sweep.diagnosis.registry import RULES, explain, find_rule
from fer_sweep.diagnosis.rule import VERDICTS, Change, Finding, Rule, Severity, Verdict

__all__ = [
    "RULES",
    "VERDICTS",
    "Change",
    "Diagnosis",
    "Finding",
    "Rule",
    "Severity",
    "Verdict",
    "diagnose",
    "explain",
    "find_rule",
]
