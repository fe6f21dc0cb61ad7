"""Charts of any numbers: they always draw, say what they show, and trust no name."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from fer_sweep.charts import Axis, Line, line_chart, parallel_chart

EVIL = "<script>alert(1)</script>\"'"


def line(*values: float, label: str = "loss") -> Line:
    return Line(label, np.arange(float(len(values))), np.array(values))


def svg(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


@pytest.mark.parametrize(
    "values",
    [
        (1.0,),
        (0.0, 0.0),
        (1e-12, 2e-12),
        (-5.0, 5.0),
        (1e12, 3e12),
        (1.0, np.nan, np.inf, 2.0),
        (1e308, 1.0),
    ],
)
def test_any_finite_value_can_be_drawn(values: tuple[float, ...]) -> None:
    chart = svg(line_chart("loss", [line(*values)], axis="step"))
    assert chart.find("path") is not None
    assert "nan" not in ElementTree.tostring(chart).decode().lower().replace("infinity", "")


@pytest.mark.parametrize("values", [(), (np.nan,), (np.inf, -np.inf)])
def test_nothing_finite_draws_nothing(values: tuple[float, ...]) -> None:
    assert line_chart("loss", [line(*values)], axis="step") == ""


def test_a_gap_stays_a_gap() -> None:
    chart = line_chart("loss", [line(1.0, 2.0, np.nan, 3.0, 2.0)], axis="step")
    path = re.search(r' d="([^"]*)"', chart)
    assert path is not None
    assert path[1].count("M") == 2


def test_long_lines_are_thinned_to_what_can_be_seen() -> None:
    chart = line_chart("loss", [line(*np.arange(100_000.0))], axis="step")
    assert len(chart) < 10_000


def test_screen_readers_hear_the_range_and_the_end() -> None:
    chart = svg(line_chart("Accuracy", [line(0.2, 0.8, 0.7)], axis="epoch", percent=True))
    assert chart.get("aria-label") == "Accuracy by epoch: loss from 20 % to 80 %, at the end 70 %"


def test_names_are_escaped() -> None:
    chart = line_chart(EVIL, [line(1.0, 2.0, label=EVIL)], axis=EVIL)
    assert "<script>" not in chart
    assert EVIL in str(svg(chart).get("aria-label"))
    axes = [Axis.of(EVIL, [EVIL, "b"]), Axis.of("score", [1.0, 2.0])]
    drawn = parallel_chart(axes, [(EVIL, {EVIL: EVIL, "score": 1.0})], maximize=True)
    assert "<script>" not in drawn
    svg(drawn)


class TestParallel:
    def test_the_best_run_is_on_top_and_in_the_best_shade(self) -> None:
        runs = [(f"r{i}", {"lr": 0.1 * i, "score": float(i)}) for i in range(1, 6)]
        axes = [Axis.of("lr", [v["lr"] for _, v in runs]), Axis.of("score", [1.0, 5.0])]
        for maximize, best in ((True, "r5"), (False, "r1")):
            paths = re.findall(
                r'<path class="q(\d)"[^>]*><title>(r\d)',
                parallel_chart(axes, runs, maximize=maximize),
            )
            assert paths[-1] == ("4", best)
            assert paths[0][0] == "0"

    def test_a_missing_value_breaks_the_line_only_there(self) -> None:
        axes = [Axis.of(name, [1, 2]) for name in ("a", "b", "c", "score")]
        drawn = parallel_chart(axes, [("r", {"a": 1, "c": 2, "score": 1})], maximize=True)
        assert re.search(r'd="M\d+,[\d.]+M\d+,[\d.]+L\d+,[\d.]+"', drawn)

    def test_a_run_without_a_result_is_left_out(self) -> None:
        axes = [Axis.of("a", [1, 2]), Axis.of("score", [1, 2])]
        runs: list[tuple[str, dict[str, float]]] = [
            ("r", {"a": 1}),
            ("s", {"a": 2, "score": float("nan")}),
        ]
        assert "<title>r" not in parallel_chart(axes, runs, maximize=True)

    def test_numbers_over_decades_get_a_logarithmic_axis(self) -> None:
        axis = Axis.of("lr", [1e-4 * 10 ** (i / 4) for i in range(13)])
        assert [text for _, text in axis.marks()] == ["0.0001", "0.001", "0.01", "0.1"]
        assert axis.position(1e-3) == pytest.approx(1 / 3)

    def test_a_few_values_are_marked_as_they_are(self) -> None:
        assert [text for _, text in Axis.of("batch", [64, 256, 128, 64]).marks()] == [
            "64",
            "128",
            "256",
        ]

    def test_mixed_values_are_categories(self) -> None:
        assert Axis.of("x", [1, "auto", None]).choices == ("1", "auto", "–")
        assert Axis.of("flag", [True, False]).choices == ("False", "True")
