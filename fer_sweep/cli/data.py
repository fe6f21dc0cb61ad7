"""``fersweep data``: look at a data set before training on it, or generate one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fer_sweep.cli.options import Data, Home, Json

if TYPE_CHECKING:
    from fer_sweep.data import FaceSet

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Check a data set, or generate one."
)


@app.command("info", epilog="Example: fersweep data info --data fer2013.csv")
def info(
    data: Data = None,
    drop_duplicates: Annotated[
        bool, typer.Option(help="Leave out training copies of validation and test images.")
    ] = False,
    fer_plus: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="FER+ votes (fer2013new.csv): check that they belong to the CSV's rows, and how far they agree.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Read a data set and say what is in it: counts per split and class, duplicates, oddities."""
    from fer_sweep.cli.progress import progress
    from fer_sweep.data import load_faces
    from fer_sweep.settings import load_settings

    settings = load_settings(home=home, data=data)
    with progress("Reading") as step:
        faces = load_faces(
            settings.data,
            cache=settings.home / "cache",
            fer_plus=fer_plus,
            drop_duplicates=drop_duplicates,
            progress=step,
        )
    if as_json:
        print(json.dumps(_summary(faces)))
    else:
        _print_summary(faces)


@app.command("faces", epilog="Example: fersweep data faces faces/fer2013.csv --n 6000 --seed 1")
def faces(
    output: Annotated[Path, typer.Argument(help="The CSV file to write, in Kaggle's format.")],
    n: Annotated[
        int, typer.Option(min=70, help="Images in all: 80 % train, 10 % val, 10 % test.")
    ] = 6000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same faces.")] = 0,
    difficulty: Annotated[
        float | None, typer.Option(min=0, max=1, help="0 clean studio shots, 1 as hard as FER2013.")
    ] = None,
    layout: Annotated[
        Literal["fer2013", "icml"], typer.Option(help="Which of Kaggle's two CSV spellings.")
    ] = "fer2013",
) -> None:
    """Generate a FER2013-shaped CSV of procedural faces: real format, no download, no licence."""
    import tempfile

    from fer_sweep.cli.progress import progress
    from fer_sweep.data import load_faces
    from fer_sweep.data.faces import write_csv

    spec = f"faces:n={n},seed={seed}" + ("" if difficulty is None else f",difficulty={difficulty}")
    with progress("Drawing") as step, tempfile.TemporaryDirectory() as cache:
        drawn = load_faces(spec, cache=Path(cache), progress=step)
        write_csv(drawn, output, layout=layout)
    typer.echo(f"{output}: {len(drawn.labels)} faces.", err=True)


def _summary(faces: FaceSet) -> dict[str, object]:
    from fer_sweep.data import CLASSES, SPLITS

    counts = {
        split: {
            name: int((faces.labels[faces.indices(split)] == k).sum())
            for k, name in enumerate(CLASSES)
        }
        for split in SPLITS
    }
    return {
        "source": faces.source,
        "key": faces.key,
        "images": len(faces.labels),
        "splits": counts,
        "notes": list(faces.notes),
    }


def _print_summary(faces: FaceSet) -> None:
    from rich.table import Table

    from fer_sweep.cli.console import stdout_console
    from fer_sweep.data import CLASSES, SPLITS

    table = Table()
    for heading in ("class", *SPLITS):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    labels = {split: faces.labels[faces.indices(split)] for split in SPLITS}
    for k, name in enumerate(CLASSES):
        table.add_row(name, *(str(int((labels[split] == k).sum())) for split in SPLITS))
    table.add_section()
    table.add_row("all", *(str(len(labels[split])) for split in SPLITS))
    with stdout_console() as console:
        console.print(f"{faces.source}  (content key {faces.key})", markup=False)
        console.print(table)
        for note in faces.notes:
            console.print(f"- {note}", markup=False)
