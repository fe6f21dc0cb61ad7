"""Alerts: what a run wants a person to know. Nobody is mailed: they are kept, and `fersweep serve` prints them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from fer_sweep.server import tables
from fer_sweep.server.tables import Record

LOG = logging.getLogger(__name__)
SEVERITIES = ("INFO", "WARN", "ERROR")
_MILLISECONDS = 1e3


def add_alert(db: sa.Connection, run: Record, given: Mapping[str, Any], *, now: float) -> bool:
    """Keep an alert; False if the same one came less than its ``waitDuration`` (ms) ago."""
    title, columns = str(given.get("title") or ""), tables.alerts.c
    wait_s = float(given.get("waitDuration") or 0) / _MILLISECONDS
    newest = db.scalar(
        sa.select(sa.func.max(columns.created_at)).where(
            columns.run_id == run.id, columns.title == title
        )
    )
    if newest is not None and now - newest < wait_s:
        return False
    severity = str(given.get("severity") or SEVERITIES[0])
    row = {
        "run_id": run.id,
        "title": title,
        "text": str(given.get("text") or ""),
        "created_at": now,
    }
    row["severity"] = severity if severity in SEVERITIES else SEVERITIES[0]
    db.execute(sa.insert(tables.alerts).values(row))
    LOG.warning("alert of run %s: %s: %s", run.name, title, row["text"])
    return True


def list_alerts(db: sa.Connection, run: Record) -> Sequence[Record]:
    """The alerts of a run, oldest first."""
    columns = tables.alerts.c
    return db.execute(
        sa.select(tables.alerts).where(columns.run_id == run.id).order_by(columns.id)
    ).all()
