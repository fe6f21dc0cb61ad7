"""History in, findings out: pure, and the same on anybody's runs.

``rules/`` has one module per rule, ``engine.py`` runs them, ``registry.py`` finds and explains them.
"""

from fer_sweep.diagnosis.engine import Diagnosis, diagnose, diagnose_run, peers_of
from fer_sweep.diagnosis.importance import Importance, rank_parameters
from fer_sweep.diagnosis.registry import RULES, explain, find_rule
from fer_sweep.diagnosis.rule import VERDICTS, Change, Finding, Peers, Rule, Severity, Verdict

__all__ = [
    "RULES",
    "VERDICTS",
    "Change",
    "Diagnosis",
    "Finding",
    "Importance",
    "Peers",
    "Rule",
    "Severity",
    "Verdict",
    "diagnose",
    "diagnose_run",
    "explain",
    "find_rule",
    "peers_of",
    "rank_parameters",
]
