"""The small forms of W&B's wire: node ids, names, times, and refusals that the client shows its user."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import string
from datetime import UTC, datetime

_FORBIDDEN_IN_NAMES = re.compile(r"[/\\#?%:\x00-\x1f\x7f\ud800-\udfff]")
MAX_NAME_LENGTH = 128
_MAX_NAME_BYTES = 255  # what a file system takes


class RequestError(Exception):
    """A request this server refuses; the text is what the client shows.

    Args:
        message: ``where: what (got …). how to fix.``
        status: HTTP status. 200 lets wandb raise at once; a 404 tells agents that their sweep is gone.
    """

    def __init__(self, message: str, *, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


def encode_id(*parts: str) -> str:
    """Build an opaque node id.

    Example:
        >>> decode_id(encode_id("Run", "v1", "ab12"))
        ['Run', 'v1', 'ab12']
    """
    return base64.b64encode(":".join(parts).encode()).decode()


def decode_id(node_id: str) -> list[str]:
    """Split a node id made by `encode_id`.

    Raises:
        RequestError: If the text is no id of ours.
    """
    try:
        return base64.b64decode(node_id, validate=True).decode().split(":")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise RequestError(
            f"id {node_id!r}: not an id of this server. Fetch the object again."
        ) from error


def random_name() -> str:
    """Make a name for a run, sweep or agent: 8 lower-case letters and digits, as W&B's own are."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def check_name(kind: str, name: str) -> str:
    """Return ``name`` if it can be part of a URL and of a file path.

    Raises:
        RequestError: If it cannot.
    """
    if (
        not 1 <= len(name) <= MAX_NAME_LENGTH
        or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES
        or _FORBIDDEN_IN_NAMES.search(name)
        or name in (".", "..")
    ):
        raise RequestError(
            f"{kind} {name!r}: not a valid name. Use 1 to {MAX_NAME_LENGTH} characters, none of / \\ # ? % :"
        )
    return name


def format_time(seconds: float) -> str:
    """Format a time as W&B does: UTC, whole seconds, no zone.

    Example:
        >>> format_time(0)
        '1970-01-01T00:00:00'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
