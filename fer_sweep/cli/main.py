"""``fersweep``: puts the commands together and turns every error into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from fer_sweep import __version__
from fer_sweep.cli import agent, backup, create, data, keys, report, rules, serve
from fer_sweep.errors import ConfigError, ExitCode, FersweepError

app = typer.Typer(
    name="fersweep",
    no_args_is_help=True,
    rich_markup_mode=None,  # --help must not load rich: it is what shell users wait for
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sweep, run and diagnose facial-expression networks with W&B, online or with no account at all.",
    epilog="Start: fersweep create --dry-run; then fersweep create, fersweep agent --data faces, fersweep report.",
)
app.command("create", epilog=create.EXAMPLES)(create.create)
app.command("agent", epilog=agent.EXAMPLES)(agent.agent)
app.command("report", epilog=report.EXAMPLES)(report.report)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("rules")(rules.rules)
app.command("rule", epilog=rules.EXAMPLES)(rules.rule)
app.command("backup", epilog=backup.BACKUP_EXAMPLES)(backup.backup)
app.command("restore", epilog=backup.RESTORE_EXAMPLES)(backup.restore)
app.add_typer(keys.app, name="keys")
app.add_typer(data.app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"fersweep {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; nothing a user does wrong ends in a traceback."""
    try:
        app(args=list(sys.argv[1:] if argv is None else argv), prog_name="fersweep")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except FersweepError as error:
        for problem in error.problems if isinstance(error, ConfigError) else [str(error)]:
            print(f"fersweep: error: {problem}", file=sys.stderr)
        return error.exit_code
    except Exception as bug:  # noqa: BLE001 - the last line of defence: a bug of ours, said as such
        if os.environ.get("FERSWEEP_DEBUG"):
            traceback.print_exc()
        hint = "Set FERSWEEP_DEBUG=1 to see where, and please report it."
        print(f"fersweep: bug: {type(bug).__name__}: {bug}. {hint}", file=sys.stderr)
        return ExitCode.TOOL_ERROR
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
