"""Runs every rule over every run, and gives each run one headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from fer_sweep.diagnosis.registry import RULES
from fer_sweep.diagnosis.rule import VERDICTS, Finding, Peers, Severity, Verdict
from fer_sweep.history import Best, History, best_epoch

_MIN_PEERS = 4
_UNFINISHED = ("running", "pending", "preempting", "preempted")
_SEVERITY_ORDER = (Severity.ERROR, Severity.WARN, Severity.INFO)


@dataclass(frozen=True)
class Diagnosis:
    """All that was found about one run.

    Attributes:
        run_id: The run.
        run_name: Its name.
        verdict: The headline.
        findings: Worst first, then by code.
        provisional: True when the headline could change with more epochs, rows or metrics.
        notes: What was assumed, and why it is provisional.
    """

    run_id: str
    run_name: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    provisional: bool
    notes: tuple[str, ...]


def diagnose(histories: Sequence[History]) -> list[Diagnosis]:
    """Diagnose runs; those given together are each other's peers.

    Returns:
        One diagnosis per history, in the same order.
    """
    peers = peers_of([best_epoch(history) for history in histories])
    return [diagnose_run(history, peers) for history in histories]


def peers_of(best: Sequence[Best | None]) -> Peers:
    """What each run may know about the others, from the best epochs of all."""
    accuracies = [found.accuracy for found in best if found is not None]
    return Peers(median_accuracy=median(accuracies) if len(accuracies) >= _MIN_PEERS else None)


def diagnose_run(history: History, peers: Peers) -> Diagnosis:
    """Diagnose one run; for callers that keep what they know of the others."""
    found = [
        finding for rule in RULES.values() if (finding := rule.check(history, peers)) is not None
    ]
    if any(
        finding.code == "FS402" for finding in found
    ):  # what comes after an explosion proves nothing else
        found = [finding for finding in found if finding.code in ("FS001", "FS402")]
    reasons = _why_provisional(history, found)
    findings = [replace(f, provisional=bool(reasons) and f.code != "FS402") for f in found]
    findings.sort(key=lambda f: (_SEVERITY_ORDER.index(f.severity), f.code))
    verdict = headline(history, findings)
    firm = verdict in (Verdict.FAILED, Verdict.DIVERGED)
    return Diagnosis(
        run_id=history.run_id,
        run_name=history.run_name,
        verdict=verdict,
        findings=tuple(findings),
        provisional=bool(reasons) and not firm,
        notes=(*history.notes, *reasons, *_assumptions(history)),
    )


def headline(history: History, findings: Sequence[Finding]) -> Verdict:
    """The first verdict, in order of precedence, that applies."""
    applying = {RULES[finding.code].verdict for finding in findings}
    if history.state in ("failed", "crashed") or history.summary.get("failure/cause"):
        applying.add(Verdict.FAILED)
    return next((verdict for verdict in VERDICTS if verdict in applying), Verdict.HEALTHY)


def _why_provisional(history: History, findings: Sequence[Finding]) -> list[str]:
    reasons = []
    if history.incomplete:
        reasons.append(f"{history.rows_read} of {history.rows_expected} rows were read")
    if history.state in _UNFINISHED:
        reasons.append(f"the run is {history.state}")
    if history.state == "killed":
        reasons.append("the run was stopped early")
    if any(finding.code == "FS001" for finding in findings):
        reasons.append("too few epochs or metrics for a firm verdict")
    return reasons


def _assumptions(history: History) -> list[str]:
    if not history.sizes_assumed or not history.length:
        return []
    return [
        f"standard errors assume FER2013's {history.n_train:,} training and {history.n_val:,} validation images"
    ]
