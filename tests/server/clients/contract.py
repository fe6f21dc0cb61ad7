"""What a training script and an analysis do with wandb, in one process: run by the oldest and the newest client.

Needs nothing but wandb and the standard library. Prints one JSON object of what it read back.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import wandb

SWEEP = {
    "method": "grid",
    "metric": {"name": "val/loss", "goal": "minimize"},
    "parameters": {"lr": {"values": [0.3, 0.1, 0.2]}},
}


def train() -> None:
    """Log two epochs of a trial."""
    with wandb.init() as run:
        run.define_metric("epoch")
        run.define_metric("val/*", step_metric="epoch", summary="min")
        for epoch in (1, 2):
            run.log({"epoch": epoch, "val/loss": run.config["lr"] * epoch}, commit=False)
            run.log({"nested": {"deep": epoch}})
        run.summary["best"] = float(run.config["lr"])


def log_checkpoint(folder: Path) -> str:
    """Log a model twice, with another content, and use the older one."""
    weights = folder / "weights.pt"
    with wandb.init(project="contract", id="logs", tags=["model"], notes="first") as run:
        for content in ("first", "second"):
            weights.write_text(content)
            artifact = wandb.Artifact("model", type="model", metadata={"content": content})
            artifact.add_file(str(weights))
            run.log_artifact(artifact, aliases=["latest", content]).wait()
        run.log({"table": wandb.Table(columns=["label"], data=[["happy"], ["sad"]])})
        run.alert("Overfits", "validation loss turned up")
        run.save(str(weights), base_path=str(folder))
        print("epoch 1 of 1")
    with wandb.init(project="contract", id="uses") as run:
        back = run.use_artifact("model:first").download(str(folder / "back"))
    return (Path(back) / "weights.pt").read_text()


def read_sweep(path: str) -> dict[str, Any]:
    """Read a sweep and its runs."""
    api = wandb.Api()
    sweep = api.sweep(path)
    best = sweep.best_run()
    runs = api.runs("contract", filters={"sweep": path.rpartition("/")[2]}, order="+created_at")
    return {
        "state": sweep.state,
        "states": [run.state for run in runs],
        "rates": [run.config["lr"] for run in runs],
        "best": best.config["lr"] if best else None,
        "rows": [[row["val/loss"] for row in run.scan_history(keys=["val/loss"])] for run in runs],
        "minimum": [run.summary["val/loss"]["min"] for run in runs],
        "deep": [run.summary["nested"]["deep"] for run in runs],
        "sampled": [len(run.history(pandas=False)) for run in runs],
    }


def read_artifacts() -> dict[str, Any]:
    """Read the versions of the checkpoint, and the run that logged them."""
    api = wandb.Api()
    run = api.run("contract/logs")
    model = api.artifact("contract/model:latest")
    tables = [item for item in run.logged_artifacts() if item.type == "run_table"]
    return {
        "versions": [item.version for item in api.artifacts("model", "contract/model")],
        "aliases": sorted(model.aliases),
        "metadata": model.metadata,
        "files": [file.name for file in model.files()],
        "table": tables[0].get("table").data,
        "used_by": [user.id for user in api.artifact("contract/model:v0").used_by()],
        "run_files": sorted({"weights.pt", "output.log"} & {file.name for file in run.files()}),
        "tags": run.tags,
        "notes": run.notes,
    }


def main() -> None:
    """Do all of it."""
    content = log_checkpoint(Path(os.environ["WANDB_DIR"]))
    sweep_id = wandb.sweep(SWEEP, project="contract")
    wandb.agent(sweep_id, train, project="contract", count=3)
    found = {
        "version": wandb.__version__,
        "content": content,
        "sweep": read_sweep(f"contract/{sweep_id}"),
        "artifacts": read_artifacts(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
