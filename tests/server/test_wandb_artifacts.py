"""Artifacts, tables, media, reports, alerts and console lines, with the unmodified wandb client."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import wandb

from fer_sweep.server.embedded import LocalServer

pytestmark = [pytest.mark.wandb_client]
DEADLINE_S = 60.0
TINY = np.zeros((4, 4), dtype=np.uint8)


@pytest.fixture(autouse=True)
def client(local_server: LocalServer) -> Iterator[None]:
    """wandb reads its environment once per process, so each test gets a client of its own."""
    wandb.teardown()
    yield
    wandb.teardown()


def log_model(run: Any, folder: Path, content: str, **options: Any) -> Any:
    """Log a checkpoint and wait until it is there."""
    (folder / "model.pt").write_text(content)
    artifact = wandb.Artifact("model", type="model", metadata={"content": content})
    artifact.add_file(str(folder / "model.pt"))
    return run.log_artifact(artifact, **options).wait()


def versions() -> list[str]:
    return [item.version for item in wandb.Api().artifacts("model", "faces/model")]


def stored(server_folder: Path) -> list[Path]:
    return [
        path for path in server_folder.rglob("*") if path.is_file() and "#artifacts" in str(path)
    ]


def test_a_checkpoint_is_used_by_a_second_run_and_both_know_of_it(tmp_path: Path) -> None:
    with wandb.init(project="faces") as logger:
        logged = log_model(logger, tmp_path, "weights", aliases=["best"])
    assert (logged.version, sorted(logged.aliases)) == ("v0", ["best", "latest"])

    with wandb.init(project="faces") as user:
        used = user.use_artifact("model:best")
        folder = Path(used.download(str(tmp_path / "back")))
    assert (folder / "model.pt").read_text() == "weights"
    assert used.metadata == {"content": "weights"}

    found = wandb.Api().artifact("faces/model:latest")
    assert found.logged_by().id == logger.id
    assert [run.id for run in found.used_by()] == [user.id]
    assert [item.name for item in api_run(user).used_artifacts()] == ["model:v0"]
    assert [item.name for item in api_run(logger).logged_artifacts()] == ["model:v0"]
    entry = found.get_entry("model.pt").download(str(tmp_path / "entry"))
    assert Path(entry).read_text() == "weights"


def api_run(run: Any) -> Any:
    return wandb.Api().run(f"local/faces/{run.id}")


def test_new_content_is_a_new_version_and_known_content_is_not(tmp_path: Path) -> None:
    with wandb.init(project="faces") as run:
        names = [log_model(run, tmp_path, content).version for content in ("a", "b", "b", "a")]

    assert names == ["v0", "v1", "v1", "v0"]
    assert versions() == ["v1", "v0"]
    assert len(stored(tmp_path / "server")) == 4  # two files, two manifests


def test_an_alias_belongs_to_one_version_and_is_moved_by_hand(tmp_path: Path) -> None:
    with wandb.init(project="faces") as run:
        for content in ("a", "b"):
            log_model(run, tmp_path, content, aliases=["latest", "best"])
    api = wandb.Api()
    assert api.artifact("faces/model:best").version == "v1"
    assert api.artifact("faces/model:v0").aliases == []

    first = api.artifact("faces/model:v0")
    first.aliases = ["best", "paper"]
    first.description, first.tags = "the one in table 2", ["fer2013"]
    first.metadata["acc"] = 0.7
    first.save()

    again = wandb.Api().artifact("faces/model:paper")
    assert (again.version, sorted(again.aliases)) == ("v0", ["best", "paper"])
    assert (again.description, again.tags) == ("the one in table 2", ["fer2013"])
    assert again.metadata == {"content": "a", "acc": 0.7}
    assert wandb.Api().artifact("faces/model:v1").aliases == ["latest"]


def test_a_deleted_version_takes_only_its_own_content_with_it(tmp_path: Path) -> None:
    with wandb.init(project="faces") as run:
        for content in ("a", "b"):
            log_model(run, tmp_path, content)
    wandb.Api().artifact("faces/model:v0").delete()
    assert versions() == ["v1"]
    assert len(stored(tmp_path / "server")) == 2

    newest = wandb.Api().artifact("faces/model:latest")
    with pytest.raises(wandb.errors.CommError, match="still has aliases"):
        newest.delete()
    newest.delete(delete_aliases=True)
    assert not wandb.Api().artifact_exists("faces/model:v1")
    assert stored(tmp_path / "server") == []

    wandb.Api().artifact_collection("model", "faces/model").delete()
    assert not wandb.Api().artifact_collection_exists("faces/model", "model")


def test_a_run_is_deleted_with_what_it_logged_if_asked(tmp_path: Path) -> None:
    with wandb.init(project="faces") as run:
        log_model(run, tmp_path, "a")
    with wandb.init(project="faces") as other:
        log_model(other, tmp_path, "b")
    api_run(other).delete()
    assert versions() == ["v1", "v0"]
    assert wandb.Api().artifact("faces/model:v1").logged_by() is None

    api_run(run).delete(delete_artifacts=True)
    assert versions() == ["v1"]
    assert len(stored(tmp_path / "server")) == 2


def test_an_artifact_of_many_files_is_listed_page_by_page_and_downloaded(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    for number in range(130):
        (folder / f"{number:03}.txt").write_text(str(number))
    with wandb.init(project="faces") as run:
        artifact = wandb.Artifact("data", type="dataset")
        artifact.add_dir(str(folder))
        run.log_artifact(artifact).wait()

    found = wandb.Api().artifact("faces/data:latest")
    names = [f"{number:03}.txt" for number in range(130)]
    assert [file.name for file in found.files(per_page=50)] == names
    assert [file.name for file in found.files(names=["007.txt"])] == ["007.txt"]
    assert found.file_count == 130
    back = Path(found.download(str(tmp_path / "back")))
    assert sorted(path.name for path in back.iterdir()) == names


def test_types_and_collections_are_listed_and_missing_ones_said(tmp_path: Path) -> None:
    with wandb.init(project="faces") as run:
        log_model(run, tmp_path, "a")
    api = wandb.Api()

    assert [kind.name for kind in api.artifact_types("faces")] == ["model"]
    collections = api.artifact_type("model", "faces").collections()
    assert [collection.name for collection in collections] == ["model"]
    assert api.artifact_exists("faces/model:v0")
    assert not api.artifact_exists("faces/model:v7")
    with pytest.raises(wandb.errors.CommError):
        api.artifact("faces/nothing:latest")


def test_a_name_keeps_its_type(tmp_path: Path) -> None:
    with wandb.init(project="faces") as run:
        log_model(run, tmp_path, "a")
        other = wandb.Artifact("model", type="dataset")
        with other.new_file("x.txt") as stream:
            stream.write("x")
        with pytest.raises(ValueError, match="with type 'model'"):
            run.log_artifact(other).wait()


def test_an_artifact_is_renamed_and_described_unless_the_name_is_taken(tmp_path: Path) -> None:
    with wandb.init(project="faces") as run:
        log_model(run, tmp_path, "a")
        run.log_artifact(wandb.Artifact("other", type="model")).wait()
    collection = wandb.Api().artifact_collection("model", "faces/model")
    collection.name, collection.description = "resnet", "ten layers"
    collection.save()

    found = wandb.Api().artifact_collection("model", "faces/resnet")
    assert found.description == "ten layers"
    assert wandb.Api().artifact("faces/resnet:v0").metadata == {"content": "a"}
    assert not wandb.Api().artifact_exists("faces/model:v0")
    found.name = "other"
    with pytest.raises(wandb.errors.CommError, match="there is one already"):
        found.save()


def test_references_are_kept_as_addresses(tmp_path: Path) -> None:
    with wandb.init(project="faces") as run:
        artifact = wandb.Artifact("data", type="dataset")
        artifact.add_reference("http://127.0.0.1:9/fer2013.csv", checksum=False)
        run.log_artifact(artifact).wait()

    found = wandb.Api().artifact("faces/data:latest")
    assert found.manifest.entries["fer2013.csv"].ref == "http://127.0.0.1:9/fer2013.csv"
    assert [file.name for file in found.files()] == ["fer2013.csv"]


def test_an_upload_of_other_content_than_announced_is_refused(
    tmp_path: Path, local_server: LocalServer
) -> None:
    with wandb.init(project="faces") as run:
        log_model(run, tmp_path, "a")
    (url,) = [file.direct_url for file in wandb.Api().artifact("faces/model:v0").files()]

    answer = httpx.put(url, content=b"something else")
    assert answer.status_code == 400
    assert "other content than announced" in answer.text
    assert httpx.get(url).text == "a"
    assert httpx.get(url.partition("?")[0]).status_code == 401
    unknown = url.partition("/artifacts/")[0] + "/artifacts/local/" + "0" * 32
    assert httpx.get(unknown, auth=("api", local_server.api_key)).status_code == 404
    odd = unknown[:-32] + "..%2f..%2fserver.sqlite"
    assert httpx.get(odd, auth=("api", local_server.api_key)).status_code in (400, 404)


def test_tables_images_and_histograms_are_stored_and_read_back(tmp_path: Path) -> None:
    with wandb.init(project="faces") as run:
        run.log(
            {
                "faces": [wandb.Image(TINY, caption="sad"), wandb.Image(TINY + 9)],
                "weights": wandb.Histogram([1.0, 2.0, 2.0], num_bins=2),
                "wrong": wandb.Table(columns=["label", "n"], data=[["happy", 1], ["sad", 2]]),
            }
        )
        matrix = wandb.plot.confusion_matrix(y_true=[0, 1], preds=[1, 1], class_names=["a", "b"])
        run.log({"confusion": matrix})
    found = api_run(run)

    images = [file for file in found.files() if file.name.startswith("media/images/")]
    assert len(images) == 2
    with images[0].download(str(tmp_path / "back")) as stream:
        assert Path(stream.name).read_bytes().startswith(b"\x89PNG")
    assert found.summary["faces"]["captions"] == ["sad", None]
    assert list(found.summary["weights"]["values"]) == [1, 2]
    tables = {item.name.split("-")[-1]: item for item in found.logged_artifacts()}
    assert tables["wrong:v0"].get("wrong").data == [["happy", 1], ["sad", 2]]
    confusion = tables["confusion_table:v0"].get("confusion_table")
    assert ["a", "b", 1] in confusion.data
    path = found.summary["wrong"]["path"]
    assert path in [file.name for file in found.files()]


def test_an_artifact_with_a_table_of_images_is_read_back(tmp_path: Path) -> None:
    with wandb.init(project="faces") as run:
        artifact = wandb.Artifact("errors", type="predictions")
        table = wandb.Table(columns=["face", "label"], data=[[wandb.Image(TINY), "sad"]])
        artifact.add(table, "worst")
        run.log_artifact(artifact).wait()

    worst = wandb.Api().artifact("faces/errors:latest").get("worst")
    assert worst.data[0][1] == "sad"
    assert worst.data[0][0].image.size == (4, 4)


def test_console_lines_come_with_time_and_severity() -> None:
    script = """
