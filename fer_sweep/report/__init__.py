"""A sweep's runs in every form people read: terminal, web page, JSON, CSV, Markdown. No network."""

from fer_sweep.report.data import to_csv, to_json, to_markdown
from fer_sweep.report.html import to_html, write_html
from fer_sweep.report.model import SCHEMA_VERSION, Failure, Report, RunReport, build_report
from fer_sweep.report.terminal import print_report

__all__ = [
    "SCHEMA_VERSION",
    "Failure",
    "Report",
    "RunReport",
    "build_report",
    "print_report",
    "to_csv",
    "to_html",
    "to_json",
    "to_markdown",
    "write_html",
]
