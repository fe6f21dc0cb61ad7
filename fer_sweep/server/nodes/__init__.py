"""What GraphQL shows of projects, runs, sweeps and agents: one class per W&B type.

`fer_sweep.server.graphql` resolves a field to the attribute or method of the same name in snake case, or
else to the column of the node's record.
"""

from fer_sweep.server.nodes.artifact import ArtifactNode, CollectionNode
from fer_sweep.server.nodes.context import Context, entity_node, page_of, user_node
from fer_sweep.server.nodes.project import ProjectNode
from fer_sweep.server.nodes.report import ViewNode
from fer_sweep.server.nodes.run import RunNode
from fer_sweep.server.nodes.sweep import AgentNode, SweepNode

__all__ = [
    "AgentNode",
    "ArtifactNode",
    "CollectionNode",
    "Context",
    "ProjectNode",
    "RunNode",
    "SweepNode",
    "ViewNode",
    "entity_node",
    "page_of",
    "user_node",
]