import sys, wandb
with wandb.init(project="faces", id="talks"):
    print("epoch 1 of 2")
    print("lr is too high", file=sys.stderr)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    found = wandb.Api().run("faces/talks")

    lines = {line.content.strip(): line for line in found.console_logs()}
    assert {"epoch 1 of 2", "lr is too high"} <= set(lines)
    assert lines["epoch 1 of 2"].level == ""
    assert lines["lr is too high"].level == "error"
    assert lines["epoch 1 of 2"].timestamp is not None
    assert "output.log" in [file.name for file in found.files()]
    assert len(list(found.console_logs(last=1))) == 1


def test_system_metrics_are_stored_apart_from_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "0.2")
    settings = wandb.Settings(x_stats_sampling_interval=0.1)
    deadline = time.monotonic() + DEADLINE_S
    with wandb.init(project="faces", settings=settings) as run:
        run.log({"loss": 1.0})
        while not api_run(run).history(stream="system", pandas=False):
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.1)
    (event, *_) = api_run(run).history(stream="system", pandas=False)

    assert any(key.startswith("system.") for key in event)
    assert "system." not in str(api_run(run).summary)


def test_files_saved_by_a_run_and_metrics_it_defines_are_kept(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "lr.svg").write_text("<svg/>")
    with wandb.init(project="faces") as run:
        run.define_metric("val/*", step_metric="epoch", summary="min")
        run.save(str(tmp_path / "plots" / "lr.svg"), base_path=str(tmp_path))
        for epoch, loss in enumerate((3.0, 1.0, 2.0)):
            run.log({"epoch": epoch, "val/loss": loss})
        run.log({"part": 1}, commit=False)
        run.log({"model": {"layer": {"norm": 2}}})
    found = api_run(run)

    assert found.summary["val/loss"]["min"] == 1.0
    rows = list(found.scan_history())
    assert len(rows) == 4
    assert rows[-1]["part"] == 1
    assert found.summary["model"]["layer"]["norm"] == 2
    assert "plots/lr.svg" in [file.name for file in found.files()]


