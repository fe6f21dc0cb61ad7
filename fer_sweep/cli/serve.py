"""``fersweep serve``: keep the local server running for plain wandb code."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from fer_sweep.cli.options import Db, Home
from fer_sweep.errors import ConfigError

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
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Any but this machine's own needs `fersweep keys create`."
        ),
    ] = "127.0.0.1",
    public_url: Annotated[
        str,
        typer.Option(
            help="Address that others reach it at, behind a proxy: https://fersweep.lab.example.",
            show_default=False,
        ),
    ] = "",
    max_file_mb: Annotated[
        int, typer.Option(min=1, help="Largest file that a run may upload, MiB.")
    ] = 5120,
    requests_per_s: Annotated[
        float,
        typer.Option(
            min=0, help="Requests per second that one key may make for long; 0: no limit."
        ),
    ] = 200,
    db: Db = None,
) -> None:
    """Keep the local W&B-compatible server running, until Ctrl-C."""
    import logging
    import sys

    from fer_sweep.server.access import is_loopback
    from fer_sweep.server.embedded import start_server
    from fer_sweep.server.journal import Once
    from fer_sweep.server.limits import Limits
    from fer_sweep.settings import load_settings

    settings = load_settings(local=True, home=home)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # what the server refuses
    logging.getLogger().handlers[0].addFilter(Once())
    # Many threads answer at once, and each switch between them may wait this long. With 64 agents on 2 loaded cores
    # the 99th percentile of a heartbeat fell from 640-1010 ms (Python's 5 ms) to 160-410 ms (3 pairs of 20 s).
    sys.setswitchinterval(0.0005)
    limits = Limits(file_bytes=max_file_mb * 1024**2, requests_per_s=requests_per_s or None)
    public_url = _check_url(public_url)
    with start_server(
        db or settings.database,
        files=settings.home / "files" if db else None,  # else beside the database
        port=port,
        host=host,
        limits=limits,
        public_url=public_url,
    ) as server:
        print(f"export WANDB_BASE_URL={public_url or server.url}")
        if public_url or not is_loopback(host):
            print("# WANDB_API_KEY is what `fersweep keys create` printed", flush=True)
        else:
            print(f"export WANDB_API_KEY={server.api_key}", flush=True)
        who = "sign in with a key" if public_url or not is_loopback(host) else "as this user"
        typer.echo(f"Pages, in a browser ({who}): {public_url or server.url}", err=True)
        typer.echo(f"Serving {server.database}. Ctrl-C stops.", err=True)
        threading.Event().wait()


def _check_url(url: str) -> str:
    """The public address without a slash at its end.

    Raises:
        ConfigError: If it is none.
    """
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
        raise ConfigError(
            f"serve: --public-url: not an address (got {url!r}). Write https://fersweep.lab.example."
        )
    return url.rstrip("/")
