"""What every command needs first: settings, a server to talk to, and which sweep is meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fer_sweep.errors import ConfigError, ServerError

if TYPE_CHECKING:
    from fer_sweep.settings import Settings
    from fer_sweep.tracking import Connection, SweepRef


@contextmanager
def connected(settings: Settings) -> Iterator[Connection]:
    """Yield a checked connection; in local mode our server runs in this process meanwhile.

    Raises:
        ServerError: If the local server cannot start.
        TrackingError: If the server cannot be reached or refuses the key.
    """
    from fer_sweep.tracking import connect

    if not settings.local:
        yield connect(settings.base_url, settings.api_key, settings.entity, settings.project)
        return
    from fer_sweep.server.embedded import start_server

    with start_server(settings.database) as server:
        yield connect(server.url, server.api_key, settings.entity, settings.project)


def remember_sweep(settings: Settings, ref: SweepRef) -> None:
    """Make this sweep the default of the next commands in this folder."""
    record = {"sweep": ref.path, "server": _server_name(settings)}
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        temporary = settings.last_sweep_file.with_suffix(".tmp")
        temporary.write_text(json.dumps(record), encoding="utf-8")
        temporary.replace(settings.last_sweep_file)
    except OSError as error:
        raise ServerError(
            f"{settings.home}: cannot remember the sweep ({error.strerror}). "
            f"Make the folder writable, or name the sweep: {ref.path}"
        ) from error


def chosen_sweep(settings: Settings, text: str | None, entity: str) -> SweepRef:
    """The sweep the user named, else the one created last in this folder.

    Args:
        settings: Gives the folder, the server and the project.
        text: The user's argument, or None.
        entity: The connection's entity, for bare ids.

    Raises:
        ConfigError: If none is named and none was created here, or the last one lives on another server.
    """
    from fer_sweep.tracking import parse_sweep_ref

    return parse_sweep_ref(text or _last_sweep(settings), entity=entity, project=settings.project)


def _last_sweep(settings: Settings) -> str:
    try:
        record = json.loads(settings.last_sweep_file.read_text(encoding="utf-8"))
        sweep, server = str(record["sweep"]), str(record["server"])
    except FileNotFoundError:
        raise ConfigError(
            f"{settings.home}: no sweep was created here yet. "
            "Run `fersweep create`, or name one: `fersweep agent entity/project/id`."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{settings.last_sweep_file}: unreadable ({error}). Delete it, or name the sweep."
        ) from error
    if server != _server_name(settings):
        flag = "--local" if server == "local" else "--cloud"
        raise ConfigError(
            f"{settings.home}: the last sweep, {sweep}, lives on {server}, but this command talks to "
            f"{_server_name(settings)}. Add {flag}, or name a sweep."
        )
    return sweep


def _server_name(settings: Settings) -> str:
    return "local" if settings.local else settings.base_url
