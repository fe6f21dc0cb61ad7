"""The files of runs: a folder next to the database, one subfolder per run, nothing ever outside it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import mimetypes
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from fer_sweep.server.wire import RequestError, check_name, format_time

ROUTE = "/storage"
# In bytes. File systems take 255 and 4096, and an upload in progress needs a suffix.
_MAX_PART, _MAX_PATH = 230, 2000


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        root: The folder of all runs' files.
        entity: The project's entity.
        project: The project.
        run: The run's id.
    """

    root: Path
    entity: str
    project: str
    run: str

    @property
    def path(self) -> Path:
        """Where this run's files are."""
        names = [("entity", self.entity), ("project", self.project), ("run", self.run)]
        return self.root.joinpath(*(check_name(kind, name) for kind, name in names))

    def locate(self, name: str) -> Path:
        """The path of one file.

        Raises:
            RequestError: If the name leads out of the run's folder.
        """
        parts = PurePosixPath(name).parts
        _check_length(name)
        path = self.path.joinpath(*parts)
        if not parts or ".." in parts or "\\" in name or "\0" in name or name.startswith("/"):
            raise RequestError(
                f"file {name!r}: not a file of a run. Use a relative path without '..'.", status=400
            )
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise RequestError(f"file {name!r}: leads out of the run's folder.", status=400)
        return path

    def list_names(self, *, names: Collection[str] = (), pattern: str | None = None) -> list[str]:
        """Names of the run's files in order: all, exactly these, or those like an SQL pattern."""
        found = (path for path in self.path.rglob("*") if path.is_file() and not is_partial(path))
        every = sorted(path.relative_to(self.path).as_posix() for path in found)
        if names:
            return [name for name in every if name in names]
        if pattern:
            like = re.escape(pattern).replace("%", ".*").replace("_", ".")
            return [name for name in every if re.fullmatch(like, name)]
        return every

    def delete(self) -> None:
        """Remove all of the run's files."""
        shutil.rmtree(self.path, ignore_errors=True)


def _check_length(name: str) -> None:
    """Refuse what no file system can store, or what an upload in progress is called.

    Raises:
        RequestError: If the name is such.
    """
    parts = PurePosixPath(name).parts
    if any(part.startswith(".") and part.endswith(".part") for part in parts):
        raise RequestError(f"file {name!r}: a reserved name. Use another.", status=400)
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if not name.isprintable() or sum(sizes) > _MAX_PATH or max(sizes, default=0) > _MAX_PART:
        raise RequestError(
            f"file {name[:100]!r}: too long, or has characters that cannot be shown. Use at most {_MAX_PART} "
            f"bytes for each part and {_MAX_PATH} in all.",
            status=400,
        )


def partial_path(path: Path, token: str) -> Path:
    """Where an upload is collected until it is complete."""
    return path.with_name(f".{path.name}.{token}.part")


def is_partial(path: Path) -> bool:
    """Whether a file is an upload that has not been completed."""
    return path.name.startswith(".") and path.name.endswith(".part")


def sign(key: str, path: str) -> str:
    """The proof that this server gave out the URL of ``path``: uploads carry no other credentials."""
    return hmac.new(key.encode(), path.encode(), hashlib.sha256).hexdigest()[:32]


def file_url(base_url: str, key: str, folder: RunFolder, name: str) -> str:
    """The address to read or write one file at."""
    path = f"{ROUTE}/{folder.entity}/{folder.project}/{folder.run}/{name}"
    return f"{base_url}{quote(path)}?signature={sign(key, path)}"


class FileNode:
    """W&B's ``File``."""

    artifact = storage_path = upload_multipart_urls = None
    upload_headers: tuple[str, ...] = ()

    def __init__(self, folder: RunFolder, name: str, url: str) -> None:
        self.name = self.display_name = name
        self.direct_url = self.upload_url = url
        self._folder = folder
        self._path = folder.locate(name)

    def id(self) -> str:
        """The node id, which says where the file is."""
        parts = ("File", self._folder.entity, self._folder.project, self._folder.run, self.name)
        return base64.b64encode("\0".join(parts).encode()).decode()

    def url(self, upload: bool = False) -> str:
        """The address; the same for both directions."""
        return self.upload_url if upload else self.direct_url

    def size_bytes(self) -> int:
        """Size in bytes; 0 if it is not there yet."""
        return self._path.stat().st_size if self._path.exists() else 0

    def mimetype(self) -> str:
        """Guessed from the name."""
        return mimetypes.guess_type(self.name)[0] or ""

    def updated_at(self) -> str | None:
        """When it was last written."""
        return format_time(self._path.stat().st_mtime) if self._path.exists() else None

    def md5(self) -> str | None:
        """Base64 of the MD5 digest, as W&B compares it."""
        if not self._path.exists():
            return None
        with self._path.open("rb") as stream:
            digest = hashlib.file_digest(
                stream, lambda: hashlib.md5(usedforsecurity=False)
            ).digest()
        return base64.b64encode(digest).decode()

    digest = md5


def parse_file_id(root: Path, node_id: str) -> tuple[RunFolder, str]:
    """The run's folder and the name of the file that a node id stands for.

    Raises:
        RequestError: If the id is not one of ours.
    """
    try:
        kind, entity, project, run, name = base64.b64decode(node_id).decode().split("\0")
    except ValueError as error:
        raise RequestError(
            f"file {node_id!r}: not an id of this server. List the files again."
        ) from error
    if kind != "File":
        raise RequestError(f"file {node_id!r}: not the id of a file.")
    return RunFolder(root, entity, project, run), name
