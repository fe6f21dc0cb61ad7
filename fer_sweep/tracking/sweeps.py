"""Sweeps on a W&B server: name them, create them, read them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import yaml

from fer_sweep.errors import ConfigError, TrackingError
from fer_sweep.tracking.connection import Connection

_NAME = re.compile(r"(?!\.\.?$)[^/\\#?%:\x00-\x1f\x7f]+")
"""What W&B and our server allow in a name; spaces are fine."""


@dataclass(frozen=True)
class SweepRef:
    """The full name of one sweep; without ``entity`` until the server has named the key's default."""

    entity: str
    project: str
    sweep_id: str

    @property
    def path(self) -> str:
        """``entity/project/id``, as W&B prints it."""
        return f"{self.entity}/{self.project}/{self.sweep_id}"

    def or_of(self, entity: str) -> SweepRef:
        """This sweep, of ``entity`` where it names none."""
        return self if self.entity else replace(self, entity=entity)


@dataclass(frozen=True)
class SweepInfo:
    """A sweep as the server knows it.

    Attributes:
        ref: Its full name.
        name: The display name, or the id where none was given.
        state: W&B's word in capitals: PENDING, RUNNING, PAUSED, FINISHED, CANCELED.
        method: grid, random or bayes.
        config: The parsed sweep YAML.
        run_count: Runs handed out so far, in any state.
        expected: Runs the whole sweep will have; None when it has no end of its own.
    """

    ref: SweepRef
    name: str
    state: str
    method: str
    config: dict[str, Any]
    run_count: int
    expected: int | None


def parse_sweep_ref(text: str, *, entity: str, project: str) -> SweepRef:
    """Read a sweep as users write it: ``id``, ``project/id``, ``entity/project/id`` or its URL.

    Raises:
        ConfigError: If it is none of these.

    Example:
        >>> parse_sweep_ref("https://wandb.ai/me/fer/sweeps/ab12?nw=1", entity="", project="").path
        'me/fer/ab12'
        >>> parse_sweep_ref("fer/ab12", entity="me", project="other").path
        'me/fer/ab12'
    """
    parts = _url_parts(text) if "://" in text else text.strip().strip("/").split("/")
    # W&B's own `entity/project/sweeps/id` is what people copy out of a URL without its host.
    if len(parts) == 4 and parts[2] == "sweeps":
        del parts[2]
    if not 1 <= len(parts) <= 3 or not all(_NAME.fullmatch(part) for part in parts):
        raise ConfigError(
            f"sweep {text!r}: not a sweep. Give its id, project/id, entity/project/id or its URL "
            "(…/entity/project/sweeps/id)."
        )
    defaults = [entity, project]
    return SweepRef(*defaults[: 3 - len(parts)], *parts)


def _url_parts(text: str) -> list[str]:
    try:
        path = urlsplit(text.strip()).path
    except ValueError:  # half an IPv6 address
        return []
    parts = [unquote(part) for part in path.split("/") if part]
    if len(parts) < 4 or parts[2] != "sweeps":
        return []
    return parts[:4]


def sweep_url(conn: Connection, ref: SweepRef) -> str:
    """The sweep's page in a browser."""
    path = f"{quote(ref.entity)}/{quote(ref.project)}/sweeps/{quote(ref.sweep_id)}"
    return f"{app_url(conn.base_url)}/{path}"


def app_url(base_url: str) -> str:
    """Where people look at what the API at ``base_url`` holds.

    Example:
        >>> app_url("https://api.wandb.ai"), app_url("http://127.0.0.1:8642")
        ('https://wandb.ai', 'http://127.0.0.1:8642')
    """
    if base_url.endswith("://api.wandb.ai"):
        return base_url.replace("://api.", "://")
    return base_url.replace("://api.", "://app.")


_UPSERT = """
mutation UpsertSweep($config: String, $description: String, $entityName: String, $projectName: String) {
  upsertSweep(input: {config: $config, description: $description, entityName: $entityName, projectName: $projectName}) {
    sweep { name project { name entity { name } } }
    configValidationWarnings
  }
}"""


