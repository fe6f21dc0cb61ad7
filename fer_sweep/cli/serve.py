"""``fersweep serve``: keep the local server running for plain wandb code."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from fer_sweep.cli.options import Home

EXAMPLES = """\b
Example:
  fersweep serve --port 8642
Paste the two exports it prints into another shell, then run any wandb code there:
wandb sweep, wandb agent, wandb.Api()."""


def serve(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port [default: 8642, else any free one].")
    ] = None,
    home: Home = None,
) -> None:
    """Keep the local W&B-compatible server running, until Ctrl-C."""
    import logging

    from fer_sweep.server.embedded import start_server
    from fer_sweep.settings import load_settings

    settings = load_settings(local=True, home=home)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # what the server refuses
    with start_server(settings.database, port=port) as server:
        print(f"export WANDB_BASE_URL={server.url}")
        print(f"export WANDB_API_KEY={server.api_key}", flush=True)
        typer.echo(f"Serving {settings.database}. Ctrl-C stops.", err=True)
        threading.Event().wait()
