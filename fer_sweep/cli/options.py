"""Options that several commands share, defined once so that they read and behave the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Local = Annotated[
    bool | None,
    typer.Option(
        "--local/--cloud",
        help="Our own server in --home, or W&B's. Default: the cloud if a key is configured, else local.",
        show_default=False,
    ),
]
Entity = Annotated[
    str | None, typer.Option("--entity", "-e", help="W&B user or team.", show_default=False)
]
Project = Annotated[
    str | None, typer.Option("--project", "-p", help="W&B project [default: fersweep].")
]
Home = Annotated[
    Path | None,
    typer.Option(help="Folder for the local database, logs and reports [default: .fersweep]."),
]
Db = Annotated[
    str | None,
    typer.Option(
        envvar="FERSWEEP_DB",
        metavar="URL",
        help="A PostgreSQL database instead of the file in --home: postgresql://user@host/name, with the "
        "password in PGPASSWORD. Files of runs stay in --home.",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="FER2013 as a CSV file or image folder, or `faces` for generated ones.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
SweepArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[SWEEP]",
        help="Sweep id, project/id, entity/project/id or URL [default: the one created last].",
        show_default=False,
    ),
]
