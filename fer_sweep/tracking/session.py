"""The agent's side of W&B's sweep protocol: register once, then ask what to do, every few seconds."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fer_sweep.errors import TrackingError
from fer_sweep.tracking.connection import Connection
from fer_sweep.tracking.sweeps import SweepRef, plain_config

HEARTBEAT_S = 5.0
"""W&B's own agents report this often while a trial runs."""

PATIENCE_S = 600.0
"""How long an agent outlives its server: a restart takes a minute, an upgrade a few."""

CommandType = Literal["run", "resume", "stop", "exit"]


@dataclass(frozen=True)
class Command:
    """What the server wants: run or resume ``run_id`` with ``parameters``, stop ``run_id``, or exit."""

    type: CommandType
    run_id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


_CREATE_AGENT = """
mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) {
    agent { id }
  }
}"""

_HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) {
    agent { id }
    commands
  }
}"""


class AgentSession:
    """One registered agent of one sweep; one worker holds one session.

    Args:
        conn: The server.
        ref: The sweep to take trials of.
        pause: Waits between tries while the server is away; a true result ends the wait.
        patience_s: Seconds without a server after which a heartbeat gives up.

    Raises:
        TrackingError: If the sweep does not exist or the server refuses.
    """

    def __init__(
        self,
        conn: Connection,
        ref: SweepRef,
        *,
        pause: Callable[[float], object] = time.sleep,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._conn = conn
        self._pause = pause
        self._patience_s = patience_s
        variables = {
            "host": socket.gethostname(),
            "sweep": ref.sweep_id,
            "entityName": ref.entity,
            "projectName": ref.project,
        }
        self.agent_id = str(self._execute(_CREATE_AGENT, variables)["createAgent"]["agent"]["id"])

    def heartbeat(self, running: Collection[str]) -> Command | None:
        """Report the runs in hand and take the next command.

        Args:
            running: Run ids this agent has taken and not finished. Empty asks for a trial.

        Returns:
            The command, or None for "nothing now" (paused, or all cells are being trained elsewhere).

        Raises:
            SweepGoneError: If the sweep was deleted.
            TrackingError: If the server stays away longer than ``patience_s``.
        """
        state = json.dumps(dict.fromkeys(sorted(running), True))
        variables = {"id": self.agent_id, "metrics": "{}", "runState": state}
        answer = self._execute(_HEARTBEAT, variables)["agentHeartbeat"]["commands"]
        commands = json.loads(answer) if isinstance(answer, str) else answer or []
        return _parse_command(commands[0]) if commands else None

    def _execute(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        return self._conn.execute(query, variables, patience_s=self._patience_s, pause=self._pause)


def _parse_command(command: dict[str, Any]) -> Command:
    kind: Any = command.get("type")
    if kind not in get_args(CommandType):
        raise TrackingError(
            f"the server sent an agent command {kind!r} that fersweep does not know. Update fersweep."
        )
    return Command(kind, command.get("run_id") or "", plain_config(command.get("args")))
