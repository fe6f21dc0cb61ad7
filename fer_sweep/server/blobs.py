"""The files of artifacts, stored once per entity under the digest of what is in them.

A checkpoint that did not change from one version of an artifact to the next takes no more space, and a
client is told not to send it again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path

from fer_sweep.server.files import sign
from fer_sweep.server.wire import RequestError, check_name

ROUTE = "/artifacts"
_FOLDER = "#artifacts"
"""Beside the folders of the entities, which cannot have a ``#`` in their names."""


@dataclass(frozen=True)
class BlobFolder:
    """The artifact files of one entity.

    Attributes:
        root: The folder of all files of the server.
        entity: The entity.
    """

    root: Path
    entity: str

    def locate(self, digest: str) -> Path:
        """Where the content with this digest (base64 of MD5) is, or would be."""
        name = hex_digest(digest)
        return self.root / _FOLDER / check_name("entity", self.entity) / name[:2] / name

    def has(self, digest: str) -> bool:
        """Whether the content with this digest is here."""
        return self.locate(digest).is_file()

    def read(self, digest: str) -> bytes:
        """The content with this digest.

        Raises:
            RequestError: If it was never uploaded.
        """
        try:
            return self.locate(digest).read_bytes()
        except FileNotFoundError as error:
            raise RequestError(
                f"artifact file {digest}: was never uploaded. Log it again."
            ) from error

    def url(self, base_url: str, key: str, digest: str) -> str:
        """The address to read or write the content with this digest at."""
        path = f"{ROUTE}/{self.entity}/{hex_digest(digest)}"
        return f"{base_url}{path}?signature={sign(key, path)}"

    def delete(self, digest: str) -> None:
        """Remove the content with this digest."""
        self.locate(digest).unlink(missing_ok=True)


def hex_digest(digest: str) -> str:
    """Turn W&B's form of an MD5 digest into the one in addresses and file names.

    Raises:
        RequestError: If it is no MD5 digest.

    Example:
        >>> hex_digest("1B2M2Y8AsgTpgAmY7PhCfg==")
        'd41d8cd98f00b204e9800998ecf8427e'
    """
    try:
        raw = base64.b64decode(digest, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != hashlib.md5(usedforsecurity=False).digest_size:
        raise RequestError(
            f"artifact file: {digest!r} is not the base64 of an MD5 digest.", status=400
        )
    return raw.hex()


def base64_digest(digest: str) -> str:
    """The inverse of `hex_digest`.

    Raises:
        RequestError: If it is no MD5 digest.

    Example:
        >>> base64_digest("d41d8cd98f00b204e9800998ecf8427e")
        '1B2M2Y8AsgTpgAmY7PhCfg=='
    """
    try:
        encoded = base64.b64encode(bytes.fromhex(digest)).decode()
    except ValueError as error:
        raise RequestError(f"artifact file {digest!r}: no such file.", status=404) from error
    hex_digest(encoded)
    return encoded


def check_content(path: Path, digest: str) -> None:
    """Compare what was uploaded with its digest.

    Raises:
        RequestError: If something else arrived than was announced.
    """
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    if found.hexdigest() != hex_digest(digest):
        raise RequestError(
            f"artifact file {digest}: the upload has other content than announced. Log it again.",
            status=400,
        )
