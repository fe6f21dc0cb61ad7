"""Importance: finds what matters, says in which direction, and claims nothing from noise."""

from __future__ import annotations

import math
import random

import pytest

from fer_sweep.diagnosis import rank_parameters


def runs(count: int, seed: int = 0) -> list[tuple[dict[str, object], float]]:
    """Learning rate hurts on a logarithmic scale, one architecture helps, a third parameter does nothing."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        config: dict[str, object] = {
            "lr": 10 ** rng.uniform(-4, -1),
            "arch": rng.choice("abc"),
            "noise": rng.random(),
        }
        score = -math.log10(float(str(config["lr"]))) + (config["arch"] == "a") + rng.gauss(0, 0.2)
        found.append((config, score))
    return found


def test_what_matters_comes_first_with_its_direction() -> None:
    ranked = rank_parameters(runs(80), ["noise", "arch", "lr"])
    assert [item.name for item in ranked] == ["lr", "arch", "noise"]
    rate, arch, nothing = ranked
    assert rate.correlation is not None
    assert rate.correlation < -0.7
    assert arch.correlation is None
    assert rate.n == 80
    assert nothing.share < 0.15 < arch.share + 0.1 < rate.share


def test_noise_explains_about_nothing_on_average() -> None:
    shares = []
    for seed in range(40):
        found = rank_parameters(
            [
                (config, random.Random(seed * 99 + i).random())
                for i, (config, _) in enumerate(runs(24, seed))
            ],
            ["lr", "arch", "noise"],
        )
        shares += [item.share for item in found]
    assert sum(shares) / len(shares) < 0.06


def test_a_purely_categorical_effect_without_direction_is_seen() -> None:
    found = [({"width": width}, float(width == 2)) for width in (1, 2, 3) for _ in range(6)]
    ranked = rank_parameters(found, ["width"])[0]
    assert ranked.share > 0.9
    assert ranked.correlation == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_runs_say_nothing(count: int) -> None:
    assert rank_parameters(runs(count), ["lr"]) == []


def test_a_constant_or_missing_parameter_is_left_out() -> None:
    found = [({"a": 1, "b": None}, float(i)) for i in range(9)]
    assert rank_parameters(found, ["a", "b", "c"]) == []


def test_equal_results_are_no_division_by_zero() -> None:
    ranked = rank_parameters([({"a": i}, 0.5) for i in range(9)], ["a"])[0]
    assert (ranked.share, ranked.correlation) == (0.0, None)


def test_unusual_values_are_categories() -> None:
    values = [[1, 2], "x", None, float("nan"), {"k": 1}]
    found = [({"a": values[i % 5]}, float(i % 5)) for i in range(20)]
    ranked = rank_parameters(found, ["a"])[0]
    assert ranked.correlation is None
    assert ranked.share > 0.9
    assert ranked.n == 16
