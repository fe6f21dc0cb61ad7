"""W&B's ``View``: a report or a saved workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_sweep.server.nodes.context import user_node
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import encode_id, format_time

if TYPE_CHECKING:
    from fer_sweep.server.nodes.project import ProjectNode


class ViewNode:
    """W&B's ``View``."""

    def __init__(self, project: ProjectNode, record: Record) -> None:
        self.record = record
        self.project = project
        self.user = user_node(project.record.entity)

    def id(self) -> str:
        """The node id."""
        return encode_id("View", str(self.record.id))

    def created_at(self) -> str:
        """When it was first saved."""
        return format_time(self.record.created_at)

    def updated_at(self) -> str:
        """When it was last saved."""
        return format_time(self.record.updated_at)
