"""What every command needs first: settings, a server to talk to, and which sweep is meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fer_sweep.errors import ConfigError, ServerError

if TYPE_CHECKING:
    from fer_sweep.settings import Settings
    from fer_sweep.tracking import Connection, SweepRef

_LOCAL = "the local server"


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


def chosen_sweep(
    settings: Settings,
    text: str | None,
    *,
    entity: str | None = None,
    project: str | None = None,
) -> SweepRef:
    """The sweep the user named, else the one created last in this folder; asks no server.

    Args:
        settings: Gives the folder, the server and the project.
        text: The user's argument, or None.
        entity: ``--entity``, if it was given.
        project: ``--project``, if it was given.

    Returns:
        The sweep; its entity is empty for a bare id of a key whose default is not known yet.

    Raises:
        ConfigError: If none is named and none was created here, or the one meant is not where the command looks.
    """
    from fer_sweep.tracking import parse_sweep_ref

    if text is None:
        ref = _last_sweep(settings)
        _check_flags(ref, entity=entity, project=project)
        return ref
    ref = parse_sweep_ref(text, entity=settings.entity, project=settings.project)
    if "://" in text:
        _check_server(settings, f"sweep {text}", text)
    if settings.local and not settings.database.exists():
        raise ConfigError(
            f"{settings.home}: there is no sweep {ref.path}, nor any other. "
            "Run `fersweep create`, or name the right folder with --home."
        )
    return ref


def _last_sweep(settings: Settings) -> SweepRef:
    from fer_sweep.tracking import parse_sweep_ref

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
    _check_server(settings, f"{settings.home}: the last sweep, {sweep}", server)
    return parse_sweep_ref(sweep, entity="", project="")


def _check_flags(ref: SweepRef, *, entity: str | None, project: str | None) -> None:
    problems = [
        f"--{flag} {given}: the last sweep created here, {ref.path}, is not of that {flag}. "
        f"Name a sweep, or leave out --{flag}."
        for flag, given, actual in (
            ("entity", entity, ref.entity),
            ("project", project, ref.project),
        )
        if given and given != actual
    ]
    if problems:
        raise ConfigError(problems)


def _check_server(settings: Settings, what: str, url: str) -> None:
    """Refuse a sweep of another server than the command talks to.

    Args:
        settings: Where the command talks to.
        what: The sweep, for the message.
        url: Any address on its server, or ``local``.
    """
    there, here = _host(url), _host(_server_name(settings))
    if there == here:
        return
    if there == _LOCAL:
        fix = "Add --local"
    else:
        fix = "Add --cloud" if settings.local else "Set WANDB_BASE_URL to its server"
    talks = "is local" if settings.local else f"talks to {here}"
    raise ConfigError(f"{what}: lives on {there}; this command {talks}. {fix}, or name a sweep.")


def _host(url: str) -> str:
    """Where people see the server; a local one is the same whatever its port, which changes with each start."""
    from fer_sweep.tracking import app_url, is_loopback

    return _LOCAL if url == "local" or is_loopback(url) else urlsplit(app_url(url)).netloc


def _server_name(settings: Settings) -> str:
    return "local" if settings.local else settings.base_url
