"""From what a page shows to its bytes: templates that escape everything, under a policy that runs nothing of theirs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from fer_sweep.charts import BADGES, look_css
from fer_sweep.server.guard import HEADERS

STATIC = "/-/static/"
"""No entity may be called ``-``, so nothing of ours hides a project."""
_PRIVATE = {**HEADERS, "Cache-Control": "private, no-store"}


def respond(template: str, *, status: int = 200, **content: Any) -> Response:
    """Answer with a page."""
    return HTMLResponse(render(template, **content), status, headers=_PRIVATE)


def respond_json(body: Mapping[str, Any]) -> Response:
    """Answer a page's script."""
    return Response(json.dumps(body), media_type="application/json", headers=_PRIVATE)


def render_parts(names: Iterable[str], content: Mapping[str, Any]) -> dict[str, str]:
    """The pieces of a page that change while it is open, by name."""
    return {name: render(f"_{name}.html.j2", **content) for name in names}


def render(template: str, **content: Any) -> str:
    """Fill a template."""
    return _environment().get_template(template).render(**content)


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type of everything that the pages load, by name."""
    folder = files("fer_sweep.server.pages").joinpath("static")
    css = look_css() + "\n" + folder.joinpath("pages.css").read_text(encoding="utf-8")
    script = folder.joinpath("pages.js").read_text(encoding="utf-8")
    return {
        "pages.css": (css.encode(), "text/css; charset=utf-8"),
        "pages.js": (script.encode(), "text/javascript; charset=utf-8"),
    }


def static_url(name: str) -> str:
    """Where a file is; changes with its content, so that a browser may keep it."""
    digest = hashlib.sha256(static_files()[name][0]).hexdigest()[:12]
    return f"{STATIC}{name}?v={digest}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fer_sweep.server.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": ago,
        "clock": clock_text,
        "duration": duration,
        "iso": iso,
        "segment": segment,
        "show": show,
        "size": size_text,
    }
    environment.globals |= {"badges": BADGES, "static": static_url, "fersweep_version": _version()}
    return environment


def segment(name: object) -> str:
    """A name as one segment of an address."""
    return quote(str(name), safe="")


def show(value: Any, limit: int = 60, *, percent: bool = False) -> str:
    """A value as a person writes it; long ones cut.

    Example:
        >>> show(0.0003), show(None), show(0.625, percent=True), show({"a": 1}), show(float("nan"))
        ('0.0003', '–', '62.5 %', '{"a": 1}', 'NaN')
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        if not math.isfinite(value):
            text = "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
        else:
            text = f"{100 * value:.1f} %" if percent else f"{value:.5g}"
    elif isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def duration(seconds: float) -> str:
    """A length of time in at most two units.

    Example:
        >>> duration(4.2), duration(95), duration(3600 * 49)
        ('4 s', '1 min 35 s', '2 d 1 h')
    """
    left = max(round(seconds), 0)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def ago(time: float, now: float) -> str:
    """How long ago something was.

    Example:
        >>> ago(0, 7300), ago(10, 10)
        ('2 h ago', 'just now')
    """
    passed = now - time
    return "just now" if passed < 5 else " ".join(duration(passed).split(" ")[:2]) + " ago"


def iso(time: float) -> str:
    """A time for machines."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")


def clock_text(time: float) -> str:
    """A time for people, in UTC: the server does not know where the reader is."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def size_text(count: int) -> str:
    """A size in bytes for people.

    Example:
        >>> size_text(900), size_text(1_500_000)
        ('900 B', '1.5 MB')
    """
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _version() -> str:
    try:
        return version("fersweep")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "development"
