"""Everything said to a W&B server, the cloud's or ours: sweeps, the agent protocol, runs."""

from __future__ import annotations

from fer_sweep.tracking.client import check_client
from fer_sweep.tracking.connection import (
    Connection,
    InterruptedWaitError,
    SweepGoneError,
    connect,
    is_loopback,
)
from fer_sweep.tracking.runs import RunInfo, fetch_history, fetch_runs, record_failure
from fer_sweep.tracking.session import HEARTBEAT_S, AgentSession, Command
from fer_sweep.tracking.sweeps import (
    SweepInfo,
    SweepRef,
    app_url,
    create_sweep,
    fetch_sweep,
    parse_sweep_ref,
    sweep_url,
)
from fer_sweep.tracking.trial_run import (
    EXIT_KILLED,
    TrialRun,
    client_environment,
    join_run,
    start_run,
)

__all__ = [
    "EXIT_KILLED",
    "HEARTBEAT_S",
    "AgentSession",
    "Command",
    "Connection",
    "InterruptedWaitError",
    "RunInfo",
    "SweepGoneError",
    "SweepInfo",
    "SweepRef",
    "TrialRun",
    "app_url",
    "check_client",
    "client_environment",
    "connect",
    "create_sweep",
    "fetch_history",
    "fetch_runs",
    "fetch_sweep",
    "is_loopback",
    "join_run",
    "parse_sweep_ref",
    "record_failure",
    "start_run",
    "sweep_url",
]
