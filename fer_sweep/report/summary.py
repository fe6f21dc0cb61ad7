"""What a sweep says, in a few plain sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fer_sweep.diagnosis import VERDICTS, Diagnosis, Verdict
from fer_sweep.history import Best

PHRASES = {
    Verdict.DIVERGED: "diverged",
    Verdict.FAILED: "failed",
    Verdict.OVERFIT: "overfit",
    Verdict.MEMORISING: "memorising",
    Verdict.VAL_ABOVE_TRAIN: "with validation above train",
    Verdict.UNDERFIT: "underfit",
    Verdict.UNDERTRAINED: "still improving at the end",
    Verdict.TOO_SHORT: "too short to say",
    Verdict.HEALTHY: "healthy",
}


@dataclass(frozen=True)
class RankedRun:
    """What the summary needs of one run; given best first."""

    name: str
    diagnosis: Diagnosis
    best: Best | None
    last: float | None
    epochs: int
    failure_cause: str | None


def summarise(runs: Sequence[RankedRun]) -> list[str]:
    """Sentences about all runs, most important first."""
    if not runs:
        return ["There are no runs yet."]
    return [*_counts(runs), *_best(runs), *_val_above(runs), *_failures(runs), *_provisional(runs)]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _counts(runs: Sequence[RankedRun]) -> Iterator[str]:
    counts = Counter(run.diagnosis.verdict for run in runs)
    parts = [f"{counts[verdict]} {PHRASES[verdict]}" for verdict in VERDICTS if counts[verdict]]
    yield f"{_plural(len(runs), 'run')}: {_listed(parts)}."


def _best(runs: Sequence[RankedRun]) -> Iterator[str]:
    ranked = [(run, run.best) for run in runs if run.best is not None]
    if not ranked:
        yield "No run logged a validation accuracy, so none can be called best."
        return
    run, best = ranked[0]
    text = f"Best is {run.name} with {100 * best.accuracy:.1f} ± {100 * best.standard_error:.1f} % validation accuracy at epoch {best.epoch}"
    if run.last is not None and best.accuracy - run.last > best.standard_error:
        text += f"; its last epoch has only {100 * run.last:.1f} %"
    yield f"{text}."
    if len(ranked) > 1:
        yield _runner_up(best, *ranked[1], ties=_ties(ranked))


def _ties(ranked: Sequence[tuple[RankedRun, Best]]) -> int:
    """Runs whose distance to the best is within noise, the best not counted."""
    best = ranked[0][1]
    return sum(best.accuracy - other.accuracy < _noise(best, other) for _, other in ranked[1:])


def _noise(one: Best, other: Best) -> float:
    """Differences below this happen by chance in 19 of 20 cases (an upper bound: both saw the same images)."""
    return 1.96 * math.hypot(one.standard_error, other.standard_error)


def _runner_up(best: Best, run: RankedRun, other: Best, *, ties: int) -> str:
    difference, noise = best.accuracy - other.accuracy, _noise(best, other)
    by = f"{100 * difference:.1f} points"
    if ties:
        more = "" if ties == 1 else f", and so {'is' if ties == 2 else 'are'} {ties - 1} more"
        return (
            f"The runner-up, {run.name}, is within noise ({by} behind; {100 * noise:.1f} would be a difference){more}: more "
            "seeds of these would say which is better, more configurations would not."
        )
    return f"The runner-up, {run.name}, is {by} behind, more than the noise of {100 * noise:.1f} points."


def _of(part: int, total: int) -> str:
    return "" if part == total else f"in {part} "


def _val_above(runs: Sequence[RankedRun]) -> Iterator[str]:
    causes: Counter[str] = Counter()
    for run in runs:
        causes.update(str(f.evidence["cause"]) for f in run.diagnosis.findings if f.code == "FS201")
    total = sum(causes.values())
    if not total:
        return
    parts = []
    if causes["measurement"]:
        parts.append(
            f"{_of(causes['measurement'], total)}the clean train accuracy is not below it, so nothing is wrong there"
        )
    if causes["split"]:
        parts.append(
            f"{_of(causes['split'], total)}the clean train accuracy is below it too: check the split for leaked or easier images"
        )
    inferred = causes["lag"] + causes["unknown"]
    if inferred:
        parts.append(
            f"in {inferred} no clean train accuracy was logged, so the cause is only inferred"
        )
    yield f"Validation is above the running train accuracy in {_plural(total, 'run')}: {'; '.join(parts)}."


def _failures(runs: Sequence[RankedRun]) -> Iterator[str]:
    causes = Counter(run.failure_cause for run in runs if run.failure_cause)
    if causes:
        parts = [f"{count} {cause}" for cause, count in causes.most_common()]
        total = sum(causes.values())
        yield f"{_plural(total, 'run')} did not finish: {_listed(parts)}."


def _provisional(runs: Sequence[RankedRun]) -> Iterator[str]:
    count = sum(run.diagnosis.provisional for run in runs)
    if count:
        yield (
            f"{_plural(count, 'verdict')} {'is' if count == 1 else 'are'} provisional: more epochs, rows or metrics could "
            "change it."
        )


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
