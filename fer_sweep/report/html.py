"""The report as one web page: a single file that opens anywhere, fetches nothing, and trusts no name in it."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fer_sweep.charts import (
    ACCURACY,
    BADGES,
    LOSS,
    accuracy_chart,
    legend,
    look_css,
    loss_chart,
    shared_interval,
)
from fer_sweep.diagnosis import RULES
from fer_sweep.errors import ConfigError
from fer_sweep.report.data import percent_se, points, short
from fer_sweep.report.model import Report


def to_html(report: Report) -> str:
    """The page's text: inline CSS, script and SVG, under a policy that allows nothing else."""
    environment = Environment(
        loader=PackageLoader("fer_sweep.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css, script = (_source(environment, name) for name in ("report.css", "report.js"))
    css = f"{look_css()}\n{css}"
    policy = (
        f"default-src 'none'; style-src '{_digest(css)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        css=Markup(css),
        script=Markup(script),
        policy=policy,
        badges=BADGES,
        rules=list(RULES.values()),
        interval=shared_interval(report.runs),
        accuracy_chart=accuracy_chart,
        loss_chart=loss_chart,
        accuracy_series=ACCURACY,
        loss_series=LOSS,
        legend=legend,
        percent_se=percent_se,
        points=points,
        short=short,
        safe_url=safe_url,
        version=_version(),
    )


def write_html(report: Report, path: Path) -> None:
    """Write the page; a reader sees the old file or the whole new one, never half.

    Raises:
        ConfigError: If the folder cannot be made or written to.
    """
    text = to_html(report)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(
            f"{path}: the report cannot be written ({error.strerror}). Choose another path."
        ) from error


def safe_url(url: str) -> str:
    """The address if the page may link to it, else empty.

    A run may claim ``javascript:`` for its page; and the embedded server's loopback address is gone when the command ends.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    away = bool(host) and host not in ("localhost", "::1") and not host.startswith("127.")
    return url if parts.scheme in ("http", "https") and away else ""


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _version() -> str:
    try:
        return version("fersweep")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "development"
