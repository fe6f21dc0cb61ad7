"""What the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    path
    for path in ROOT.rglob("*.md")
    if not any(p.startswith(".") for p in path.relative_to(ROOT).parts)
]


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_relative_links_resolve(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8"))

    missing = [target for target in targets if not (path.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_named_files_exist(path: Path) -> None:
    named = re.findall(
        r"`((?:fer_sweep|tests|sweeps|agents|benchmarks|docs)/[a-z0-9_/.]+)`",
        path.read_text(encoding="utf-8"),
    )

    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_commands_and_flags_exist(path: Path) -> None:
    from typer.main import get_command

    from fer_sweep.cli.main import app

    root = get_command(app)
    commands = root.commands  # type: ignore[attr-defined]
    for line in re.findall(
        r"^ {4}fersweep (.*)$|`fersweep ([^`]+)`", path.read_text(encoding="utf-8"), re.MULTILINE
    ):
        words = (line[0] or line[1]).split("#")[0].split()
        if words[0].startswith("-"):
            continue
        assert words[0] in commands, words
        command = commands[words[0]]
        if hasattr(command, "commands") and len(words) > 1:
            assert words[1] in command.commands, words
            command = command.commands[words[1]]
        known = {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for flag in re.findall(r"--[a-z-]+", " ".join(words)):
            assert flag in known, (words, flag)