def test_an_alert_is_told_and_not_repeated_within_its_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with wandb.init(project="faces") as run:
        for _ in range(2):
            run.alert("Overfits", "validation loss up", level="WARN", wait_duration=300)
        run.alert("Diverged", "loss is NaN", level="ERROR")

    told = [record.getMessage() for record in caplog.records if record.name.endswith("alerts")]
    assert told == [
        f"alert of run {run.id}: Overfits: validation loss up",
        f"alert of run {run.id}: Diverged: loss is NaN",
    ]


@pytest.mark.slow
def test_an_offline_run_is_synced_with_its_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with wandb.init(project="faces", id="plane", config={"lr": 0.1}) as run:
        run.log({"loss": 2.0})
        run.log({"loss": 1.0})
        (tmp_path / "model.pt").write_text("offline")
        artifact = wandb.Artifact("model", type="model")
        artifact.add_file(str(tmp_path / "model.pt"))
        run.log_artifact(artifact)
    wandb.teardown()
    monkeypatch.delenv("WANDB_MODE")
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))

    found = wandb.Api().run("faces/plane")
    assert (found.state, found.config) == ("finished", {"lr": 0.1})
    assert [row["loss"] for row in found.scan_history()] == [2.0, 1.0]
    assert [item.name for item in found.logged_artifacts()] == ["model:v0"]


