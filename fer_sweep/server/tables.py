"""The tables as they are now; `fer_sweep.server.migrations` is how a file gets there.

Times are seconds since the epoch (UTC). Documents (config, summary, ...) are JSON text as Python's
``json`` writes and reads it, so NaN and Infinity pass through.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    MetaData,
    Row,
    Table,
)
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy import text as sql

Record = Row[*tuple[Any, ...]]
"""One fetched row; columns are attributes."""

metadata = MetaData()


class _TextWithoutNul(sa.types.TypeDecorator[str]):
    """PostgreSQL has no NUL character, and programs do print it; U+FFFD marks where it was."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Replace what cannot be stored."""
        del dialect
        return value.replace("\0", "\ufffd") if value else value


# SQLite's integers have 64 bits and its texts every character.
Integer = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
Text = sa.Text().with_variant(_TextWithoutNul(), "postgresql")


def _child_of(table: str, *, cascade: bool = True, **column: bool) -> Column[int]:
    target = ForeignKey(f"{table}s.id", ondelete="CASCADE" if cascade else "SET NULL")
    return Column(f"{table}_id", Integer, target, **column)  # type: ignore[arg-type]


meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("entity", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Unique("entity", "name"),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Integer, primary_key=True),
    _child_of("project", nullable=False),
    Column("name", Text, nullable=False),
    Column("display_name", Text),
    Column("description", Text),
    Column("state", Text, nullable=False),
    Column("config_yaml", Text, nullable=False),  # as the client wrote it, and gets it back
    Column("config", Text, nullable=False),  # the same, parsed: hand-outs do not parse YAML
    Column("metric", Text),
    Column("maximize", Boolean, nullable=False),
    Column("runs_expected", Integer),
    Column("seed", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Unique("project_id", "name"),
)

agents = Table(
    "agents",
    metadata,
    Column("id", Integer, primary_key=True),
    _child_of("sweep", nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("host", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("exited", Boolean, nullable=False),
    Index("agents_of_sweep", "sweep_id"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    _child_of("project", nullable=False),
    _child_of("sweep", cascade=False),
    _child_of("agent", cascade=False),
    Column("name", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("state", Text, nullable=False),  # as last reported; see runs.current_state
    Column("config", Text, nullable=False),
    Column("parameters", Text),  # what the sweep chose, for runs it handed out
    Column("summary", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("notes", Text),
    Column("group_name", Text),
    Column("job_type", Text),
    Column("host", Text),
    Column("program", Text),
    Column("git_commit", Text),
    Column("created_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("offers", Integer, nullable=False),  # how often it was handed to an agent
    Column("stop_requested", Boolean, nullable=False),
    Column("stop_sent_at", Float),
    Column("preempting", Boolean, nullable=False),
    Column("exit_code", Integer),
    Column("history_lines", Integer, nullable=False),
    Column("event_lines", Integer, nullable=False),
    Column("log_lines", Integer, nullable=False),
    Column("last_step", Integer, nullable=False),
    Column("history_keys", Text, nullable=False),  # key -> {type: number of rows}
    Column("metric_best", Float),  # of the sweep's metric, over the history
    Column("metric_summary", Float),  # the sweep's metric in the summary
    Column(
        "requeues", Integer, nullable=False, server_default=sql("0")
    ),  # preempted, given out again
    Unique("project_id", "name"),
    Index("runs_by_age", "project_id", "created_at", "id"),
    Index("runs_of_sweep", "sweep_id", "created_at", "id"),
    Index("runs_of_agent", "agent_id"),
)

lines = Table(
    "lines",
    metadata,
    _child_of("run", primary_key=True),
    Column("stream", Text, primary_key=True),  # history, events or log
    Column("number", Integer, primary_key=True),
    Column("step", Integer),  # of a history row
    Column("body", Text, nullable=False),
    Index("lines_by_step", "run_id", "stream", "step"),
    sqlite_with_rowid=False,
)

metric_values = Table(
    "metric_values",
    metadata,
    _child_of("run", primary_key=True),
    Column("number", Integer, primary_key=True),  # of the history row
    Column("value", Float),  # NULL is NaN in SQLite, which has no other way to store it
    sqlite_with_rowid=False,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("entity", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),  # see fer_sweep.server.keys
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
)

artifact_collections = Table(
    "artifact_collections",
    metadata,
    Column("id", Integer, primary_key=True),
    _child_of("project", nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("description", Text),
    Column("created_at", Float, nullable=False),
    Unique("project_id", "name"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", Integer, primary_key=True),
    _child_of("artifact_collection", nullable=False),
    _child_of("run", cascade=False),  # that logged it
    Column("version", Integer),  # of a committed one, counted from 0
    Column("state", Text, nullable=False),  # PENDING, COMMITTED or DELETED
    Column("digest", Text, nullable=False),
    Column("manifest_digest", Text),
    Column("description", Text),
    Column("metadata", Text),
    Column("tags", Text, nullable=False),
    Column("wanted_aliases", Text, nullable=False),  # what it is to be called once it is committed
    Column("history_step", Integer),
    Column("size", Integer, nullable=False),
    Column("file_count", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index("artifacts_of_collection", "artifact_collection_id", "version"),
    Index("artifacts_of_run", "run_id"),
)

artifact_aliases = Table(
    "artifact_aliases",
    metadata,
    _child_of("artifact_collection", primary_key=True),
    Column("alias", Text, primary_key=True),
    _child_of("artifact", nullable=False),
    Index("aliases_of_artifact", "artifact_id"),
)

artifact_clients = Table(  # how a client calls an artifact before it knows our id
    "artifact_clients",
    metadata,
    Column("client_id", Text, primary_key=True),
    _child_of("artifact", nullable=False),
    Index("clients_of_artifact", "artifact_id"),
)

artifact_files = Table(
    "artifact_files",
    metadata,
    _child_of("artifact", primary_key=True),
    Column("path", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("reference", Text),  # where the content is, if it is not here
    Index("files_by_digest", "digest"),
)

artifact_uses = Table(
    "artifact_uses",
    metadata,
    _child_of("run", primary_key=True),
    _child_of("artifact", primary_key=True),
    Index("uses_of_artifact", "artifact_id"),
)

views = Table(  # reports and saved workspaces
    "views",
    metadata,
    Column("id", Integer, primary_key=True),
    _child_of("project", nullable=False),
    Column("type", Text, nullable=False),
    Column("name", Text),
    Column("display_name", Text),
    Column("description", Text),
    Column("spec", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index("views_of_project", "project_id"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True),
    _child_of("run", nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("alerts_of_run", "run_id"),
)

prior_runs = Table(
    "prior_runs",
    metadata,
    _child_of("sweep", primary_key=True),
    _child_of("run", primary_key=True),
    Column("value", Float),  # its best of the sweep's metric when it was attached
)
