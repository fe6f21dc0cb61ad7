"""Help is what shell users wait for, so it loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# pydantic is missing here: typer itself loads it to read a command's signature.
HEAVY = {"torch", "wandb", "numpy", "yaml", "rich", "httpx", "starlette", "sqlalchemy", "optuna"}
PROGRAM = """
import json, sys
from fer_sweep.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(m for m in sys.modules if "." not in m)]), file=sys.stderr)
"""
COMMANDS = (
    "create",
    "agent",
    "report",
    "serve",
    "keys",
    "backup",
    "restore",
    "data",
    "rules",
    "rule",
)


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in COMMANDS)], ids=lambda c: "-".join(c) or "root"
)
def test_help_loads_nothing_heavy(command: tuple[str, ...]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )

    code, modules = json.loads(result.stderr.splitlines()[-1])
    assert code == 0
    assert "Usage: fersweep" in result.stdout
    assert HEAVY.isdisjoint(modules)
