"""Write ``docs/wandb-operations.md``: what of W&B's protocol the local server answers.

    python docs/wandb_operations.py           write it
    python docs/wandb_operations.py --check   fail if it is stale

The tables come from the schema, from the methods that answer it, and from the requests that the newest
client was recorded making (``tests/fixtures/graphql``).
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path

import graphql as gql

from fer_sweep.server.graphql import snake_case
from fer_sweep.server.operations import Mutations, Queries

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "wandb-operations.md"
RECORDED = ROOT / "tests" / "fixtures" / "graphql"
SCHEMA = ROOT / "fer_sweep" / "server" / "schema.graphql"

HEAD = """\
# What of W&B is served

<!-- Written by docs/wandb_operations.py; edit that. -->

`fersweep serve`, and the server inside `create`, `agent` and `report`, speak W&B's protocol to unmodified
wandb code. Tested are the oldest and the newest client of the range that fersweep supports, wandb >= 0.26
and < 0.32, with one script that trains, sweeps, logs checkpoints and reads everything back. Other clients
are served with a warning; those before 0.22 are refused, because trials of 0.19 are known to fail.

A query or mutation that is not in the tables below is refused with an error that names it, and
`fersweep serve` prints it once. A *field* that is not known is answered with null, because clients that
are newer than this server ask for such fields and can do without.

## HTTP

| Address | What for |
|---|---|
| `POST /graphql` | the operations below |
| `POST /files/{entity}/{project}/{run}/file_stream` | history, system metrics, console lines, summary, end of a run |
| `PUT`, `GET` `/storage/...` | files of runs: media, saved files, `output.log` |
| `PUT`, `GET` `/artifacts/{entity}/{digest}`, `GET /artifactsV2/...` | files of artifacts, stored once per content |
| `GET /{entity}/{project}...` | the pages that wandb's links open |
| `GET /healthz` | is it up |
"""
TAIL = """\
## What is missing, or differs

- Artifacts: no registry and no portfolios (`link_artifact`, `link_model`), no artifacts written by several
  runs together (`upsert_artifact`), no incremental ones (`wandb.Table(log_mode="INCREMENTAL")`), no expiry (`ttl`), no
  tags or change of type of collections, no filters in listings but `state`. A file is sent in one piece, whatever its size.
- Alerts are kept, and printed by `fersweep serve`; nobody is mailed.
- Reports and workspaces of `wandb-workspaces` are kept and given back; only W&B draws them.
- Histories are read from the database, never from Parquet files.
- Teams, service accounts, invitations, automations, launch queues and jobs are W&B's alone.
"""


def main() -> int:
    """Write the page, or compare it."""
    page = render()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    sys.stderr.write(f"{PAGE}: stale. Run: python docs/wandb_operations.py\n")
    return 1


def render() -> str:
    """The whole page."""
    schema = gql.build_schema(SCHEMA.read_text("utf-8"))
    users = operations_by_field()
    tables = [
        table("Queries", schema.query_type, Queries, users),
        table("Mutations", schema.mutation_type, Mutations, users),
    ]
    return "\n".join([HEAD, *tables, nulls(), TAIL])


def table(
    title: str, kind: gql.GraphQLObjectType | None, owner: type, users: dict[str, list[str]]
) -> str:
    """One table: the fields of a root type, what they do, and which requests of the client use them."""
    assert kind is not None
    rows = [
        f"## {title}",
        "",
        "| Field | What it does | Recorded requests of wandb 0.31 |",
        "|---|---|---|",
    ]
    for name in kind.fields:
        does = (inspect.getdoc(getattr(owner, snake_case(name))) or "").partition("\n")[0]
        asked = ", ".join(f"`{operation}`" for operation in users.get(name, []))
        rows.append(f"| `{name}` | {markdown(does)} | {asked} |")
    return "\n".join([*rows, ""])


def nulls() -> str:
    """The fields that clients ask for and get null."""
    rows = [
        f"| `{field}` | `{recorded['operation']}` |"
        for recorded in load_recorded()
        for field in recorded["null"]
    ]
    if not rows:
        return ""
    return "\n".join(
        ["## Fields answered with null", "", "| Field | Asked for by |", "|---|---|", *rows, ""]
    )


def operations_by_field() -> dict[str, list[str]]:
    """For each field of a root type the recorded operations that use it."""
    users: dict[str, list[str]] = {}
    for recorded in load_recorded():
        operation = gql.get_operation_ast(gql.parse(recorded["query"]))
        assert operation is not None
        for field in operation.selection_set.selections:
            if isinstance(field, gql.FieldNode):
                users.setdefault(field.name.value, []).append(recorded["operation"])
    return users


def load_recorded() -> list[dict[str, str]]:
    """The recorded requests, in order of their names."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(RECORDED.glob("*.json"))]


def markdown(text: str) -> str:
    """A docstring's line as Markdown: one backtick, no bar that would end a cell."""
    return re.sub("``", "`", text).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
