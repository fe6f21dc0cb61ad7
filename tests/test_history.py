"""One run's rows become one row per epoch, whatever they were called and however they were logged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_sweep.errors import ConfigError
from fer_sweep.history import (
    best_epoch,
    build_history,
    mann_kendall,
    noise,
    parse_metric_map,
    recognise,
    smooth,
    standard_error,
    window,
)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("accuracy", "train/accuracy"),
        ("acc", "train/accuracy"),
        ("train_acc", "train/accuracy"),
        ("epoch/train_acc", "train/accuracy"),
        ("training_accuracy", "train/accuracy"),
        ("trainAcc", "train/accuracy"),
        ("train/acc_running", "train/accuracy"),
        ("train_acc_epoch", "train/accuracy"),
        ("Train Accuracy (%)", "train/accuracy"),
        ("sparse_categorical_accuracy", "train/accuracy"),
        ("val_accuracy", "val/accuracy"),
        ("val_acc", "val/accuracy"),
        ("eval/accuracy", "val/accuracy"),
        ("valid_acc", "val/accuracy"),
        ("validation_accuracy", "val/accuracy"),
        ("val_sparse_categorical_accuracy", "val/accuracy"),
        ("test_acc", "val/accuracy"),
        ("loss", "train/loss"),
        ("Train/Loss", "train/loss"),
        ("val_loss", "val/loss"),
        ("Valid Loss", "val/loss"),
        ("train_eval/accuracy", "train_eval/accuracy"),
        ("train/acc_eval", "train_eval/accuracy"),
        ("clean_train_acc", "train_eval/accuracy"),
        ("val_macro_f1", "val/macro_f1"),
        ("epoch", "epoch"),
        ("trainer/epoch", "epoch"),
        ("learning_rate", "lr"),
        ("best_val_acc", None),
        ("train_loss_step", None),
        ("val/macro_accuracy", None),
        ("val_weighted_f1", None),
        ("loss_accuracy", None),
        ("gpu.0.temp", None),
        ("", None),
    ],
)
def test_common_metric_names_are_recognised(theirs: str, ours: str | None) -> None:
    assert recognise(theirs) == ours


def test_our_own_names_win_over_lookalikes() -> None:
    history = build_history([{"epoch": 1, "val/accuracy": 0.5, "val_acc": 0.9}], run_id="r")
    assert history.columns["val/accuracy"].tolist() == [0.5]


def test_a_test_metric_stands_in_only_without_a_validation_metric() -> None:
    with_val = build_history([{"val_acc": 0.5, "test_acc": 0.9}], run_id="r")
    without = build_history([{"train_acc": 0.5, "test_acc": 0.9}], run_id="r")
    assert with_val.columns["val/accuracy"].tolist() == [0.5]
    assert without.columns["val/accuracy"].tolist() == [0.9]
    assert any("val/accuracy from test_acc" in note for note in without.notes)


def test_equally_good_names_are_named_with_the_way_to_choose() -> None:
    history = build_history([{"val_acc": 0.5, "valid_acc": 0.9}], run_id="r")
    assert any("--map val/accuracy=NAME" in note and "valid_acc" in note for note in history.notes)


class TestMetricMap:
    @pytest.mark.parametrize(
        "text",
        ["train/accuracy=acc_x", "acc_x=train/accuracy", "train/acc=acc_x", " train/acc = acc_x "],
    )
    def test_either_order_is_read_when_one_side_is_ours(self, text: str) -> None:
        assert parse_metric_map([text]) == {"train/accuracy": "acc_x"}

    def test_a_short_form_next_to_a_canonical_name_is_theirs(self) -> None:
        assert parse_metric_map(["train/accuracy=train/acc"]) == {"train/accuracy": "train/acc"}

    def test_all_bad_options_are_told_at_once_with_the_form(self) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_metric_map(
                [
                    "foo=bar",
                    "train/accuracy=val/accuracy",
                    "val/accuracy",
                    "val/loss=a",
                    "val/loss=b",
                ]
            )
        assert len(caught.value.problems) == 4
        assert "OURS=THEIRS" in caught.value.problems[0]
        assert "already mapped to a" in caught.value.problems[3]

    def test_a_mapped_name_beats_a_recognised_one(self) -> None:
        rows = [{"val_acc": 0.5, "weird": 0.7}]
        history = build_history(rows, run_id="r", metric_map={"val/accuracy": "weird"})
        assert history.columns["val/accuracy"].tolist() == [0.7]

    def test_a_mapped_name_this_run_never_logged_is_noted(self) -> None:
        history = build_history([{"loss": 1.0}], run_id="r", metric_map={"val/accuracy": "weird"})
        assert "weird was not logged by this run (val/accuracy)" in history.notes


class TestJoining:
    def test_rows_of_one_epoch_are_joined_by_epoch(self) -> None:
        rows = [
            {"epoch": 1, "train_loss": 2.0},
            {"epoch": 1, "val_loss": 1.9},
            {"epoch": 2, "train_loss": 1.5},
            {"epoch": 2, "val_loss": 1.6},
        ]
        history = build_history(rows, run_id="r")
        assert history.epochs.tolist() == [1, 2]
        assert history.columns["train/loss"].tolist() == [2.0, 1.5]
        assert history.columns["val/loss"].tolist() == [1.9, 1.6]
        assert not history.incomplete

    @pytest.mark.parametrize("first", ["train_loss", "val_loss"])
    def test_rows_without_an_epoch_are_joined_by_order(self, first: str) -> None:
        second = "val_loss" if first == "train_loss" else "train_loss"
        rows = [{first: 3.0}, {second: 2.0}, {first: 1.0}, {second: 0.5}]
        history = build_history(rows, run_id="r")
        assert history.length == 2
        assert history.columns[f"{first.split('_')[0]}/loss"].tolist() == [3.0, 1.0]

    def test_training_per_step_is_averaged_up_to_each_validation(self) -> None:
        rows = [{"train_loss": v} for v in (4.0, 2.0, 3.0)] + [{"val_loss": 2.5}]
        rows += [{"train_loss": v} for v in (2.0, 1.0, 1.5)] + [{"val_loss": 2.0}]
        history = build_history(rows, run_id="r")
        assert history.columns["train/loss"].tolist() == [3.0, 1.5]
        assert history.columns["val/loss"].tolist() == [2.5, 2.0]

    def test_fractional_epochs_belong_to_the_epoch_they_lead_to(self) -> None:
        rows = [
            {"train/epoch": 0.5, "train/loss": 2.0},
            {"train/epoch": 1.0, "train/loss": 1.0},
            {"train/epoch": 1.0, "eval/loss": 1.2},
            {"train/epoch": 1.5, "train/loss": 0.8},
        ]
        history = build_history(rows, run_id="r")
        assert history.columns["train/loss"].tolist() == [1.5, 0.8]
        assert history.columns["val/loss"][0] == 1.2

    def test_epochs_counted_from_zero_are_shown_from_one(self) -> None:
        history = build_history(
            [{"epoch": e, "train_loss": 1.0, "val_loss": 1.0} for e in range(3)], run_id="r"
        )
        assert history.epochs.tolist() == [1, 2, 3]

    def test_an_evaluation_before_training_is_left_out(self) -> None:
        rows = [{"epoch": 0, "val_loss": 2.0}, {"epoch": 1, "train_loss": 1.0, "val_loss": 1.0}]
        history = build_history(rows, run_id="r")
        assert history.epochs.tolist() == [1]
        assert history.notes

    def test_an_epoch_done_twice_is_not_averaged_with_its_first_attempt(self) -> None:
        rows = [
            {"epoch": 1, "train_loss": 9.0, "val_loss": 9.0},
            {"epoch": 1, "train_loss": 1.0, "val_loss": 1.1},
        ]
        assert build_history(rows, run_id="r").columns["train/loss"].tolist() == [1.0]

    def test_an_epoch_done_twice_counts_as_it_was_last(self) -> None:
        rows = [
            {"epoch": 1, "val_acc": 0.3},
            {"epoch": 2, "val_acc": 0.4},
            {"epoch": 2, "val_acc": 0.5},
        ]
        assert build_history(rows, run_id="r").columns["val/accuracy"].tolist() == [0.3, 0.5]


class TestValues:
    def test_nan_and_infinity_are_kept_and_told_from_missing(self) -> None:
        rows: list[dict[str, Any]] = [
            {"epoch": 1, "train/loss": 1.0, "val/loss": None},
            {"epoch": 2, "train/loss": "NaN", "val/loss": 1.0},
            {"epoch": 3, "train/loss": math.inf, "val/loss": float("nan")},
        ]
        history = build_history(rows, run_id="r")
        assert math.isnan(history.columns["val/loss"][0])
        assert math.isinf(history.columns["train/loss"][2])
        assert history.not_finite == {"train/loss": (2, 3), "val/loss": (3,)}

    def test_percent_becomes_a_fraction_and_is_noted(self) -> None:
        history = build_history([{"val_acc": 41.0}, {"val_acc": 63.5}], run_id="r")
        assert history.columns["val/accuracy"].tolist() == [0.41, 0.635]
        assert any("percent" in note for note in history.notes)

    def test_what_cannot_be_an_accuracy_is_left_out_and_noted(self) -> None:
        history = build_history([{"val_acc": 4100.0}], run_id="r")
        assert "val/accuracy" not in history.columns
        assert any("no accuracy" in note for note in history.notes)

    def test_text_booleans_and_objects_are_not_values(self) -> None:
        history = build_history(
            [{"train_loss": "abc", "val_loss": True, "val_acc": {"a": 1}, "loss": 1.0}], run_id="r"
        )
        assert history.columns.keys() == {"train/loss", "epoch"}

    def test_fewer_rows_than_expected_is_incomplete(self) -> None:
        assert build_history([{"loss": 1.0}], run_id="r", rows_expected=2).incomplete
        assert not build_history([{"loss": 1.0}] * 3, run_id="r", rows_expected=2).incomplete

    def test_counts_come_from_the_run_and_fall_back_to_fer2013_flagged(self) -> None:
        known = build_history([], run_id="r", summary={"n_train": 5600, "n_val": 700})
        assumed = build_history([], run_id="r", config={"n_train": "many"})
        assert (known.n_train, known.n_val, known.sizes_assumed) == (5600, 700, False)
        assert (assumed.n_train, assumed.n_val, assumed.sizes_assumed) == (28_709, 3_589, True)


class TestStatistics:
    def test_window_grows_with_length_from_1_to_5(self) -> None:
        assert [window(n) for n in (0, 1, 9, 10, 35, 100)] == [1, 1, 1, 2, 4, 5]

    def test_smoothing_removes_a_single_spike(self) -> None:
        assert smooth(np.array([1.0, 1.0, 9.0, 1.0, 1.0]), 3)[2] == 1.0

    def test_noise_ignores_the_trend(self) -> None:
        assert noise(np.linspace(2, 1, 30)) == pytest.approx(0, abs=1e-9)

    def test_noise_finds_the_size_of_jitter(self) -> None:
        jitter = np.random.default_rng(0).normal(0, 0.05, 2000)
        assert noise(np.linspace(2, 1, 2000) + jitter) == pytest.approx(0.05, rel=0.1)

    def test_standard_error_of_fer2013_validation_is_0_8_points(self) -> None:
        assert standard_error(0.65, 3589) == pytest.approx(0.008, abs=1e-4)

    def test_a_falling_series_has_a_negative_trend_and_noise_has_none(self) -> None:
        assert mann_kendall(np.arange(10.0)[::-1]) < -1.96
        assert abs(mann_kendall(np.random.default_rng(1).normal(size=10))) < 1.96

    def test_best_epoch_is_the_first_highest_and_not_the_last(self) -> None:
        history = build_history([{"val_acc": v} for v in (0.3, 0.6, 0.6, 0.5)], run_id="r")
        best = best_epoch(history)
        assert best is not None
        assert (best.epoch, best.accuracy) == (2, 0.6)

    def test_no_validation_accuracy_has_no_best_epoch(self) -> None:
        assert best_epoch(build_history([{"loss": 1.0}], run_id="r")) is None


_VALUES = st.one_of(
    st.none(), st.floats(), st.integers(-5, 500), st.sampled_from(["NaN", "x", True])
)
_NAMES = st.sampled_from(
    ["epoch", "train_loss", "val_loss", "val_acc", "accuracy", "lr", "train_eval/accuracy", "zzz"]
)


@given(st.lists(st.dictionaries(_NAMES, _VALUES), max_size=12))
def test_no_row_breaks_the_table(rows: list[dict[str, object]]) -> None:
    history = build_history(rows, run_id="r")
    assert all(len(values) == history.length for values in history.columns.values())
    assert len(history.epochs) == history.length
    assert np.all(np.diff(history.epochs) > 0)
