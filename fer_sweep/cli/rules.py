"""``fersweep rules`` and ``fersweep rule CODE``: what the diagnosis can find, and why it matters."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = """\b
Example:
  fersweep rule FS201"""


def rules() -> None:
    """List the rules of the diagnosis, a line each."""
    from fer_sweep.diagnosis.registry import RULES

    for entry in RULES.values():
        print(f"{entry.code}  {entry.name:32} {entry.summary}")


def rule(
    code: Annotated[str, typer.Argument(help="A rule's code, such as FS101, or its name.")],
) -> None:
    """Explain one rule: what it says, why it matters, what to try, where it comes from."""
    from fer_sweep.diagnosis.registry import explain

    print(explain(code))
