"""Fixtures shared by every test: isolation from the user's machine, and the real parts to test with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fer_sweep.data import FaceSet
    from fer_sweep.server.embedded import LocalServer
    from fer_sweep.tracking import Connection


def forget_wandb() -> None:
    """Make wandb read the environment anew; it does so once per process."""
    if "wandb" in sys.modules:
        import wandb

        wandb.teardown()


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the user's home, keys, settings or working folder."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "FERSWEEP_", "CUDA_VISIBLE")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb-cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb-data"))
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("COLUMNS", "LINES"):  # a parallel run sets them
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    forget_wandb()


@pytest.fixture
def local_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """Our server on a database of its own, with the environment that points wandb at it."""
    from fer_sweep.server.embedded import start_server

    with start_server(tmp_path / "server" / "server.sqlite") as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", server.api_key)
        yield server
        forget_wandb()  # while there is still a server for what the client has to say


@pytest.fixture
def connection(local_server: LocalServer) -> Connection:
    """A checked connection to the local server."""
    from fer_sweep.tracking import connect

    return connect(local_server.url, local_server.api_key, "local", "fersweep")


@pytest.fixture(scope="session")
def faces_small(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """320 procedural faces in FER2013's proportions."""
    from fer_sweep.data import load_faces

    return load_faces("faces:n=320,seed=1", cache=tmp_path_factory.mktemp("faces"))


@dataclass(frozen=True)
class CliResult:
    """What one command line left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., CliResult]:
    """Run ``fersweep ARGS`` in this process, through the same ``main`` a user calls."""
    from fer_sweep.cli.main import main

    def run(*args: str) -> CliResult:
        capfd.readouterr()
        code = main(list(args))
        out, err = capfd.readouterr()
        return CliResult(code, out, err)

    return run
