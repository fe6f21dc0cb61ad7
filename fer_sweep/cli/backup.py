"""``fersweep backup`` and ``fersweep restore``: everything the local server knows, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_sweep.cli.options import Home

BACKUP_EXAMPLES = """\b
Example:
  fersweep backup lab-2026-01-31.tar"""
RESTORE_EXAMPLES = """\b
Example:
  fersweep restore lab-2026-01-31.tar --home /srv/fersweep"""


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar file to write.")],
    home: Home = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:
    """Write the local server's database and all run files into one file, also while it is in use."""
    from fer_sweep.server.backup import write_backup
    from fer_sweep.settings import load_settings

    content = write_backup(load_settings(local=True, home=home).database, file, replace=force)
    print(f"{file}: {content.runs} runs, {content.files} files.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `backup` wrote.")],
    home: Home = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the database there; the old one is kept aside.")
    ] = False,
) -> None:
    """Put a backup in place of the local server's database. Stop the server first."""
    from fer_sweep.server.backup import restore_backup
    from fer_sweep.settings import load_settings

    database = load_settings(local=True, home=home).database
    content = restore_backup(file, database, replace=force)
    print(f"{database}: {content.runs} runs, {content.files} files.")
    if content.kept is not None:
        print(f"What was there before is in {content.kept}.")
