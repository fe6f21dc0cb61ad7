"""Record what the installed wandb client asks our server for, one file per operation.

    python tests/server/clients/record.py

writes ``tests/fixtures/graphql/``: the query and the variables of the first request of each operation, with
nothing of this machine in them, and the fields that were answered with null because we do not serve them.
Reports are recorded too if ``REPORTS_PYTHON`` names an interpreter that has wandb-workspaces.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import graphql as gql

from fer_sweep.server import graphql
from fer_sweep.server.embedded import start_server

HERE = Path(__file__).parent
FIXTURES = HERE.parents[1] / "fixtures" / "graphql"
SCRIPTS = ("contract.py", "everything.py")
PRIVATE = ("host", "program", "commit", "repo", "jobProgram")


def main() -> None:
    """Run the scripts against a server that keeps what it is asked."""
    asked: dict[str, graphql.Request] = {}
    answer = graphql.answer

    def remember(store: Any, request: graphql.Request, **options: Any) -> graphql.Answer:
        asked.setdefault(name_of(request.query), request)
        return answer(store, request, **options)

    graphql.answer = remember
    with tempfile.TemporaryDirectory() as name:
        with start_server(Path(name) / "server.sqlite", port=0) as server:
            for script in SCRIPTS:
                run(sys.executable, HERE / script, Path(name), server.url, server.api_key)
            if python := os.environ.get("REPORTS_PYTHON"):
                run(python, HERE / "reports.py", Path(name), server.url, server.api_key)
        FIXTURES.mkdir(parents=True, exist_ok=True)
        for operation, request in sorted(asked.items()):
            write(operation, request, folder=name)


def run(python: str, script: Path, folder: Path, url: str, key: str) -> None:
    """Run one script as a user would, with nothing of this user's settings."""
    places = {f"WANDB_{kind}_DIR": str(folder) for kind in ("CACHE", "CONFIG", "DATA")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")} | places
    environment |= {"WANDB_DIR": str(folder), "WANDB_BASE_URL": url, "WANDB_API_KEY": key}
    environment |= {"HOME": str(folder), "WANDB_SILENT": "true"}
    subprocess.run(
        [python, str(script)], check=True, env=environment, cwd=folder, stdout=subprocess.DEVNULL
    )


def name_of(query: str) -> str:
    """The operation's name, or its first field's."""
    operation = gql.get_operation_ast(gql.parse(query))
    assert operation is not None
    if operation.name:
        return operation.name.value
    field = operation.selection_set.selections[0]
    assert isinstance(field, gql.FieldNode)
    return field.name.value


def write(operation: str, request: graphql.Request, *, folder: str) -> None:
    """Write one request."""
    recorded = {
        "client": "wandb " + version("wandb"),
        "operation": operation,
        "null": list(graphql.unserved_fields(request.query)),
        "variables": clean(request.variables, folder),
        "query": re.sub(r"[ \t]+", " ", request.query).strip(),
    }
    text = json.dumps(recorded, indent=1, sort_keys=True) + "\n"
    (FIXTURES / f"{operation}.json").write_text(text)


def clean(variables: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Leave out what is about this machine."""
    cleaned: dict[str, Any] = json.loads(json.dumps(variables).replace(folder, "/folder"))
    for name in PRIVATE:
        if cleaned.get(name):
            cleaned[name] = name
    if isinstance(cleaned.get("config"), str) and "_wandb" in cleaned["config"]:
        config = json.loads(cleaned["config"])
        wanted = ("cli_version", "python_version")
        known = config["_wandb"]["value"]
        config["_wandb"] = {"value": {key: known[key] for key in wanted if key in known}}
        cleaned["config"] = json.dumps(config)
    return cleaned


if __name__ == "__main__":
    main()
