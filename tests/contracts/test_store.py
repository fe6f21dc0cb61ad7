"""What every database must do for the server, against real ones."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from fer_sweep.errors import ServerError
from fer_sweep.server import agents, runs, streams, sweeps, tables
from fer_sweep.server import store as store_module
from fer_sweep.server.curves import read_curves
from fer_sweep.server.migrations import MIGRATIONS
from fer_sweep.server.projects import ensure_project
from fer_sweep.server.store import Store, is_busy
from fer_sweep.server.tables import Record

NOW = 1_800_000_000.25
GRID = {
    "method": "grid",
    "metric": {"name": "acc", "goal": "maximize"},
    "parameters": {"a": {"values": list(range(8))}, "b": {"values": list(range(5))}},
}
RANDOM = {"method": "random", "run_cap": 40, "parameters": GRID["parameters"]}

Open = Callable[[], Store]


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty database is."""
    if request.param == "sqlite":
        return tmp_path / "server.sqlite"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def open_store(address: Path | str, tmp_path: Path) -> Iterator[Open]:
    """Opens the same database again, as another process would."""
    opened: list[Store] = []

    def open_again() -> Store:
        opened.append(Store(address, files=tmp_path / "files"))
        return opened[-1]

    yield open_again
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Open) -> Store:
    return open_store()


def create_run(store: Store, name: str = "r1", **given: Any) -> None:
    with store.writing() as db:
        runs.upsert_run(db, {"modelName": "p", "name": name, "host": "here"} | given, now=NOW)


def the_run(db: sa.Connection, name: str = "r1") -> Record:
    run = runs.find_run(db, ensure_project(db, None, "p", now=NOW).id, name)
    assert run is not None
    return run


def send(
    store: Store, lines: Sequence[str], offset: int, file: str = "wandb-history.jsonl"
) -> None:
    with store.writing() as db:
        body = {"files": {file: {"offset": offset, "content": list(lines)}}}
        streams.receive(db, the_run(db), body, now=NOW)


def read(store: Store, stream: str = streams.HISTORY, **limits: Any) -> list[str]:
    with store.reading() as db:
        return streams.read_lines(db, the_run(db), stream, **limits)


def create_sweep(store: Store, config: dict[str, Any]) -> str:
    with store.writing() as db:
        given = {"projectName": "p", "config": json.dumps(config)}
        name: str = sweeps.upsert_sweep(db, given, now=NOW).name
        return name


def at_once(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run jobs in threads that all start at the same moment."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> Any:
        barrier.wait(10)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result(60) for future in [pool.submit(run, job) for job in jobs]]


