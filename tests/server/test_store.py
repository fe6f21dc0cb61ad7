from __future__ import annotations

import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from fer_sweep.errors import ServerError
from fer_sweep.server import store as store_module
from fer_sweep.server.migrations import MIGRATIONS
from fer_sweep.server.store import Store
from fer_sweep.server.tables import metadata, projects

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:40 / {point} rw,relatime shared:1 - {kind} server:/export rw
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "local" / "server.sqlite"


def shape(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """Columns, indexes and links of every table, as SQLite itself sees them."""
    raw = sqlite3.connect(database)
    names = [row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {}
    for name in names:
        columns = sorted(row[1:] for row in raw.execute(f"PRAGMA table_info({name})"))
        links = sorted(row[2:] for row in raw.execute(f"PRAGMA foreign_key_list({name})"))
        indexes = [
            (origin, *(row[2] for row in raw.execute(f"PRAGMA index_info({index})")))
            for _, index, _, origin, _ in raw.execute(f"PRAGMA index_list({name})")
        ]
        found[name] = [*columns, *links, *sorted(indexes)]
    raw.close()
    return found


def test_a_migrated_file_is_what_the_tables_say(database: Path, tmp_path: Path) -> None:
    Store(database).close()
    declared = tmp_path / "declared.sqlite"
    engine = sa.create_engine(f"sqlite:///{declared}")
    metadata.create_all(engine)
    engine.dispose()

    assert shape(database) == shape(declared)


def test_the_key_is_one_wandb_accepts_private_and_stays_the_same(database: Path) -> None:
    first, second = Store(database), Store(database)
    first.close()
    second.close()

    assert re.fullmatch(r"\w{40}", first.api_key)
    assert second.api_key == first.api_key
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_two_databases_have_different_keys(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "a.sqlite"), Store(tmp_path / "b.sqlite")
    one.close()
    other.close()

    assert one.api_key != other.api_key


def test_an_older_file_is_migrated_and_keeps_its_rows(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(database)
    with store.writing() as db:
        db.execute(sa.insert(projects).values(entity="local", name="old", created_at=0.0))
    store.close()
    step = ("ALTER TABLE projects ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'",)
    monkeypatch.setattr(store_module, "MIGRATIONS", (*MIGRATIONS, step))

    store = Store(database)
    with store.reading() as db:
        rows = db.exec_driver_sql("SELECT name, colour FROM projects").all()
    store.close()

    assert [tuple(row) for row in rows] == [("old", "blue")]


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(database).close()
    before = shape(database)
    step = ("ALTER TABLE projects ADD COLUMN colour TEXT", "ALTER TABLE nonsense ADD COLUMN x TEXT")
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "MIGRATIONS", (*MIGRATIONS, step))
        with pytest.raises(ServerError, match="nonsense"):
            Store(database)

    assert shape(database) == before
    Store(database).close()


def test_a_file_of_a_newer_fersweep_is_refused(database: Path) -> None:
    Store(database).close()
    with sqlite3.connect(database) as raw:
        raw.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    raw.close()

    with pytest.raises(ServerError, match=r"server\.sqlite: written by a newer fersweep.*Upgrade"):
        Store(database)


def test_a_file_that_is_no_database_is_refused_and_kept(database: Path) -> None:
    database.parent.mkdir()
    database.write_text("my thesis\n" * 200)

    with pytest.raises(ServerError, match=r"not a database.*Move the file away"):
        Store(database)
    assert database.read_text() == "my thesis\n" * 200


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs"])
def test_network_file_systems_are_refused_before_anything_is_written(
    tmp_path: Path, kind: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(point=tmp_path / "shared", kind=kind))

    with pytest.raises(ServerError, match=f"network file system \\({kind}\\).*FERSWEEP_DIR"):
        Store(tmp_path / "shared" / "x" / "server.sqlite", mounts=mounts)
    assert not (tmp_path / "shared").exists()


def test_a_local_disk_mounted_inside_a_network_file_system_is_accepted(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    local = f"24 23 0:41 / {tmp_path}/shared/scratch rw - xfs /dev/sdb rw\n"
    mounts.write_text(MOUNTS.format(point=tmp_path / "shared", kind="nfs4") + local)

    Store(tmp_path / "shared" / "scratch" / "server.sqlite", mounts=mounts).close()


@pytest.mark.parametrize("parent", ["file", "proc"])
def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(
    tmp_path: Path, parent: str
) -> None:
    (tmp_path / "file").touch()
    folder = {"file": tmp_path / "file", "proc": Path("/proc/fersweep")}[parent]

    with pytest.raises(ServerError, match=f"{folder}.*cannot be created.*FERSWEEP_DIR"):
        Store(folder / "server.sqlite")


def test_a_full_disk_is_an_error_at_the_start(tmp_path: Path) -> None:
    script = f"""
import resource, signal
from pathlib import Path
from fer_sweep.errors import ServerError
from fer_sweep.server.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # as if the disk ended here
try:
    Store(Path({str(tmp_path / "server.sqlite")!r}))
except ServerError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert re.search(r"server\.sqlite: .*(full|disk I/O error).*Free some space", done.stdout)


def test_a_write_that_fails_leaves_nothing(database: Path) -> None:
    store = Store(database)

    def write_half() -> None:
        with store.writing() as db:
            db.execute(sa.insert(projects).values(entity="local", name="half", created_at=0.0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    with store.reading() as db:
        assert db.scalar(sa.select(sa.func.count()).select_from(projects)) == 0
    store.close()
