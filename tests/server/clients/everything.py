"""Calls of the wandb client that `contract` leaves out, so that `record` sees their requests too."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import wandb

PROJECT = "contract"


def use_runs(api: Any) -> None:
    """Read, change, resume, stop and delete runs."""
    with wandb.init(project=PROJECT, id="again") as run:
        for step in range(3):
            run.log({"loss": 3 - step})
    with wandb.init(project=PROJECT, id="again", resume="must") as run:
        run.log({"loss": 0})
    found = api.run(f"{PROJECT}/again")
    found.history(pandas=False)
    found.history(keys=["loss"], pandas=False)
    found.history(stream="system", pandas=False)
    list(found.scan_history())
    list(found.scan_history(keys=["loss"]))
    list(found.console_logs())
    list(found.console_logs(last=2))
    _ = found.metadata
    found.tags = ["read"]
    found.summary["verdict"] = "fine"
    found.update()
    Path("note.txt").write_text("note")
    found.upload_file("note.txt")
    found.file("note.txt").delete()
    found.stop()
    found.delete()
    [*api.projects("local")]
    [*api.runs(PROJECT, filters={"config.lr": {"$gt": 0}}, order="-created_at", lazy=False)]
    api.runs(PROJECT).histories(samples=10, format="default")


def use_sweeps(api: Any) -> None:
    """List sweeps and their agents; pause, resume and end one on the command line."""
    (sweep, *_) = api.project(PROJECT, "local").sweeps()
    [*sweep.agents()]
    [*next(iter(sweep.agents())).runs()]
    config = {"method": "random", "parameters": {"lr": {"min": 0.0, "max": 1.0}}}
    sweep_id = wandb.sweep(config, project=PROJECT)
    path = f"local/{PROJECT}/{sweep_id}"
    api.sweep(path).enqueue_run({"lr": 0.5})
    subprocess.run([sys.executable, "-m", "wandb", "sweep", "--cancel", path], check=True)


def use_artifacts(api: Any) -> None:
    """List, change and delete artifacts."""
    model = api.artifact(f"{PROJECT}/model:first")
    model.description = "changed"
    model.aliases = ["moved"]
    model.save()
    model.logged_by()
    [*api.artifact_types(PROJECT)]
    [*api.artifact_type("model", PROJECT).collections()]
    [*api.artifact_collections(PROJECT, "model")]
    api.artifact_exists(f"{PROJECT}/model:v9")
    collection = api.artifact_collection("model", f"{PROJECT}/model")
    _ = collection.aliases
    [*api.run(f"{PROJECT}/uses").used_artifacts()]
    model.delete(delete_aliases=True)
    collection.name = "renamed"
    collection.save()
    collection.delete()
    [*api.reports(f"local/{PROJECT}")]


def main() -> None:
    """Do all of it."""
    api = wandb.Api()
    use_runs(api)
    use_sweeps(api)
    use_artifacts(api)


if __name__ == "__main__":
    main()
