"""The report in a terminal: a table, then what was found in words."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from fer_sweep.charts import BADGES
from fer_sweep.report.data import percent_se, points, short
from fer_sweep.report.model import Report, RunReport

_WIDE = 110
"""From this many columns on, a few hyperparameters get columns of their own."""
_MAX_CONFIG_COLUMNS = 4
_NUMBERS_WIDTH = 67
"""Columns taken by everything but the run's name."""


def print_report(report: Report, console: Console) -> None:
    """Print a report; colours, width and NO_COLOR are the console's business.

    Args:
        report: What to print.
        console: Where; plain text if it is no terminal.
    """
    console.print(Text(report.title, style="bold"))
    if report.url:
        console.print(Text(report.url, style="bright_black"))
    console.print()
    for sentence in report.summary:
        _bullet(console, Text("•"), Text(sentence))
    if report.runs:
        console.print()
        _print_table(report, console)
    for run in report.runs:
        _print_findings(run, console)
    codes = sorted(
        {code for run in report.runs for code in run.flags},
        key=lambda code: (code == "FS001", code),
    )
    if codes:
        console.print()
        console.print(Text(f"What a flag means: fersweep rule {codes[0]}", style="bright_black"))


def _print_table(report: Report, console: Console) -> None:
    """One line per run; what does not fit beside its numbers, flags and hyperparameters, goes below it."""
    if console.width >= _WIDE and len(report.varying) <= _MAX_CONFIG_COLUMNS:
        table = _table()
        for name in report.varying:
            table.add_column(escape(name), overflow="fold")
        table.add_column("flags", overflow="fold")
        for run in report.runs:
            cells = [Text(short(run.config.get(name))) for name in report.varying]
            table.add_row(*_numbers(run), *cells, Text(" ".join(run.flags) or "–"))
        console.print(table)
        return
    table = _table(name_width=max(console.width - _NUMBERS_WIDTH, 8))
    for run in report.runs:
        table.add_row(*_numbers(run))
    head, *rows = console.render_lines(table, pad=False)
    console.print(_line(head))
    for run, row in zip(report.runs, rows, strict=True):
        console.print(_line(row))
        values = [f"{n}={short(run.config[n])}" for n in report.varying if n in run.config]
        if run.flags or values:
            _bullet(console, Text(" "), Text(" ".join((*run.flags, *values)), style="bright_black"))


def _line(segments: list[Segment]) -> Text:
    return Text.assemble(*((segment.text, segment.style or "") for segment in segments))


def _table(name_width: int | None = None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("run", no_wrap=True, overflow="ellipsis", max_width=name_width)
    for name in ("epochs", "best val %", "at", "gap", "clean gap"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    return table


def _numbers(run: RunReport) -> list[Text]:
    return [
        Text(run.history.run_name),
        Text(str(run.history.epochs_done)),
        Text(percent_se(run)),
        Text(str(run.best.epoch) if run.best else "–"),
        Text(points(run.gap)),
        Text(points(run.clean_gap)),
        badge(run),
    ]


def badge(run: RunReport) -> Text:
    """Symbol and word of the verdict; a question mark if provisional."""
    verdict = run.diagnosis.verdict
    mark = "?" if run.diagnosis.provisional else ""
    return Text(f"{BADGES[verdict].symbol} {verdict.value}{mark}", style=BADGES[verdict].style)


def _print_findings(run: RunReport, console: Console) -> None:
    if not run.diagnosis.findings and run.failure is None:
        return
    console.print()
    console.print(Text.assemble((run.history.run_name, "bold"), "  ", badge(run)))
    if run.failure:
        _bullet(console, Text("  •"), Text(f"{run.failure.cause}: {run.failure.message}"))
    for finding in run.diagnosis.findings:
        _bullet(console, Text(f"  {finding.code}", style="bold"), Text(finding.message))
    for change in run.remedies:
        _bullet(console, Text("  next "), Text(str(change)))


def _bullet(console: Console, head: Text, body: Text) -> None:
    """A paragraph that hangs under its own start, not under its bullet."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(head, body)
    console.print(grid)
