"""Backup and restore: everything comes back, and nothing is lost when it cannot."""

from __future__ import annotations

import json
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from fer_sweep.errors import ConfigError, ServerError
from fer_sweep.server.backup import restore_backup, write_backup
from fer_sweep.server.embedded import LocalServer, start_server

INIT = 'mutation { upsertBucket(input: {name: "r", modelName: "p", host: "h"}) { inserted } }'
Cli = Callable[..., Any]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with a run of ten rows and a file."""
    database = tmp_path / "old" / "server.sqlite"
    with start_server(database, port=0) as server:
        log(server, 0, 10)
        put(server, "media/a.txt", b"hello")
    return database


def log(server: LocalServer, first: int, count: int) -> None:
    auth = ("api", server.api_key)
    httpx.post(server.url + "/graphql", json={"query": INIT}, auth=auth).raise_for_status()
    rows = [json.dumps({"_step": n}) for n in range(first, first + count)]
    body = {"files": {"wandb-history.jsonl": {"offset": first, "content": rows}}}
    path = server.url + "/files/local/p/r/file_stream"
    httpx.post(path, json=body, auth=auth).raise_for_status()


def put(server: LocalServer, name: str, content: bytes) -> None:
    url = f"{server.url}/storage/local/p/r/{name}"
    httpx.put(url, content=content, auth=("api", server.api_key)).raise_for_status()


def count_rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(db.execute("SELECT count(*) FROM lines").fetchone()[0])


def test_everything_comes_back_elsewhere(database: Path, tmp_path: Path, run_cli: Cli) -> None:
    saved = run_cli("backup", str(tmp_path / "b.tar"), "--home", str(database.parent))
    assert (saved.code, saved.out) == (0, f"{tmp_path / 'b.tar'}: 1 runs, 1 files.\n")

    new = tmp_path / "new" / "server.sqlite"
    assert run_cli("restore", str(tmp_path / "b.tar"), "--home", str(new.parent)).code == 0

    assert count_rows(new) == 10
    assert new.stat().st_mode & 0o077 == 0  # it holds the key
    with start_server(new, port=0) as server:
        url = server.url + "/storage/local/p/r/media/a.txt"
        assert httpx.get(url, auth=("api", server.api_key)).content == b"hello"
        log(server, 10, 5)
    assert count_rows(new) == 15


def test_a_backup_taken_while_a_run_logs_is_one_moment(tmp_path: Path) -> None:
    database = tmp_path / "server.sqlite"
    done = threading.Event()
    with start_server(database, port=0) as server:
        log(server, 0, 1)

        def keep_logging() -> None:
            number = 1
            while not done.is_set():
                log(server, number, 20)
                number += 20

        writer = threading.Thread(target=keep_logging)
        writer.start()
        counts = []
        for number in range(5):
            write_backup(database, tmp_path / f"{number}.tar")
            restore_backup(tmp_path / f"{number}.tar", tmp_path / f"{number}" / "server.sqlite")
            counts.append(count_rows(tmp_path / f"{number}" / "server.sqlite"))
        done.set()
        writer.join()
    assert all(count % 20 == 1 for count in counts)  # no request is half in it
    assert counts == sorted(counts)


def test_nothing_is_overwritten_unasked(database: Path, tmp_path: Path, run_cli: Cli) -> None:
    home, target = str(database.parent), tmp_path / "b.tar"
    assert run_cli("backup", str(target), "--home", home).code == 0
    before = target.read_bytes()

    again = run_cli("backup", str(target), "--home", home)
    assert again.code == 2
    assert "--force" in again.err
    refused = run_cli("restore", str(target), "--home", home)
    assert refused.code == 2
    assert "there is a database already" in refused.err
    assert target.read_bytes() == before
    assert count_rows(database) == 10


def test_a_forced_restore_keeps_the_old_database_aside(database: Path, tmp_path: Path) -> None:
    write_backup(database, tmp_path / "b.tar")
    with start_server(database, port=0) as server:
        log(server, 10, 7)

    content = restore_backup(tmp_path / "b.tar", database, replace=True)

    assert count_rows(database) == 10
    assert content.kept is not None
    assert count_rows(content.kept / "server.sqlite") == 17
    kept = content.kept / "server.sqlite.files" / "local" / "p" / "r" / "media" / "a.txt"
    assert kept.read_bytes() == b"hello"


def test_a_database_in_use_is_not_replaced(database: Path, tmp_path: Path) -> None:
    write_backup(database, tmp_path / "b.tar")
    with start_server(database, port=0) as server:
        log(server, 10, 1)
        with pytest.raises(ServerError, match=r"a server is using it.*Stop"):
            restore_backup(tmp_path / "b.tar", database, replace=True)
        log(server, 11, 1)
    assert count_rows(database) == 12


def damage_database(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.index(b"SQLite format 3")
    content[start + 4096 : start + 40000] = b"\xa5" * 35904
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def add_member(path: Path, info: tarfile.TarInfo) -> None:
    with tarfile.open(path, "a") as tar:
        tar.addfile(info)


def add_outsider(path: Path) -> None:
    add_member(path, tarfile.TarInfo("../outside.txt"))


def add_link(path: Path) -> None:
    info = tarfile.TarInfo("files/link")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc"
    add_member(path, info)


def make_newer(path: Path) -> None:
    folder = path.parent / "unpacked"
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
    with closing(sqlite3.connect(folder / "server.sqlite")) as db:
        db.execute("UPDATE meta SET value = '999' WHERE key = 'schema_version'")
        db.commit()
    with tarfile.open(path, "w") as tar:
        for name in ("fersweep-backup.json", "server.sqlite", "files"):
            tar.add(folder / name, name)


def replace_by_text(path: Path) -> None:
    path.write_text("no tar file")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damage_database, "damaged|malformed"),
        (cut, "not a complete backup"),
        (add_outsider, "not a complete backup"),
        (add_link, "not a complete backup"),
        (make_newer, "newer fersweep"),
        (replace_by_text, "not a complete backup"),
    ],
    ids=["damaged", "cut", "outsider", "link", "newer", "text"],
)
def test_a_bad_backup_changes_nothing(
    database: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    write_backup(database, tmp_path / "b.tar")
    spoil(tmp_path / "b.tar")
    before = sorted(path.name for path in database.parent.iterdir())

    with pytest.raises((ConfigError, ServerError), match=said):
        restore_backup(tmp_path / "b.tar", database, replace=True)

    assert count_rows(database) == 10
    assert sorted(path.name for path in database.parent.iterdir()) == before
    assert not (database.parent.parent / "outside.txt").exists()


def test_a_restore_that_fails_at_the_last_step_puts_the_old_database_back(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_backup(database, tmp_path / "b.tar")
    with start_server(database, port=0) as server:
        log(server, 10, 7)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if target == database and path.parent.name.startswith(".fersweep-"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ServerError, match=r"No space left.*Nothing was changed"):
        restore_backup(tmp_path / "b.tar", database, replace=True)

    assert count_rows(database) == 17
    file = database.with_name("server.sqlite.files") / "local" / "p" / "r" / "media" / "a.txt"
    assert file.read_bytes() == b"hello"