def test_reports_are_listed_with_their_addresses(local_server: LocalServer) -> None:
    with wandb.init(project="faces") as run:
        run.log({"loss": 1.0})
    save = """mutation upsertView($id: ID, $title: String, $spec: String!) { upsertView(input: {
      id: $id, entityName: "local", projectName: "faces", type: "runs", createdUsing: WANDB_SDK,
      name: "ten-runs", displayName: $title, description: "why", spec: $spec
    }) { view { id name displayName spec project { id name entityName } } inserted } }"""
    delete = "mutation deleteView($id: ID!) { deleteView(input: {id: $id}) { success } }"

    def ask(query: str, **variables: Any) -> Any:
        body = {"query": query, "variables": variables}
        answer = httpx.post(
            local_server.url + "/graphql", json=body, auth=("api", local_server.api_key)
        )
        return answer.json()["data"]

    made = ask(save, title="Ten runs", spec='{"blocks": []}')["upsertView"]
    assert made["inserted"]
    node_id = made["view"]["id"]
    again = ask(save, id=node_id, title="Eleven runs", spec='{"blocks": [1]}')["upsertView"]
    assert (again["inserted"], again["view"]["id"]) == (False, node_id)

    (report,) = wandb.Api().reports("local/faces")
    assert (report.display_name, report.description) == ("Eleven runs", "why")
    assert report.spec == {"blocks": [1]}
    assert report.url.startswith(local_server.url + "/local/faces/reports/Eleven-runs--")
    assert ask(delete, id=node_id)["deleteView"]["success"]
    assert list(wandb.Api().reports("local/faces")) == []
