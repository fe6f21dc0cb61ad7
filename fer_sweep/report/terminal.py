"""The report in a terminal: a table, then what was found in words."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fer_sweep.charts import BADGES
from fer_sweep.report.data import percent_se, points, short
from fer_sweep.report.model import Report, RunReport

_WIDE = 110
"""Below this many columns the hyperparameters share one column."""
_MAX_CONFIG_COLUMNS = 4


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
        console.print(_table(report, console.width))
    for run in report.runs:
        _print_findings(run, console)
    codes = sorted(
        {code for run in report.runs for code in run.flags},
        key=lambda code: (code == "FS001", code),
    )
    if codes:
        console.print()
        console.print(Text(f"What a flag means: fersweep rule {codes[0]}", style="bright_black"))


def _table(report: Report, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    separate = width >= _WIDE and len(report.varying) <= _MAX_CONFIG_COLUMNS
    table.add_column("run", overflow="fold", min_width=8)
    for name in report.varying if separate else ():
        table.add_column(escape(name), overflow="fold")
    if report.varying and not separate:
        table.add_column("config", overflow="fold")
    for name in ("epochs", "best val %", "at", "gap", "clean gap"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("flags", overflow="fold")
    for run in report.runs:
        values = [
            (name, short(run.config.get(name)))
            for name in report.varying
            if separate or name in run.config
        ]
        config = (
            [value for _, value in values]
            if separate
            else [" ".join(f"{n}={v}" for n, v in values)]
            if values
            else []
        )
        table.add_row(
            Text(run.history.run_name),
            *(Text(value) for value in config),
            str(run.history.epochs_done),
            percent_se(run),
            str(run.best.epoch) if run.best else "–",
            points(run.gap),
            points(run.clean_gap),
            badge(run),
            Text(" ".join(run.flags) or "–"),
        )
    return table


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
