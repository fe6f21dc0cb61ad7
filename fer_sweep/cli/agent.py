"""``fersweep agent``: run a sweep's trials on every GPU, or core, of this machine."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from fer_sweep.cli.options import Data, Entity, Home, Json, Local, Project, SweepArgument

if TYPE_CHECKING:
    from fer_sweep.settings import Settings

EXAMPLES = """\b
Examples:
  fersweep agent --gpus 0,1 --data fer2013.csv
  fersweep agent --workers 2 --data faces
  fersweep agent me/fer/ab12cd34 --count 3
Ctrl-C once finishes the trials in hand, twice stops them, three times kills."""


def agent(
    sweep: SweepArgument = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            help="GPUs to use: 0,1, all, UUIDs, or none for the CPU [default: all there are, else the CPU].",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Workers in all [default: one per GPU, else one per core]."),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many trials, over all slots.")
    ] = None,
    data: Data = None,
    drop_duplicates: Annotated[
        bool, typer.Option(help="Leave out training copies of validation and test images.")
    ] = False,
    as_json: Json = False,
    local: Local = None,
    entity: Entity = None,
    project: Project = None,
    home: Home = None,
) -> None:
    """Run trials until the sweep is done, keeping every slot busy."""
    from fer_sweep.agent.supervisor import AgentOptions, run_agent
    from fer_sweep.cli.session import chosen_sweep, connected
    from fer_sweep.settings import load_settings

    settings = load_settings(local=local, entity=entity, project=project, data=data, home=home)
    ref = chosen_sweep(settings, sweep, entity=entity, project=project)
    with connected(settings) as connection:
        report = run_agent(
            AgentOptions(
                connection,
                ref.or_of(connection.entity),
                settings.home,
                data=settings.data,
                drop_duplicates=drop_duplicates,
                gpus=gpus,
                workers=workers,
                count=count,
            ),
            read_data=partial(_read_data, settings, drop_duplicates),
        )
    if as_json:
        print(json.dumps(report.to_dict()))
    else:
        typer.echo("\n".join(report.lines), err=True)
    raise typer.Exit(report.exit_code)


def _read_data(settings: Settings, drop_duplicates: bool) -> int:
    """Read the data into the cache once, before several workers would; what is wrong shows at once.

    Returns:
        The number of labelled training images.
    """
    from fer_sweep.cli.progress import progress
    from fer_sweep.data import load_faces

    with progress("Reading data") as step:
        faces = load_faces(
            settings.data,
            cache=settings.home / "cache",
            drop_duplicates=drop_duplicates,
            progress=step,
        )
    return len(faces.indices("train"))
