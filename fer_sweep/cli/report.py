"""``fersweep report``: pull a sweep's histories, diagnose them, and say it in the form asked for."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fer_sweep.cli.options import Entity, Home, Json, Local, Project, SweepArgument
from fer_sweep.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from fer_sweep.history import History
    from fer_sweep.report import Report
    from fer_sweep.settings import Settings
    from fer_sweep.tracking import SweepRef

EXAMPLES = """\b
Examples:
  fersweep report
  fersweep report --json
  fersweep report me/fer/ab12cd34 --map train/accuracy=acc
  fersweep report --fail-on error   (exit code 3 if a run has such a finding)"""


def report(
    sweep: SweepArgument = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one row per run on stdout.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the report as Markdown on stdout.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Where the HTML page goes [default: HOME/reports/ID.html].")
    ] = None,
    metric_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OURS=THEIRS",
            help="Name of a metric in runs that fersweep did not make; repeatable.",
        ),
    ] = None,
    project_runs: Annotated[
        bool, typer.Option("--project-runs", help="All runs of the project instead of one sweep.")
    ] = False,
    fail_on: Annotated[
        Literal["info", "warn", "error"] | None,
        typer.Option(help="Exit with 3 if a finding is at least this severe.", show_default=False),
    ] = None,
    local: Local = None,
    entity: Entity = None,
    project: Project = None,
    home: Home = None,
) -> None:
    """Say which runs overfit, which sit with validation above train, and whether that matters."""
    from fer_sweep.cli.session import chosen_sweep
    from fer_sweep.history import parse_metric_map
    from fer_sweep.report import write_html
    from fer_sweep.settings import load_settings

    if as_json + as_csv + as_markdown > 1:
        raise ConfigError("report: --json, --csv and --markdown exclude each other. Choose one.")
    if project_runs and sweep:
        raise ConfigError(f"report: --project-runs and a sweep (got {sweep}) exclude each other.")
    names = parse_metric_map(metric_map or [])
    settings = load_settings(local=local, entity=entity, project=project, home=home)
    chosen = None if project_runs else chosen_sweep(settings, sweep, entity=entity, project=project)
    result, page_name = _build(settings, chosen, names)
    page = html or settings.home / "reports" / f"{page_name}.html"
    write_html(result, page)
    _print(result, as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    quiet = as_json or as_csv or as_markdown
    print(
        f"{'' if quiet else chr(10)}HTML report: {page}", file=sys.stderr if quiet else sys.stdout
    )
    if fail_on and _has_finding(result, fail_on):
        raise typer.Exit(ExitCode.TRIALS_FAILED)


def _build(settings: Settings, sweep: SweepRef | None, names: dict[str, str]) -> tuple[Report, str]:
    """Pull the runs of a sweep, or of the project, and diagnose them; also a name for the page."""
    from fer_sweep.cli.progress import progress
    from fer_sweep.cli.session import connected
    from fer_sweep.pull import pull_project, pull_sweep
    from fer_sweep.report import build_report
    from fer_sweep.tracking import fetch_sweep, sweep_url

    histories: list[History]
    with connected(settings) as connection, progress("Reading histories") as step:

        def told(done: int, total: int) -> None:
            step(done / max(total, 1), f"{done} of {total} runs")

        if sweep is None:
            histories = pull_project(connection, metric_map=names, progress=told)
            title = f"{connection.entity}/{connection.project}"
            about = {"title": title, "url": "", "state": "", "config": {}}
            return build_report(_linked(settings, histories), sweep=about), connection.project
        ref = sweep.or_of(connection.entity)
        info = fetch_sweep(connection, ref)
        histories = pull_sweep(connection, ref, metric_map=names, progress=told)
        url = "" if settings.local else sweep_url(connection, ref)
    title = info.name if info.name == ref.sweep_id else f"{info.name} ({ref.sweep_id})"
    about = {"title": title, "url": url, "state": info.state, "config": info.config}
    return build_report(_linked(settings, histories), sweep=about), ref.sweep_id


def _linked(settings: Settings, histories: list[History]) -> list[History]:
    """The local server ends with this command, so links to it would lead nowhere."""
    return [replace(history, url="") for history in histories] if settings.local else histories


def _print(result: Report, *, as_json: bool, as_csv: bool, as_markdown: bool) -> None:
    from fer_sweep.report import print_report, to_csv, to_json, to_markdown

    if as_json:
        print(to_json(result))
    elif as_csv:
        print(to_csv(result), end="")
    elif as_markdown:
        print(to_markdown(result))
    else:
        from fer_sweep.cli.console import stdout_console

        with stdout_console() as console:
            print_report(result, console)


def _has_finding(result: Report, at_least: str) -> bool:
    order = ("info", "warn", "error")
    wanted = order[order.index(at_least) :]
    return any(
        finding.severity.value in wanted
        for run in result.runs
        for finding in run.diagnosis.findings
    )
