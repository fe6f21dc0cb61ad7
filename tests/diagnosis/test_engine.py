"""Headlines, peers, provisional verdicts, and robustness on any history at all."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fer_sweep.diagnosis import Verdict, cases, diagnose
from fer_sweep.diagnosis.cause import lag_share
from fer_sweep.history import METRICS, History

SHORT_OVERFIT = cases.run(
    train__loss=[1.6, 1.3, 1.0, 0.8, 0.6, 0.4, 0.3],
    train__accuracy=[0.4, 0.5, 0.6, 0.7, 0.8, 0.87, 0.9],
    val__loss=[1.5, 1.3, 1.25, 1.3, 1.4, 1.55, 1.7],
    val__accuracy=[0.42, 0.5, 0.52, 0.53, 0.53, 0.54, 0.53],
)


def verdict(history: History) -> Verdict:
    return diagnose([history])[0].verdict


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        pytest.param(cases.healthy(), Verdict.HEALTHY, id="healthy"),
        pytest.param(cases.overfit(), Verdict.OVERFIT, id="overfit, which memorises too"),
        pytest.param(cases.val_above(), Verdict.VAL_ABOVE_TRAIN, id="val above train"),
        pytest.param(cases.flat(), Verdict.UNDERFIT, id="underfit"),
        pytest.param(cases.rising(), Verdict.UNDERTRAINED, id="undertrained"),
        pytest.param(cases.diverged(), Verdict.DIVERGED, id="diverged"),
        pytest.param(
            cases.diverged(state="failed"), Verdict.DIVERGED, id="failed because it diverged"
        ),
        pytest.param(
            cases.overfit(state="crashed"), Verdict.FAILED, id="failed, whatever its curves"
        ),
        pytest.param(
            cases.healthy(state="finished", summary={"failure/cause": "out-of-memory"}),
            Verdict.FAILED,
            id="failure on record",
        ),
        pytest.param(cases.healthy(5), Verdict.TOO_SHORT, id="too short"),
        pytest.param(cases.run(), Verdict.TOO_SHORT, id="nothing logged"),
        pytest.param(SHORT_OVERFIT, Verdict.OVERFIT, id="overfit even if short"),
    ],
)
def test_headline(history: History, expected: Verdict) -> None:
    assert verdict(history) == expected


def test_findings_come_worst_first() -> None:
    codes = [finding.code for finding in diagnose([SHORT_OVERFIT])[0].findings]
    assert codes == ["FS101", "FS102", "FS001"]


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (replace(cases.overfit(), rows_expected=25), "20 of 25 rows were read"),
        (cases.overfit(state="running"), "the run is running"),
        (cases.overfit(state="killed"), "the run was stopped early"),
        (SHORT_OVERFIT, "too few epochs or metrics for a firm verdict"),
    ],
    ids=["rows missing", "running", "stopped early", "short"],
)
def test_verdict_is_provisional_and_says_why(history: History, reason: str) -> None:
    diagnosis = diagnose([history])[0]
    assert diagnosis.provisional
    assert reason in diagnosis.notes
    assert all(finding.provisional for finding in diagnosis.findings)


def test_divergence_is_never_provisional() -> None:
    assert not diagnose([cases.diverged(3, at=2)])[0].provisional


def test_assumed_counts_are_noted() -> None:
    history = replace(cases.healthy(), summary={})
    assert any("28,709" in note for note in diagnose([history])[0].notes)


def test_a_run_far_below_its_sweep_is_underfit() -> None:
    weak = cases.flat(level=0.58, summary={"data/source": "faces:n=6000"})
    assert verdict(weak) != Verdict.UNDERFIT
    strong = [
        cases.run(
            train__accuracy=cases.approach(20, 0.3, 0.79),
            val__accuracy=cases.approach(20, 0.3, 0.77),
        )
        for _ in range(4)
    ]
    assert diagnose([weak, *strong])[0].verdict == Verdict.UNDERFIT


def test_accuracy_that_improves_after_the_turn_is_told_and_keeps_its_epochs() -> None:
    accuracy = cases.approach(30, 0.42, 0.62, pace=12)
    history = replace(
        cases.overfit(30), columns={**cases.overfit(30).columns, "val/accuracy": accuracy}
    )
    (finding,) = [f for f in diagnose([history])[0].findings if f.code == "FS101"]
    assert "points up to epoch 30: the network grows overconfident" in finding.message
    assert "epochs" not in [change.parameter for change in finding.remedies]


def test_a_run_stuck_at_chance_is_told_to_lower_its_learning_rate() -> None:
    stuck = cases.run(
        train__accuracy=[0.25] * 12,
        val__accuracy=[0.25] * 12,
        config={"learning_rate": 0.05, "arch": "cnn4"},
    )
    (finding,) = [f for f in diagnose([stuck])[0].findings if f.code == "FS301"]
    assert "never got past always answering the commonest class" in finding.message
    (rate,) = [change for change in finding.remedies if change.parameter == "learning_rate"]
    assert max(rate.values) < 0.05


class TestValAboveTrain:
    def message(self, history: History) -> tuple[str, str, str]:
        (finding,) = [f for f in diagnose([history])[0].findings if f.code == "FS201"]
        return finding.message, str(finding.evidence["cause"]), finding.severity

    def test_clean_train_accuracy_above_validation_means_nothing_is_wrong(self) -> None:
        history = cases.val_above(clean=0.02, config={"dropout": 0.5, "augment": "readme"})
        text, cause, severity = self.message(history)
        assert (cause, severity) == ("measurement", "info")
        assert (
            "± 1.1 points above validation: dropout, augmentation and lag make train look worse; nothing is wrong."
            in text
        )

    def test_only_what_the_run_used_is_suspected(self) -> None:
        text, _, _ = self.message(
            cases.val_above(clean=0.019, config={"dropout": 0.0, "augment": "none"})
        )
        assert "dropout" not in text
        assert "averaging over the epoch" in text

    def test_clean_train_accuracy_below_validation_suspects_the_split(self) -> None:
        text, cause, severity = self.message(cases.val_above(clean=-0.04))
        assert (cause, severity) == ("split", "warn")
        assert "easier" in text
        assert "leaked" in text

    def test_a_clean_accuracy_just_below_is_noise(self) -> None:
        text, cause, _ = self.message(cases.val_above(clean=-0.005))
        assert cause == "measurement"
        assert "within noise" in text

    def test_without_clean_accuracy_fast_learning_is_inferred_to_be_lag(self) -> None:
        epochs = np.linspace(0.2, 0.6, 20)
        text, cause, _ = self.message(
            cases.run(train__accuracy=epochs - 0.0105, val__accuracy=epochs)
        )
        assert cause == "lag"
        assert "not measured" in text

    def test_without_clean_accuracy_and_lag_the_cause_is_unknown(self) -> None:
        text, cause, _ = self.message(cases.val_above(config={"dropout": 0.5}))
        assert cause == "unknown"
        assert "dropout 0.5" in text
        assert "inferred" in text

    def test_half_an_epoch_explains_a_pure_running_average(self) -> None:
        ends = np.linspace(0.2, 0.6, 21)
        running = (ends[:-1] + ends[1:]) / 2
        assert lag_share(running, ends[1:]) == pytest.approx(1.0)


_SERIES = arrays(
    np.float64,
    st.integers(0, 14),
    elements=st.one_of(st.floats(0, 3), st.sampled_from([math.nan, math.inf, -math.inf, 0.0])),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(METRICS), _SERIES),
    st.sampled_from(["finished", "failed", "running"]),
)
def test_no_history_breaks_a_rule(columns: dict[str, np.ndarray], state: str) -> None:
    length = min((len(v) for v in columns.values()), default=0)
    kept: dict[str, Any] = {
        name.replace("/", "__"): values[:length] for name, values in columns.items()
    }
    history = cases.run(state=state, **kept)
    diagnosis = diagnose([history])[0]
    assert diagnosis.verdict in Verdict
    for finding in diagnosis.findings:
        assert finding.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.sampled_from([cases.healthy, cases.overfit, cases.val_above, cases.flat, cases.rising]),
    st.lists(st.integers(0, 20), max_size=5),
)
def test_rows_without_metrics_change_nothing(build: Any, holes: list[int]) -> None:
    whole = build(20)
    holed = _with_holes(whole, holes)
    before, after = diagnose([whole])[0], diagnose([holed])[0]
    assert after.verdict == before.verdict
    assert after.findings == before.findings


def _with_holes(history: History, holes: list[int]) -> History:
    """Insert rows in which only the epoch (a number past the end, so the others keep theirs) was logged."""
    columns = {name: np.insert(values, holes, np.nan) for name, values in history.columns.items()}
    epochs = columns["epoch"]
    epochs[np.isnan(epochs)] = 0
    return replace(history, columns=columns)


def test_every_generated_shape_survives_truncation_to_any_length() -> None:
    for build in (cases.healthy, cases.overfit, cases.val_above, cases.flat, cases.rising):
        for length in range(12):
            assert verdict(build(length)) in Verdict


@pytest.mark.parametrize(
    ("planned", "advice"),
    [
        pytest.param({"epochs": 60}, "let it finish: it ended at epoch 2 of 60", id="interrupted"),
        pytest.param({"epochs": 2}, "epochs: 8 (for a firm verdict)", id="planned too short"),
        pytest.param({}, "epochs: 8 (for a firm verdict)", id="no plan known"),
    ],
)
def test_a_short_run_is_advised_by_its_own_plan(planned: dict[str, Any], advice: str) -> None:
    (finding,) = diagnose([cases.healthy(2, config=planned)])[0].findings
    assert [str(change) for change in finding.remedies] == [advice]


def test_an_interrupted_run_that_still_improved_is_let_finish_not_made_longer() -> None:
    findings = diagnose([cases.rising(config={"epochs": 60})])[0].findings
    (undertrained,) = (finding for finding in findings if finding.code == "FS303")
    assert "let it finish" in str(undertrained.remedies[0])
