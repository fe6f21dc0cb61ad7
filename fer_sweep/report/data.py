"""A report as JSON, CSV and Markdown.

JSON: accuracies are fractions, losses nats. A value that was not logged, or was NaN or Infinity, is ``null``; the epochs at which NaN
or Infinity was really logged are under ``not_finite``. ``schema_version`` grows when a key changes its meaning or goes away.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fer_sweep.diagnosis import Finding
from fer_sweep.report.model import Report, RunReport


def to_json(report: Report) -> str:
    """The whole report, curves included, as indented JSON that every parser accepts."""
    content = {
        "schema_version": report.schema_version,
        "title": report.title,
        "url": report.url,
        "state": report.state,
        "created_at": report.created_at,
        "sweep_config": report.sweep_config,
        "summary": report.summary,
        "verdicts": {verdict.value: count for verdict, count in report.counts.items()},
        "varying": report.varying,
        "runs": [_run(run) for run in report.runs],
    }
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _run(run: RunReport) -> dict[str, Any]:
    history, diagnosis = run.history, run.diagnosis
    return {
        "run_id": history.run_id,
        "run_name": history.run_name,
        "url": history.url,
        "state": history.state,
        "tags": history.tags,
        "config": run.config,
        "verdict": diagnosis.verdict.value,
        "provisional": diagnosis.provisional,
        "epochs": history.epochs_done,
        "rows_read": history.rows_read,
        "rows_expected": history.rows_expected,
        "best": None if run.best is None else vars(run.best),
        "gap": run.gap,
        "clean_gap": run.clean_gap,
        "n_train": history.n_train,
        "n_val": history.n_val,
        "sizes_assumed": history.sizes_assumed,
        "findings": [_finding(finding) for finding in diagnosis.findings],
        "failure": None if run.failure is None else vars(run.failure),
        "notes": diagnosis.notes,
        "curves": history.columns,
        "not_finite": history.not_finite,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {**vars(finding), "remedies": [vars(change) for change in finding.remedies]}


def _plain(value: Any) -> Any:
    """Only what JSON has: NaN and Infinity become null, what it cannot say becomes text."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)


def to_csv(report: Report) -> str:
    """One row per run; accuracies are fractions, empty means not known.

    Text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    names = sorted({name for run in report.runs for name in run.config})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = [
        "run_id",
        "run_name",
        "state",
        "verdict",
        "provisional",
        "epochs",
        "best_val_accuracy",
        "best_val_accuracy_se",
    ]
    head += ["best_epoch", "gap", "clean_gap", "flags", "failure", "url"]
    writer.writerow([*head, *(_cell(f"config.{name}") for name in names)])
    for run in report.runs:
        best = run.best
        row: list[Any] = [
            run.history.run_id,
            run.history.run_name,
            run.history.state,
            run.diagnosis.verdict.value,
        ]
        row += [run.diagnosis.provisional, run.history.epochs_done]
        row += [best.accuracy, best.standard_error, best.epoch] if best else [None, None, None]
        row += [
            run.gap,
            run.clean_gap,
            " ".join(run.flags),
            run.failure.cause if run.failure else None,
            run.history.url,
        ]
        writer.writerow(
            [_cell(value) for value in [*row, *(run.config.get(name) for name in names)]]
        )
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def to_markdown(report: Report) -> str:
    """A summary, a table and the findings, for an issue or a notebook."""
    title = _text(report.title)
    lines = [f"# {title}", "", *(f"- {_text(sentence)}" for sentence in report.summary), ""]
    head = [
        "run",
        *(_text(name) for name in report.varying),
        "epochs",
        "best val",
        "at",
        "gap",
        "clean gap",
        "verdict",
        "flags",
    ]
    lines += [_row(head), _row(["---"] * len(head))]
    for run in report.runs:
        config = [_text(short(run.config.get(name))) for name in report.varying]
        numbers = [
            str(run.history.epochs_done),
            percent_se(run),
            str(run.best.epoch) if run.best else "–",
        ]
        numbers += [points(run.gap), points(run.clean_gap)]
        lines.append(
            _row(
                [
                    _text(run.history.run_name),
                    *config,
                    *numbers,
                    verdict_text(run),
                    " ".join(run.flags) or "–",
                ]
            )
        )
    lines += ["", *_markdown_findings(report.runs)]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_findings(runs: Sequence[RunReport]) -> list[str]:
    lines: list[str] = []
    for run in runs:
        if not run.diagnosis.findings and run.failure is None:
            continue
        lines.append(f"**{_text(run.history.run_name)}** – {verdict_text(run)}")
        lines.append("")
        if run.failure:
            lines.append(f"- {_text(run.failure.cause)}: {_text(run.failure.message)}")
        lines += [f"- {f.code} {f.name}: {_text(f.message)}" for f in run.diagnosis.findings]
        lines += [f"- next: {_text(str(change))}" for change in run.remedies]
        lines.append("")
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Text that Markdown shows as it is: no table breaks, no links, no HTML."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", flat).replace("<", "&lt;")


def percent_se(run: RunReport) -> str:
    """Best validation accuracy with its standard error, in percent."""
    return (
        f"{100 * run.best.accuracy:.1f} ± {100 * run.best.standard_error:.1f}" if run.best else "–"
    )


def points(gap: float | None) -> str:
    """A difference of accuracies in percentage points, with its sign."""
    return "–" if gap is None else f"{100 * gap:+.1f}".replace("-", "−")


def verdict_text(run: RunReport) -> str:
    """The verdict, marked if provisional."""
    return f"{run.diagnosis.verdict.value}{' (provisional)' if run.diagnosis.provisional else ''}"


def short(value: Any, limit: int = 40) -> str:
    """A hyperparameter as a person writes it: 0.0001, not 1e-04; long ones cut.

    Example:
        >>> short(0.0003), short(1e-05), short(None), short([1, 2])
        ('0.0003', '1e-05', '–', '[1, 2]')
    """
    if value is None:
        return "–"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
