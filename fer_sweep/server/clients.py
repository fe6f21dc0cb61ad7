"""Which wandb clients this server was tested with; others are served too, unless they are known to fail."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from fer_sweep.server.wire import RequestError

LOG = logging.getLogger(__name__)
OLDEST, NEWEST = (0, 26), (0, 31)
TOO_OLD = (0, 22)
"""Before it, trials of a sweep die in ``wandb.init`` (0.19.11, the newest that was tried)."""
_VERSION = re.compile(r"(\d+)\.(\d+)")
_PUBLIC_API = "W&B Public Client "
"""How ``wandb.Api`` begins its ``User-Agent``; wandb-core, which runs speak through, hides its version."""


def check_agent(user_agent: str) -> None:
    """Judge the client by its ``User-Agent``, if that has a version.

    Raises:
        RequestError: If it is known to fail.
    """
    if user_agent.startswith(_PUBLIC_API):
        check_version(user_agent.removeprefix(_PUBLIC_API))


def check_config(document: str | None) -> None:
    """Judge the client by what it notes in its run's config.

    Raises:
        RequestError: If it is known to fail.
    """
    if document and "cli_version" in document:
        check_version(_read_version(document))


def check_version(version: str) -> None:
    """Refuse a client that is known to fail, warn of one that was not tested.

    Raises:
        RequestError: If it is known to fail.
    """
    numbers = _VERSION.match(version)
    if numbers is None:
        return
    number = int(numbers[1]), int(numbers[2])
    tested = f"wandb>={_dotted(OLDEST)},<{NEWEST[0]}.{NEWEST[1] + 1}"
    if number < TOO_OLD:
        raise RequestError(
            f"client: wandb {version} does not work with fersweep's local server. "
            f"Install one that does: pip install '{tested}'."
        )
    if not OLDEST <= number <= NEWEST:
        LOG.warning(
            "client wandb %s was not tested with this server (%s was): it may ask for things not served.",
            version,
            tested,
            extra={"once": ("client", version)},
        )


def _read_version(document: str) -> str:
    try:
        config: Any = json.loads(document)
        return str(config["_wandb"]["value"]["cli_version"])
    except (ValueError, KeyError, TypeError):
        return ""


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
