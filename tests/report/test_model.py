"""What a report says about a sweep: ranking by best epoch, noise, verdict counts, failures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from fer_sweep.diagnosis import Verdict, cases
from fer_sweep.history import History
from fer_sweep.report import Report, build_report
from fer_sweep.report.model import flatten


def named(history: History, name: str, **more: Any) -> History:
    return replace(history, run_id=name, run_name=name, **more)


def accuracy_run(name: str, *values: float, **more: Any) -> History:
    return named(cases.run(val__accuracy=list(values), **more), name)


def report_of(*histories: History, **sweep: Any) -> Report:
    return build_report(histories, sweep=sweep, now=datetime(2026, 1, 2, 3, 4, tzinfo=UTC))


def test_runs_are_ranked_by_their_best_epoch_not_their_last() -> None:
    report = report_of(
        accuracy_run("peaked", 0.3, 0.7, 0.4),
        accuracy_run("steady", 0.3, 0.5, 0.6),
        cases.run("none"),
    )
    assert [run.history.run_name for run in report.runs] == ["peaked", "steady", "none"]
    assert (
        "Best is peaked with 70.0 ± 0.8 % validation accuracy at epoch 2; its last epoch has only 40.0 %."
        in report.summary
    )


def test_a_runner_up_within_noise_is_called_that() -> None:
    report = report_of(
        accuracy_run("a", 0.650),
        accuracy_run("b", 0.645),
        accuracy_run("c", 0.640),
        accuracy_run("d", 0.3),
    )
    (sentence,) = [s for s in report.summary if "runner-up" in s]
    assert (
        "b, is within noise (0.5 points behind; 2.2 would be a difference), and so is 1 more"
        in sentence
    )


def test_a_runner_up_beyond_noise_is_behind() -> None:
    report = report_of(accuracy_run("a", 0.65), accuracy_run("b", 0.60))
    assert (
        "The runner-up, b, is 5.0 points behind, more than the noise of 2.2 points."
        in report.summary
    )


def test_verdicts_are_counted_in_words_and_numbers() -> None:
    report = report_of(cases.overfit(), cases.overfit(), cases.healthy(), cases.diverged())
    assert report.counts == {Verdict.DIVERGED: 1, Verdict.OVERFIT: 2, Verdict.HEALTHY: 1}
    assert report.summary[0] == "4 runs: 1 diverged, 2 overfit and 1 healthy."


def test_val_above_train_is_sorted_by_what_the_clean_accuracy_says() -> None:
    report = report_of(cases.val_above(clean=0.02), cases.val_above(clean=-0.05), cases.val_above())
    (sentence,) = [s for s in report.summary if s.startswith("Validation is above")]
    assert "3 runs" in sentence
    assert "in 1 the clean train accuracy is not below it, so nothing is wrong there" in sentence
    assert "in 1 the clean train accuracy is below it too" in sentence
    assert "in 1 no clean train accuracy was logged" in sentence


def test_failures_keep_their_cause_and_message() -> None:
    failed = cases.run(
        state="failed",
        summary={
            "failure/cause": "out-of-memory",
            "failure/message": "needs 9 GB",
            "failure/traceback": "T",
        },
    )
    report = report_of(failed, cases.run("gone", state="crashed"))
    causes = {run.history.run_id: run.failure for run in report.failures}
    assert causes["run"] is not None
    assert (causes["run"].cause, causes["run"].message, causes["run"].traceback) == (
        "out-of-memory",
        "needs 9 GB",
        "T",
    )
    assert causes["gone"] is not None
    assert "heartbeat" in causes["gone"].message
    assert "2 runs did not finish: 1 crashed and 1 out-of-memory." in report.summary


def test_gaps_are_those_at_the_end() -> None:
    (run,) = report_of(cases.val_above(by=0.03, clean=0.02)).runs
    assert run.gap == pytest.approx(-0.03, abs=0.01)
    assert run.clean_gap == pytest.approx(0.02, abs=0.01)


def test_only_hyperparameters_that_differ_are_columns_in_the_sweeps_order() -> None:
    one = cases.healthy(config={"lr": 0.1, "arch": "a", "epochs": 3, "zeta": 1})
    two = cases.healthy(config={"lr": 0.2, "arch": "b", "epochs": 3})
    report = report_of(one, two, config={"parameters": {"lr": {}, "arch": {}, "epochs": {}}})
    assert report.varying == ("lr", "arch", "zeta")


def test_advice_repeated_by_two_findings_is_given_once() -> None:
    (run,) = report_of(cases.overfit(config={"dropout": 0.1, "augment": "none"})).runs
    assert run.flags == ("FS101", "FS102")
    parameters = [change.parameter for change in run.remedies]
    assert len(parameters) == len(set(parameters))
    assert {"augment", "dropout"} <= set(parameters)


def test_no_runs_is_a_report_too() -> None:
    report = report_of()
    assert report.summary == ("There are no runs yet.",)
    assert report.counts == {}


def test_runs_without_validation_accuracy_name_no_best() -> None:
    report = report_of(cases.run(train__loss=[1.0, 0.9]))
    assert any("none can be called best" in sentence for sentence in report.summary)


def test_config_is_flattened_without_the_clients_own_keys() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "_wandb": {"x": 1}, "wandb_version": 1}) == {
        "a.b.c": 1,
        "a.d": {},
    }