def create_sweep(
    conn: Connection, config: Mapping[str, Any], *, on_warning: Callable[[str], None] | None = None
) -> SweepRef:
    """Register a sweep and return its name.

    Args:
        conn: Entity and project to create it in, unless ``config`` names others.
        config: The sweep YAML as a dictionary.
        on_warning: Called with each complaint the server has about a config it still accepts.

    Raises:
        TrackingError: If the server refuses the config.
    """
    data = conn.execute(
        _UPSERT,
        {
            # YAML, not JSON: a YAML reader takes JSON's 1e-05 for text.
            "config": yaml.safe_dump(dict(config), sort_keys=False),
            "description": config.get("description"),
            "entityName": config.get("entity") or conn.entity,
            "projectName": config.get("project") or conn.project,
        },
    )["upsertSweep"]
    for warning in data.get("configValidationWarnings") or []:
        if on_warning:
            on_warning(str(warning))
    sweep = data["sweep"]
    project = sweep.get("project") or {}
    return SweepRef(
        (project.get("entity") or {}).get("name") or conn.entity,
        project.get("name") or conn.project,
        sweep["name"],
    )


_FETCH = """
query GetSweep($name: String!, $project: String, $entity: String) {
  project(name: $project, entityName: $entity) {
    sweep(sweepName: $name) { id name displayName method state config runCount runCountExpected }
  }
}"""

_LIST = """
query GetSweeps($project: String!, $entity: String!) {
  project(name: $project, entityName: $entity) {
    sweeps(first: 50) { edges { node { name displayName state } } }
  }
}"""


def fetch_sweep(conn: Connection, ref: SweepRef) -> SweepInfo:
    """Read a sweep.

    Raises:
        TrackingError: If there is no such sweep; the text lists the sweeps the project has.
    """
    variables = {"name": ref.sweep_id, "project": ref.project, "entity": ref.entity}
    project = conn.execute(_FETCH, variables).get("project")
    if project is None:
        raise TrackingError(
            f"{ref.path}: entity {ref.entity} has no project {ref.project}, or your key may not see it. "
            "Check --entity and --project, or make a sweep with `fersweep create`."
        )
    if project.get("sweep") is None:
        raise TrackingError(f"{ref.path}: no such sweep. {_known_sweeps(conn, ref)}")
    return _sweep_info(ref, project["sweep"])


def _sweep_info(ref: SweepRef, sweep: Mapping[str, Any]) -> SweepInfo:
    config = yaml.safe_load(sweep.get("config") or "") or {}
    return SweepInfo(
        ref=ref,
        name=sweep.get("displayName") or config.get("name") or ref.sweep_id,
        state=str(sweep.get("state") or "").upper(),
        method=sweep.get("method") or config.get("method") or "",
        config=config,
        run_count=int(sweep.get("runCount") or 0),
        expected=_expected(config, sweep.get("runCountExpected")),
    )


def _expected(config: Mapping[str, Any], said: int | None) -> int | None:
    """The server's own count where it has one; else the cap, which is all a random search promises."""
    cap = config.get("run_cap")
    counts = [int(count) for count in (said, cap) if count]
    return min(counts) if counts else None


def _known_sweeps(conn: Connection, ref: SweepRef) -> str:
    project = (
        conn.execute(_LIST, {"project": ref.project, "entity": ref.entity}).get("project") or {}
    )
    nodes = [edge["node"] for edge in (project.get("sweeps") or {}).get("edges", [])]
    if not nodes:
        return f"{ref.entity}/{ref.project} has no sweeps; make one with `fersweep create`."
    shown = [f"{n['name']} ({n.get('displayName') or str(n['state']).lower()})" for n in nodes[:15]]
    more = f" and {len(nodes) - 15} more" if len(nodes) > 15 else ""
    return f"{ref.entity}/{ref.project} has: {', '.join(shown)}{more}."


def plain_config(text: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """W&B's ``{"name": {"value": v, "desc": …}}`` as ``{name: v}``, without the client's own keys."""
    wrapped = json.loads(text) if isinstance(text, str) else text or {}
    return {
        name: value["value"] if isinstance(value, dict) and "value" in value else value
        for name, value in wrapped.items()
        if not name.startswith("_")
    }
