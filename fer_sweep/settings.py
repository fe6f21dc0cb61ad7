"""Where things are and whom to talk to: built once per command, then only read.

Precedence: flag, then environment, then ``fersweep.toml`` in the working folder, then W&B's own
settings (netrc, for the key), then the default.
"""

from __future__ import annotations

import netrc
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fer_sweep.errors import ConfigError

CLOUD_URL = "https://api.wandb.ai"
CONFIG_FILE = "fersweep.toml"
_FILE_KEYS = ("entity", "project", "data", "home", "local", "base_url")


@dataclass(frozen=True)
class Settings:
    """The resolved settings of one command.

    Attributes:
        home: Folder for the local database, logs, checkpoints, caches and reports.
        data: A CSV file, an image folder, or ``faces`` / ``faces:n=6000,seed=0`` for procedural faces;
            None when nothing was configured.
        local: True when our own server is used: asked for, or no W&B key is configured.
        base_url: The W&B server when not local.
        api_key: The key for ``base_url``; empty when local.
        entity: User or team; empty means the key's default entity.
        project: W&B project.
    """

    home: Path
    data: str | None
    local: bool
    base_url: str
    api_key: str
    entity: str
    project: str

    @property
    def database(self) -> Path:
        """The local server's SQLite file."""
        return self.home / "server.sqlite"

    @property
    def last_sweep_file(self) -> Path:
        """Remembers the sweep that ``create`` registered last."""
        return self.home / "last_sweep.json"


def load_settings(
    *,
    local: bool | None = None,
    entity: str | None = None,
    project: str | None = None,
    data: str | None = None,
    home: Path | None = None,
    folder: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Resolve the settings of one command.

    Args:
        local: ``--local`` (True), ``--cloud`` (False) or neither (None: local when no key is found).
        entity: ``--entity``.
        project: ``--project``.
        data: ``--data``.
        home: ``--home``.
        folder: Where ``fersweep.toml`` is looked for; the working folder by default.
        environ: The environment; the process's own by default.

    Raises:
        ConfigError: If ``fersweep.toml`` is malformed or has unknown keys or values of another type, or the cloud was asked for
            and no key is configured.
    """
    env = os.environ if environ is None else environ
    file = _read_file((folder or Path.cwd()) / CONFIG_FILE)
    base_url = (env.get("WANDB_BASE_URL") or str(file.get("base_url") or CLOUD_URL)).rstrip("/")
    api_key = env.get("WANDB_API_KEY") or _netrc_key(base_url, env)
    if local is None:
        local = _flag(env.get("FERSWEEP_LOCAL"), "FERSWEEP_LOCAL")
    if local is None:
        local = bool(file["local"]) if "local" in file else not api_key
    if not local and not api_key:
        raise ConfigError(
            f"{base_url}: no API key is configured. Run `wandb login`, set WANDB_API_KEY, "
            "or use --local for a server of your own with no account."
        )
    return Settings(
        home=Path(
            home or env.get("FERSWEEP_DIR") or str(file.get("home") or ".fersweep")
        ).absolute(),
        data=data or env.get("FERSWEEP_DATA") or _text(file.get("data")),
        local=local,
        base_url="" if local else base_url,
        api_key="" if local else api_key,
        entity=entity
        or env.get("WANDB_ENTITY")
        or _text(file.get("entity"))
        or ("local" if local else ""),
        project=project or env.get("WANDB_PROJECT") or _text(file.get("project")) or "fersweep",
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _flag(text: str | None, where: str) -> bool | None:
    if text is None or text == "":
        return None
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ConfigError(f"{where}: must be 1 or 0 (got {text!r}). Unset it to decide by the key.")


def _read_file(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error}). Fix or remove the file.") from error
    problems = [
        f"{path}: {problem}"
        for key in sorted(values)
        for problem in [_file_problem(key, values[key])]
        if problem
    ]
    if problems:
        raise ConfigError(problems)
    return values


def _file_problem(key: str, value: object) -> str:
    if key not in _FILE_KEYS:
        return f"{key}: unknown setting. Known: {', '.join(_FILE_KEYS)}."
    if key == "local":
        return "" if isinstance(value, bool) else f"local: must be true or false (got {value!r})."
    return "" if isinstance(value, str) else f"{key}: must be text in quotes (got {value!r})."


def _netrc_key(base_url: str, env: Mapping[str, str]) -> str:
    """The key that `wandb login` left in the netrc file for this server."""
    path = Path(env.get("NETRC") or Path(env.get("HOME") or "~").expanduser() / ".netrc")
    try:
        entry = netrc.netrc(path).authenticators(urlsplit(base_url).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return ""
    return entry[2] if entry and entry[2] else ""