class TestTransactions:
    def test_readers_see_a_write_only_when_it_is_complete(self, store: Store) -> None:
        count = sa.select(sa.func.count()).select_from(tables.projects)
        with store.writing() as db:
            ensure_project(db, None, "p", now=NOW)
            with store.reading() as other:
                assert other.scalar(count) == 0
        with store.reading() as db:
            assert db.scalar(count) == 1

    def test_a_reader_sees_one_moment_while_others_write(self, store: Store) -> None:
        count = sa.select(sa.func.count()).select_from(tables.runs)
        create_run(store, "r1")
        with store.reading() as db:
            before = db.scalar(count)
            create_run(store, "r2")
            assert db.scalar(count) == before == 1

    def test_a_write_that_fails_leaves_nothing(self, store: Store) -> None:
        def write_half() -> None:
            with store.writing() as db:
                ensure_project(db, None, "half", now=NOW)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            write_half()
        with store.reading() as db:
            assert db.scalar(sa.select(sa.func.count()).select_from(tables.projects)) == 0

    def test_what_a_writer_has_read_stays_true_until_it_has_written(self, open_store: Open) -> None:
        stores = [open_store(), open_store()]
        create_run(stores[0])

        def add_one(store: Store) -> None:
            for _ in range(10):
                with store.writing() as db:
                    run = the_run(db)
                    runs.update_run(db, run, offers=run.offers + 1)

        at_once([lambda store=store: add_one(store) for store in stores * 3])  # type: ignore[misc]
        with stores[0].reading() as db:
            assert the_run(db).offers == 60

    def test_a_writer_that_waits_too_long_is_told_that_the_database_is_busy(
        self, open_store: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fer_sweep.server.sqlite.BUSY_TIMEOUT_S", 0.05)
        monkeypatch.setattr("fer_sweep.server.postgresql._PATIENCE", {"lock_timeout": "50"})
        one, other = open_store(), open_store()

        def write() -> None:
            with other.writing():
                pass

        with one.writing(), pytest.raises(DBAPIError) as caught:
            write()
        assert is_busy(caught.value)
        write()


class TestSchema:
    def test_a_migrated_database_is_what_the_tables_say(self, store: Store) -> None:
        with store.reading() as db:
            found = sa.inspect(db)
            names = set(found.get_table_names())
            assert names == set(tables.metadata.tables)
            for table in tables.metadata.tables.values():
                columns = {
                    column["name"]: (column["nullable"], column["type"]._type_affinity)
                    for column in found.get_columns(table.name)
                }
                assert columns == {
                    column.name: (
                        column.nullable,
                        column.type.dialect_impl(db.dialect)._type_affinity,
                    )
                    for column in table.columns
                }, table.name
                indexes = {
                    index["name"]: index["column_names"] for index in found.get_indexes(table.name)
                }
                for index in table.indexes:
                    assert indexes[index.name] == [column.name for column in index.columns]

    def test_the_oldest_schema_is_migrated_and_keeps_its_rows(
        self, open_store: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "MIGRATIONS", MIGRATIONS[:1])
            old = open_store()
        with old.writing() as db:
            project = ensure_project(db, None, "old", now=NOW)
        store = open_store()

        with store.reading() as db:
            assert ensure_project(db, None, "old", now=0) == project
            version = sa.select(tables.meta.c.value).where(tables.meta.c.key == "schema_version")
            assert db.scalar(version) == str(len(MIGRATIONS))

    def test_a_migration_that_fails_leaves_the_database_as_it_was(
        self, open_store: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_store()
        step = (
            "ALTER TABLE projects ADD COLUMN colour TEXT",
            "ALTER TABLE nonsense ADD COLUMN x TEXT",
        )
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "MIGRATIONS", (*MIGRATIONS, step))
            with pytest.raises(ServerError, match="nonsense"):
                open_store()

        with open_store().reading() as db:
            names = [column["name"] for column in sa.inspect(db).get_columns("projects")]
        assert "colour" not in names

    def test_a_database_of_a_newer_fersweep_is_refused(self, open_store: Open) -> None:
        with open_store().writing() as db:
            db.execute(
                sa.update(tables.meta)
                .where(tables.meta.c.key == "schema_version")
                .values(value="99")
            )

        with pytest.raises(ServerError, match=r"written by a newer fersweep.*Upgrade"):
            open_store()

    def test_servers_that_create_it_at_the_same_time_agree_on_the_key(
        self, open_store: Open
    ) -> None:
        stores = at_once([open_store] * 4)

        assert len({store.api_key for store in stores}) == 1
        assert open_store().api_key == stores[0].api_key


class TestValues:
    ROWS = (
        '{"_step": 0, "acc": NaN, "loss": Infinity, "x": -Infinity}',
        '{"_step": 1, "acc": 0.1, "loss": 1e-300, "x": 12345678901234567890}',
        '{"_step": 9000000000000, "acc": Infinity, "text": "it\'s 100 % \\\\d \\u0000 ünïcödé 🙂"}',
    )

    def test_history_rows_come_back_letter_for_letter(self, store: Store) -> None:
        create_run(store)
        send(store, self.ROWS, 0)

        assert read(store) == list(self.ROWS)
        assert read(store, min_step=2) == [self.ROWS[2]]
        assert read(store, max_step=1) == [self.ROWS[0]]

    def test_the_metric_of_a_sweep_keeps_nan_and_infinity_and_the_best_is_finite(
        self, store: Store
    ) -> None:
        name = create_sweep(store, GRID)
        create_run(store, sweep=name)
        send(store, self.ROWS, 0)

        with store.reading() as db:
            sweep = sweeps.find_sweep(db, the_run(db).project_id, name)
            assert sweep is not None
            (curve,) = read_curves(db, sweep).values()
            assert math.isnan(curve[0])
            assert curve[1:] == (0.1, math.inf)
            assert the_run(db).metric_best == 0.1

    def test_summaries_and_times_are_exact(self, store: Store) -> None:
        summary = '{"loss": NaN, "acc": 0.30000000000000004, "big": 1e+308}'
        create_run(store, summaryMetrics=summary)

        with store.reading() as db:
            run = the_run(db)
            assert (run.summary, run.created_at) == (summary, NOW)
            assert (run.stop_requested, run.sweep_id, run.exit_code) == (False, None, None)

    def test_console_lines_are_kept_with_whatever_a_program_prints(self, store: Store) -> None:
        create_run(store)
        lines = [
            "\x1b[31mred\x1b[0m",
            "50%|#####     | 1/2 [00:01<00:01]",
            "",
            "a\0b",
            "'; DROP TABLE runs; --",
        ]
        send(store, lines, 0, "output.log")

        # The one thing that PostgreSQL cannot hold is marked.
        assert [line.replace("\ufffd", "\0") for line in read(store, streams.LOG)] == lines

    def test_thousands_of_sampled_rows_are_evenly_spread(self, store: Store) -> None:
        create_run(store)
        for start in range(0, 4_000, 1_000):
            send(store, [f'{{"_step": {i}}}' for i in range(start, start + 1_000)], start)

        assert len(read(store, samples=3_000)) == 3_000
        assert read(store, samples=3) == ['{"_step": 0}', '{"_step": 2000}', '{"_step": 3999}']


class TestRows:
    def test_the_same_request_twice_changes_nothing(self, store: Store) -> None:
        create_run(store, sweep=create_sweep(store, GRID))
        for _ in range(2):
            send(store, ['{"acc": 1}', '{"acc": 2}'], 0)

        assert read(store) == ['{"acc": 1}', '{"acc": 2}']
        with store.reading() as db:
            run = the_run(db)
            assert (run.history_lines, run.metric_best) == (2, 2.0)
            assert streams.history_keys(run)["keys"]["acc"]["typeCounts"] == [
                {"type": "number", "count": 2}
            ]

    def test_requests_that_overlap_are_joined_by_their_offset(self, store: Store) -> None:
        create_run(store)
        send(store, ['{"a": 0}', '{"a": 1}', '{"a": 2}'], 0)
        send(store, ['{"a": 2}', '{"a": 3}'], 2)
        send(store, ['{"a": 1}'], 1)

        assert read(store) == [f'{{"a": {i}}}' for i in range(4)]
        with store.reading() as db:
            assert the_run(db).history_lines == 4

    def test_the_same_rows_sent_by_several_at_once_are_there_once(self, open_store: Open) -> None:
        stores = [open_store(), open_store()]
        create_run(stores[0])
        chunks = [[f'{{"a": {i}}}' for i in range(start, start + 5)] for start in range(0, 20, 5)]

        def send_all(store: Store) -> None:
            for number, chunk in enumerate(chunks):
                send(store, chunk, number * 5)

        at_once([lambda store=store: send_all(store) for store in stores * 2])  # type: ignore[misc]
        assert read(stores[0]) == [f'{{"a": {i}}}' for i in range(20)]
        with stores[0].reading() as db:
            run = the_run(db)
            assert run.history_lines == 20
            assert streams.history_keys(run)["keys"]["a"]["typeCounts"][0]["count"] == 20

    def test_a_run_that_is_deleted_takes_its_rows_along(self, store: Store) -> None:
        create_run(store, sweep=create_sweep(store, GRID))
        send(store, ['{"acc": 1}'], 0)
        with store.writing() as db:
            runs.delete_run(db, the_run(db))

        with store.reading() as db:
            for table in (tables.lines, tables.metric_values):
                assert db.scalar(sa.select(sa.func.count()).select_from(table)) == 0


class TestHandOut:
    @pytest.mark.parametrize("config", [GRID, RANDOM], ids=["grid", "random"])
    def test_no_cell_goes_to_two_agents_and_none_is_lost(
        self, open_store: Open, config: dict[str, Any]
    ) -> None:
        stores = [open_store(), open_store()]
        name = create_sweep(stores[0], config)

        def take_all(store: Store) -> list[tuple[int, int]]:
            with store.writing() as db:
                agent = agents.create_agent(db, {"projectName": "p", "sweep": name}, now=NOW).name
            return list(iter(lambda: take_one(store, agent), None))

        taken = at_once([lambda store=store: take_all(store) for store in stores * 4])  # type: ignore[misc]

        assert sorted(itertools.chain(*taken)) == [(a, b) for a in range(8) for b in range(5)]
        assert sum(map(bool, taken)) > 1, "one agent took everything: nothing ran at the same time"

    def test_a_run_started_twice_at_once_is_one_run(self, open_store: Open) -> None:
        stores = [open_store(), open_store()]

        def start(store: Store) -> bool:
            with store.writing() as db:
                given = {"modelName": "p", "name": "r1", "host": "here"}
                return runs.upsert_run(db, given, now=NOW)[1]

        inserted = at_once([lambda store=store: start(store) for store in stores * 3])  # type: ignore[misc]
        assert sorted(inserted) == [False] * 5 + [True]


def take_one(store: Store, agent: str) -> tuple[int, int] | None:
    """Ask for a trial, start it and finish it; None when the sweep has nothing left."""
    while True:
        with store.writing() as db:
            _, commands = agents.heartbeat(db, agent, [], now=NOW)
        if commands == [agents.EXIT]:
            return None
        if commands:
            break
    (command,) = commands
    create_run(store, command["run_id"])
    with store.writing() as db:
        run = the_run(db, command["run_id"])
        streams.receive(db, run, {"complete": True, "exitcode": 0}, now=NOW)
    return command["args"]["a"]["value"], command["args"]["b"]["value"]
