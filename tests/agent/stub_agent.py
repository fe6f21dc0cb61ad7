"""``run_agent`` around the stub worker as a process of its own, for the tests that signal it.

Usage: stub_agent.py SWEEP HOME WORKERS COUNT; the server comes by environment; the report goes to stdout.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from fer_sweep.agent.machine import Machine
from fer_sweep.agent.supervisor import AgentOptions, run_agent
from fer_sweep.tracking import connect, parse_sweep_ref


def main(sweep: str, home: str, workers: str, count: str) -> int:
    connection = connect(os.environ["WANDB_BASE_URL"], os.environ["WANDB_API_KEY"], "", "fersweep")
    options = AgentOptions(
        connection,
        parse_sweep_ref(sweep, entity=connection.entity, project=connection.project),
        Path(home),
        workers=int(workers),
        count=int(count) if count else None,
        worker_command=(sys.executable, str(Path(__file__).with_name("stub_worker.py"))),
    )
    report = run_agent(options, machine=Machine((), 2, 8.0))
    print(json.dumps({"states": report.by_state, "causes": report.by_cause}))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
