"""The server on a real PostgreSQL: what its users see, and what they are told when it cannot work."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fer_sweep.errors import ServerError
from fer_sweep.server.embedded import start_server
from fer_sweep.server.store import Store
from fer_sweep.tracking import AgentSession, Command, connect, create_sweep, fetch_sweep

if TYPE_CHECKING:
    from tests.contracts.conftest import Cluster

SECRET = "hunter2-secret"
INIT = """mutation UpsertBucket($name: String) {
  upsertBucket(input: {name: $name, modelName: "p", host: "here"}) { inserted }
}"""


def refuse(url: str, tmp_path: Path) -> str:
    """The one line that a person gets who serves this database."""
    with pytest.raises(ServerError) as caught:
        Store(url, files=tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET not in text
    assert "pass/word" not in text
    assert "pass%2Fword" not in text
    return text


class TestErrors:
    def test_a_server_that_cannot_be_reached(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        text = refuse(f"postgresql://me:{SECRET}@127.0.0.1:{port}/lab", tmp_path)

        assert text.startswith(
            f"postgresql+pg8000://me:***@127.0.0.1:{port}/lab: cannot be reached"
        )
        assert "PostgreSQL runs" in text

    def test_a_wrong_password(self, cluster: Cluster, tmp_path: Path) -> None:
        text = refuse(cluster.url("postgres", password=SECRET), tmp_path)

        assert "refused user or password" in text
        assert "PGPASSWORD" in text

    def test_no_password(self, cluster: Cluster, tmp_path: Path) -> None:
        url = f"postgresql://fersweep@127.0.0.1:{cluster.port}/postgres"

        assert "refused user or password" in refuse(url, tmp_path)

    def test_a_database_that_does_not_exist(self, cluster: Cluster, tmp_path: Path) -> None:
        text = refuse(cluster.url("nowhere"), tmp_path)

        assert 'database "nowhere" does not exist' in text
        assert "createdb" in text

    def test_a_database_in_another_encoding(self, cluster: Cluster, tmp_path: Path) -> None:
        cluster.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")

        assert "encoding is LATIN1" in refuse(cluster.url("latin"), tmp_path)

    def test_a_driver_that_is_not_installed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setitem(sys.modules, "pg8000", None)
        text = refuse(f"postgresql://me:{SECRET}@127.0.0.1/lab", tmp_path)

        assert "pip install 'fersweep[postgres]'" in text

    @pytest.mark.parametrize(
        ("url", "told"),
        [
            (f"postgresql://me:{SECRET}@127.0.0.1:port/lab", "not an address"),
            (f"postgresql://me:{SECRET}@127.0.0.1", "must name user and database"),
            ("postgresql://127.0.0.1/lab", "must name user and database"),
            (f"postgresql://me:{SECRET}@127.0.0.1/lab?sslmode=maybe", "no such mode (got 'maybe')"),
            (f"postgresql://me:{SECRET}@127.0.0.1/lab?colour=red", "unknown options"),
            (f"mysql://me:{SECRET}@127.0.0.1/lab", "not a database fersweep knows (got mysql:)"),
        ],
    )
    def test_an_address_that_is_wrong(self, url: str, told: str, tmp_path: Path) -> None:
        assert told in refuse(url, tmp_path)


class TestServing:
    def test_a_sweep_runs_through(self, postgresql_url: str, tmp_path: Path) -> None:
        grid = {"method": "grid", "parameters": {"lr": {"values": [0.1, 0.2]}}}
        with start_server(postgresql_url, files=tmp_path / "files", port=0) as server:
            conn = connect(server.url, server.api_key, "local", "p")
            ref = create_sweep(conn, grid)
            agent = AgentSession(conn, ref)
            while (command := agent.heartbeat([])) != Command("exit"):
                assert command is not None
                conn.execute(INIT, {"name": command.run_id})
                path = f"/files/local/p/{command.run_id}/file_stream"
                conn.post(path, {"complete": True, "exitcode": 0})

            info = fetch_sweep(conn, ref)
        assert (info.state, info.run_count) == ("FINISHED", 2)

    @pytest.mark.slow
    @pytest.mark.wandb_client
    def test_the_real_client_cannot_tell(
        self, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import wandb

        with start_server(postgresql_url, files=tmp_path / "files", port=0) as server:
            monkeypatch.setenv("WANDB_BASE_URL", server.url)
            monkeypatch.setenv("WANDB_API_KEY", server.api_key)
            (tmp_path / "model.txt").write_text("weights")
            with wandb.init(project="p", config={"lr": 0.1}) as run:
                for epoch in range(5):
                    run.log(
                        {"epoch": epoch, "loss": float("nan") if epoch == 3 else 1 / (epoch + 1)}
                    )
                run.save(str(tmp_path / "model.txt"), base_path=str(tmp_path))
            found = wandb.Api().run(f"local/p/{run.id}")

            assert (found.state, found.config["lr"]) == ("finished", 0.1)
            assert [row["epoch"] for row in found.scan_history()] == [0, 1, 2, 3, 4]
            assert [str(row["loss"]) for row in found.scan_history()][3] == "nan"
            assert (
                tmp_path / "files" / "local" / "p" / run.id / "model.txt"
            ).read_text() == "weights"

    def test_it_goes_on_after_its_connections_were_cut(
        self, cluster: Cluster, postgresql_url: str, tmp_path: Path
    ) -> None:
        store = Store(postgresql_url, files=tmp_path)
        with store.writing():
            pass
        cluster.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'fersweep'"
        )
        with store.writing(), store.reading():
            pass
        store.close()

    def test_a_unix_socket_is_named_as_everywhere_else(
        self, cluster: Cluster, postgresql_url: str, tmp_path: Path
    ) -> None:
        url = f"{postgresql_url}?host={cluster.folder}"

        Store(url.replace("127.0.0.1", ""), files=tmp_path).close()

    def test_serve_takes_the_password_from_the_environment_and_never_shows_it(
        self, postgresql_url: str, tmp_path: Path
    ) -> None:
        password = "pass%2Fword%3A1"
        assert password in postgresql_url
        command = [sys.executable, "-m", "fer_sweep.cli.main", "serve"]
        command += [
            "--db",
            postgresql_url.replace(f":{password}", ""),
            "--home",
            str(tmp_path / "h"),
        ]
        pipe = subprocess.PIPE
        env = os.environ | {"PGPASSWORD": "pass/word:1"}
        with subprocess.Popen(command, text=True, stdout=pipe, stderr=pipe, env=env) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            url = process.stdout.readline().partition("=")[2].strip()
            key = process.stdout.readline()
            with urllib.request.urlopen(url + "/healthz", timeout=10) as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGINT)
            errors = process.stderr.read()
        assert key.startswith("export WANDB_API_KEY=")
        assert "Serving postgresql" in errors
        assert "pass/word" not in errors
        assert not (tmp_path / "h" / "server.sqlite").exists()
