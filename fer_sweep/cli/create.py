"""``fersweep create``: build or read a sweep, check it, register it, keep its YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_sweep.cli.options import Entity, Home, Json, Local, Project

if TYPE_CHECKING:
    from fer_sweep.settings import Settings
    from fer_sweep.space import SweepFlags

EXAMPLES = """\b
Examples:
  fersweep create --dry-run
  fersweep create sweeps/quick.yaml --epochs 5
  fersweep create --arch cnn4_bn,resnet18 --lr 1e-4..1e-2 --method bayes --run-cap 20"""


def _values(text: str) -> Any:
    return typer.Option(help=text, show_default=False)


def create(
    file: Annotated[
        Path | None,
        typer.Argument(help="A sweep YAML; flags change what it says.", show_default=False),
    ] = None,
    arch: Annotated[str | None, _values("Networks: cnn4_bn,resnet18")] = None,
    lr: Annotated[str | None, _values("Learning rates: 1e-4..1e-2 or 0.001,0.01")] = None,
    batch_size: Annotated[str | None, _values("Batch sizes: 64,128")] = None,
    dropout: Annotated[str | None, _values("Dropout: 0,0.3")] = None,
    weight_decay: Annotated[str | None, _values("Weight decay: 0,1e-4")] = None,
    augment: Annotated[str | None, _values("Augmentation: none,flip,readme,medium")] = None,
    optimizer: Annotated[str | None, _values("Optimizers: adam,adamw,sgd")] = None,
    label_smoothing: Annotated[str | None, _values("Label smoothing: 0,0.1")] = None,
    lr_schedule: Annotated[str | None, _values("Schedules: constant,cosine")] = None,
    train_size: Annotated[str | None, _values("Training images per run: 1000; 0 is all")] = None,
    epochs: Annotated[str | None, _values("Epochs per run: 20")] = None,
    seed: Annotated[str | None, _values("Seeds: 0,1,2")] = None,
    method: Annotated[str | None, _values("grid, random or bayes")] = None,
    run_cap: Annotated[int | None, _values("Most runs of the sweep")] = None,
    early_terminate: Annotated[
        bool | None,
        typer.Option(
            "--early-terminate/--no-early-terminate", help="Hyperband.", show_default=False
        ),
    ] = None,
    name: Annotated[str | None, _values("Name of the sweep")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the YAML here.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the YAML and what it would do; register nothing."),
    ] = False,
    as_json: Json = False,
    local: Local = None,
    entity: Entity = None,
    project: Project = None,
    home: Home = None,
) -> None:
    """Register a W&B sweep. `a,b` are values, `a..b` is a range; with no arguments, a quick sweep."""
    from fer_sweep.settings import load_settings
    from fer_sweep.space import describe, dump_sweep

    flags: SweepFlags = {
        "arch": arch,
        "lr": lr,
        "batch_size": batch_size,
        "dropout": dropout,
        "weight_decay": weight_decay,
        "augment": augment,
        "optimizer": optimizer,
        "label_smoothing": label_smoothing,
        "lr_schedule": lr_schedule,
        "train_size": train_size,
        "epochs": epochs,
        "seed": seed,
        "method": method,
        "run_cap": run_cap,
        "name": name,
        "early_terminate": early_terminate,
    }
    config = _checked_config(file, flags)
    places = {"entity": entity, "project": project}
    config.update({key: flag for key, flag in places.items() if flag and key in config})
    summary = describe(config)
    text = dump_sweep(config, comment="\n".join(summary.lines))
    if output is not None:
        _write(output, text)
    if dry_run:
        print(
            _json(config, summary=summary.lines) if as_json else text, end="\n" if as_json else ""
        )
        return
    settings = load_settings(local=local, entity=entity, project=project, home=home)
    ref, url, kept = _register(settings, config, text)
    if as_json:
        print(_json(config, sweep=ref, url=url, yaml=str(kept), summary=summary.lines))
        return
    typer.echo("\n".join(summary.lines), err=True)
    seen = f" Its page: {url}" if url else " To see it in a browser: fersweep serve"
    typer.echo(f"Its YAML: {kept}. Next: fersweep agent.{seen}", err=True)
    print(ref)


def _checked_config(file: Path | None, flags: SweepFlags) -> dict[str, Any]:
    """The sweep config the user asked for.

    Raises:
        ConfigError: With everything that is wrong; what is only odd is said on stderr.
    """
    from fer_sweep.space import build_sweep, check_problems, lint, load_sweep, override

    config = build_sweep(**flags) if file is None else override(load_sweep(file), **flags)
    problems = lint(config, where="sweep" if file is None else str(file))
    for problem in problems:
        if problem.severity == "warning":
            typer.echo(f"fersweep: warning: {problem}", err=True)
    check_problems(problems)
    return config


def _register(
    settings: Settings, config: dict[str, Any], text: str
) -> tuple[str, str | None, Path]:
    """Register the sweep; return its path, its page if that lasts, and where its YAML is kept."""
    from fer_sweep.cli.session import connected, remember_sweep
    from fer_sweep.tracking import create_sweep, sweep_url

    with connected(settings) as connection:
        ref = create_sweep(
            connection,
            config,
            on_warning=lambda warning: typer.echo(f"fersweep: warning: {warning}", err=True),
        )
        # The server inside this command ends with it, and so would a link to its pages.
        url = None if settings.local else sweep_url(connection, ref)
    kept = settings.home / "sweeps" / f"{ref.sweep_id}.yaml"
    remember_sweep(settings, ref)
    _write(kept, text)
    return ref.path, url, kept


def _write(path: Path, text: str) -> None:
    from fer_sweep.errors import ConfigError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot write the sweep's YAML ({error.strerror}). Choose another place."
        ) from error


def _json(config: dict[str, Any], **facts: object) -> str:
    return json.dumps({**facts, "config": config})
