"""Console lines as wandb sends them: severity, time and text in one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_LINE = re.compile(
    r"(?P<level>ERROR )?(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?) (?P<text>.*)", re.DOTALL
)


def parse_line(number: int, line: str) -> Mapping[str, Any]:
    """W&B's ``LogLine``; a line without a time is text only.

    Example:
        >>> parse_line(0, "ERROR 2026-01-31T12:00:00.25 lr is too high")["level"]
        'error'
    """
    match = _LINE.fullmatch(line)
    if match is None:
        return {"number": number, "level": "", "label": "", "line": line}
    return {
        "number": number,
        "timestamp": match["time"],
        "level": "error" if match["level"] else "",
        "label": "",
        "line": match["text"],
    }
