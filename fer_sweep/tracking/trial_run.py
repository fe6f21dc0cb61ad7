"""Runs through the real wandb client: the one place that imports it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fer_sweep.errors import TrackingError
from fer_sweep.tracking.client import check_client
from fer_sweep.tracking.connection import Connection, is_loopback
from fer_sweep.tracking.runs import is_asked_to_stop
from fer_sweep.tracking.sweeps import SweepRef

if TYPE_CHECKING:
    import wandb

_CLOUD_HOSTS = ("api.wandb.ai",)
_OWN_SERVER_SEND_S = 1.0
"""The client sends live rows every 15 s. A server of our own has no rate limit, and early stopping and the
live page need the rows of a short trial while it still runs."""

_THIS_MACHINE = ("127.0.0.1", "localhost")

EXIT_KILLED = 255
"""The exit code that W&B shows as state killed."""

_INHERITED_RUN_SETTINGS = (
    "WANDB_MODE",
    "WANDB_RUN_ID",
    "WANDB_RESUME",
    "WANDB_NAME",
    "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH",
    "WANDB_PROJECT",
    "WANDB_ENTITY",
    "WANDB_DISABLED",
)
"""Of a user's shell, these would send a trial to another run, or nowhere."""


def client_environment(
    conn: Connection, folder: Path, environ: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a process whose runs belong to ``conn``.

    Args:
        conn: Where the runs go. The key travels only here, never on a command line.
        folder: Where the client keeps its files.
        environ: The environment to start from.
    """
    env = {name: value for name, value in environ.items() if name not in _INHERITED_RUN_SETTINGS}
    env.update(
        WANDB_BASE_URL=conn.base_url,
        WANDB_API_KEY=conn.api_key,
        WANDB_DIR=str(folder),
        WANDB_SILENT="true",
        WANDB_CONSOLE="off",
        WANDB_DISABLE_GIT="true",
        WANDB_DISABLE_CODE="true",
    )
    if is_loopback(conn.base_url):
        env.update(dict.fromkeys(("NO_PROXY", "no_proxy"), _without_proxy(env)))
    return env


def _without_proxy(env: Mapping[str, str]) -> str:
    """The user's exceptions and this machine: no proxy leads back to it."""
    named = env.get("no_proxy") or env.get("NO_PROXY") or ""
    hosts = [host.strip() for host in named.split(",") if host.strip()]
    return ",".join(dict.fromkeys((*hosts, *_THIS_MACHINE)))


class TrialRun:
    """One run of the real client, open for rows until ``finish``."""

    def __init__(self, run: wandb.Run) -> None:
        self._run = run
        self.run_id = str(run.id)
        self.name = str(run.name or run.id)
        self.url = str(run.url or "")
        self.config: dict[str, Any] = {
            name: value for name, value in dict(run.config).items() if not name.startswith("_")
        }

    def log(self, row: Mapping[str, Any]) -> None:
        """Log one epoch in one call, so that train and validation share a history row."""
        with _translated():
            self._run.log(dict(row))

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Set summary values; they replace what the rows left there."""
        with _translated():
            self._run.summary.update(dict(values))

    def is_asked_to_stop(self) -> bool:
        """Whether the server wants this run stopped; asked once.

        Raises:
            TrackingError: If it does not answer.
        """
        with _translated():
            import wandb

            url = self._run.settings.base_url
            key = wandb.Api(overrides={"base_url": url}).api_key or ""
        conn = Connection(url.rstrip("/"), key, self._run.entity, self._run.project)
        return is_asked_to_stop(conn, self.run_id)

    def finish(self, exit_code: int) -> None:
        """Send what is left and close the run: 0 finished, 255 killed, anything else failed."""
        with _translated():
            self._run.finish(exit_code=exit_code)


def start_run(
    conn: Connection,
    ref: SweepRef,
    run_id: str,
    parameters: Mapping[str, Any],
    *,
    folder: Path,
    resume: bool = False,
    on_stop: Callable[[], None] | None = None,
) -> TrialRun:
    """Open the run that the server handed out.

    Args:
        conn: The server.
        ref: The sweep the run belongs to.
        run_id: As handed out.
        parameters: Its plain parameters.
        folder: Where the client keeps its files.
        resume: Continue a run that has rows already.
        on_stop: Called, from the client's thread, when the run is stopped on its web page.

    Raises:
        TrackingError: If the client is unsupported, or cannot open the run.
    """
    check_client()
    import wandb

    settings = _supported(
        sweep_id=ref.sweep_id,
        root_dir=str(folder),
        stop_fn=on_stop or _ignore_stop,
        x_file_stream_transmit_interval=None if _is_cloud(conn) else _OWN_SERVER_SEND_S,
        **_QUIET,
    )
    with _translated():
        run = wandb.init(
            entity=ref.entity,
            project=ref.project,
            id=run_id,
            config=dict(parameters),
            resume="allow" if resume else None,
            settings=settings,
        )
        _define_metrics(run)
    return TrialRun(run)


def join_run() -> TrialRun:
    """Open the run that a plain ``wandb agent`` prepared in the environment.

    Raises:
        TrackingError: If the client is unsupported, or cannot open the run.
    """
    check_client()
    import wandb

    with _translated():
        run = wandb.init(settings=_supported(**_QUIET))
        _define_metrics(run)
    return TrialRun(run)


def scan_history(conn: Connection, run_path: str) -> Iterator[dict[str, Any]]:
    """Read a history with the real client, which knows W&B's parquet exports."""
    check_client()
    import wandb

    with _translated():
        api = wandb.Api(overrides={"base_url": conn.base_url}, api_key=conn.api_key)
        yield from api.run(run_path).scan_history()


_QUIET = {
    "silent": True,
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "x_save_requirements": False,
}


def _supported(**settings: Any) -> wandb.Settings:
    """Settings of the installed client; those that came or went between releases are left out."""
    import wandb

    known = wandb.Settings.model_fields
    return wandb.Settings(
        **{name: value for name, value in settings.items() if name in known and value is not None}
    )


def _define_metrics(run: wandb.Run) -> None:
    """Plot against epochs.

    ``best/val_accuracy`` is logged as a running maximum and left alone: ``summary="max"`` would turn its
    summary into ``{"max": v}``, which neither a sweep's search nor a filter reads as a number.
    """
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")


def _is_cloud(conn: Connection) -> bool:
    return urlsplit(conn.base_url).hostname in _CLOUD_HOSTS


def _ignore_stop() -> None:
    """By default the client would interrupt the main thread."""


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the client's errors into ours; the caller's own errors pass through."""
    import wandb

    try:
        yield
    except wandb.Error as error:
        url = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
        raise TrackingError(
            f"{url}: the wandb client failed: {str(error).strip().splitlines()[0] if str(error) else error!r}. "
            "Check that the server is up; the trial's local files are under the client's wandb folder."
        ) from error
    except ConnectionError as error:
        raise TrackingError(
            "wandb-core, the client's background process, is gone. Something signalled it (Slurm's and "
            "systemd's SIGTERM do); the trial cannot be recorded by this process any more."
        ) from error
