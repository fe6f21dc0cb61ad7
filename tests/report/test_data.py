"""JSON every parser takes, CSV no spreadsheet runs, Markdown no name breaks."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from fer_sweep.diagnosis import cases
from fer_sweep.history import History
from fer_sweep.report import Report, build_report, print_report, to_csv, to_json, to_markdown

EVIL = "<script>alert(1)</script>|[x](javascript:1)\n# =1+1"


def report_of(*histories: History, **sweep: Any) -> Report:
    return build_report(histories, sweep=sweep, now=datetime(2026, 1, 2, 3, 4, tzinfo=UTC))


class TestJson:
    def test_nan_is_null_in_the_curve_and_named_beside_it(self) -> None:
        text = to_json(report_of(cases.diverged(8, at=6, value=math.inf)))
        content = json.loads(
            text, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name))
        )
        (run,) = content["runs"]
        assert run["curves"]["train/loss"][5:] == [None, None, None]
        assert run["not_finite"]["train/loss"] == [6, 7, 8]
        assert run["verdict"] == "diverged"

    def test_the_schema_is_versioned_and_has_the_numbers(self) -> None:
        content = json.loads(
            to_json(
                report_of(cases.overfit(config={"lr": 0.1}), title="t", url="u", state="FINISHED")
            )
        )
        assert content["schema_version"] == 1
        assert (content["title"], content["created_at"]) == ("t", "2026-01-02T03:04:00+00:00")
        (run,) = content["runs"]
        assert {"epoch", "accuracy", "standard_error"} == run["best"].keys()
        finding = run["findings"][0]
        assert (finding["code"], finding["severity"], finding["onset"]) == (
            "FS101",
            "error",
            finding["marked"][0],
        )
        assert finding["remedies"][0]["parameter"] == "augment"
        assert run["config"] == {"lr": 0.1}

    def test_config_values_json_cannot_say_become_null_or_text(self) -> None:
        content = json.loads(
            to_json(
                report_of(
                    cases.healthy(config={"a": math.nan, "b": {1, 2}, "c": object, "d": [math.inf]})
                )
            )
        )
        config = content["runs"][0]["config"]
        assert (config["a"], config["b"], config["d"]) == (None, [1, 2], [None])
        assert "object" in config["c"]


class TestCsv:
    def rows(self, *histories: History) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(to_csv(report_of(*histories)))))

    def test_one_row_per_run_with_every_hyperparameter(self) -> None:
        rows = self.rows(
            cases.healthy(config={"lr": 0.001}), cases.run("empty", config={"dropout": 0.5})
        )
        assert len(rows) == 2
        assert rows[0]["verdict"] == "healthy"
        assert abs(float(rows[0]["best_val_accuracy"]) - 0.64) < 0.02
        assert (rows[0]["config.lr"], rows[0]["config.dropout"]) == ("0.001", "")
        assert (rows[1]["best_val_accuracy"], rows[1]["config.dropout"]) == ("", "0.5")

    def test_a_name_that_is_a_formula_stays_text(self) -> None:
        (row,) = self.rows(replace(cases.healthy(config={"@x": "-2+3"}), run_name="=HYPERLINK(1)"))
        assert row["run_name"] == "'=HYPERLINK(1)"
        assert row["config.@x"] == "'-2+3"

    def test_a_negative_gap_stays_a_number(self) -> None:
        (row,) = self.rows(cases.val_above())
        assert float(row["gap"]) < 0


class TestMarkdown:
    def test_table_has_one_line_per_run_and_equal_columns(self) -> None:
        text = to_markdown(
            report_of(
                cases.healthy(config={"a": 1}), cases.overfit(config={"a": 2}), title="My sweep"
            )
        )
        assert text.startswith("# My sweep\n")
        table = [line for line in text.splitlines() if line.startswith("| ")]
        assert len(table) == 4
        assert {line.count(" | ") for line in table} == {8}

    def test_names_cannot_break_out(self) -> None:
        text = to_markdown(report_of(replace(cases.healthy(), run_name=EVIL), title=EVIL))
        assert "<script" not in text
        assert not re.search(r"(?<!\\)\]\(", text)
        assert [line for line in text.splitlines() if line.startswith("#")] == [
            text.splitlines()[0]
        ]
        table = [line for line in text.splitlines() if line.startswith("| ")]
        assert len(table) == 3

    def test_findings_and_advice_are_listed(self) -> None:
        text = to_markdown(report_of(cases.overfit(config={"dropout": 0.0})))
        assert "- FS101 overfit-loss-turn-up: Validation loss was lowest at epoch" in text
        assert "- next: dropout: 0.15, 0.3" in text


class TestTerminal:
    def text(self, report: Report, width: int = 140, *, color: bool = False) -> str:
        out = io.StringIO()
        print_report(
            report, Console(file=out, width=width, force_terminal=color, no_color=not color)
        )
        return out.getvalue()

    def test_shows_summary_table_and_findings(self) -> None:
        failed = cases.run(
            "broken",
            state="failed",
            summary={"failure/cause": "killed", "failure/message": "signal 9"},
        )
        text = self.text(
            report_of(
                cases.overfit(config={"dropout": 0.0}),
                cases.val_above(clean=0.02),
                failed,
                title="My sweep",
            )
        )
        assert "My sweep" in text
        assert "▲ overfit" in text
        assert "⇅ val-above-train" in text
        assert "killed: signal 9" in text
        assert "nothing is wrong" in " ".join(text.split())
        assert "fersweep rule FS101" in text

    def test_a_verdict_is_a_word_and_a_symbol_not_a_colour_alone(self) -> None:
        text = self.text(report_of(cases.healthy(5)))
        assert "… too short?" in text
        assert "\x1b[" not in text

    def test_narrow_terminals_keep_the_numbers_whole(self) -> None:
        report = report_of(
            *(
                replace(cases.healthy(config={"lr": i, "dropout": i}), run_name=f"run-{i}")
                for i in range(3)
            )
        )
        text = self.text(report, width=80)
        assert "64.2 ± 0.8" in text
        assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
        assert "lr=1" in text

    def test_many_hyperparameters_go_below_the_numbers(self) -> None:
        config = {f"parameter_{i}": i for i in range(9)}
        runs = [cases.overfit(config=config), cases.healthy(config=dict.fromkeys(config, 7))]
        lines = self.text(report_of(*runs), width=80).splitlines()
        row = next(i for i, line in enumerate(lines) if "▲ overfit" in line)
        assert lines[row + 1].startswith("  FS101")
        assert "parameter_0=0 parameter_1=1" in " ".join(lines[row + 1].split())
        assert all(len(line.rstrip()) <= 80 for line in lines)

    def test_runs_that_share_a_name_are_told_apart(self) -> None:
        runs = [replace(cases.healthy(), run_name="trial-1", run_id=run_id) for run_id in "ab"]
        text = self.text(report_of(*runs), width=120)
        assert "trial-1 (a)" in text
        assert "trial-1 (b)" in text

    def test_names_are_not_read_as_markup(self) -> None:
        text = self.text(
            report_of(replace(cases.healthy(), run_name="[bold]x[/bold][/nope]"), title="[red]t")
        )
        assert "[bold]x[/bold]" in text
        assert "[red]t" in text

    def test_no_runs(self) -> None:
        assert "There are no runs yet." in self.text(report_of(title="Empty"))
