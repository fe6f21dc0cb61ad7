"""Which sweeps are refused before any trial, and which run with a warning."""

from __future__ import annotations

from typing import Any

import pytest

from fer_sweep.agent.fit import check_sweep
from fer_sweep.errors import ConfigError


def check(parameters: dict[str, Any], **more: Any) -> list[str]:
    config = {"method": "grid", "parameters": parameters, **more}
    return check_sweep(config, where="sweep e/p/s", train_images=256)


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"train_size": {"values": [0, 64, 256]}, "epochs": {"value": 1}}, id="lists"),
        pytest.param({"train_size": {"min": 16, "max": 256}}, id="range"),
        pytest.param({"dropout": {"min": 0.0, "max": 0.5}}, id="no train_size"),
    ],
)
def test_a_sweep_that_fits_is_not_talked_about(parameters: dict[str, Any]) -> None:
    assert check(parameters, method="random", run_cap=9) == []


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        pytest.param({"lr": {"values": [0.1]}}, "parameters.lr: no such hyper", id="unknown name"),
        pytest.param({"arch": {"value": "vit"}}, "parameters.arch: value: must be", id="one value"),
        pytest.param(
            {"dropout": {"values": [1, 2]}}, "parameters.dropout: values: must be", id="all values"
        ),
        pytest.param(
            {"epochs": {"distribution": "uniform", "min": 1, "max": 9}},
            "parameters.epochs: takes whole numbers",
            id="fractions of an epoch",
        ),
        pytest.param(
            {"model": {"parameters": {"arch": {"value": "cnn1"}}}}, "parameters.model", id="nested"
        ),
    ],
)
def test_a_sweep_of_which_no_trial_can_run_is_refused(
    parameters: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as error:
        check({"epochs": {"value": 1}, **parameters}, method="random", run_cap=9)
    assert error.value.problems[0].startswith(f"sweep e/p/s: {problem}")
    assert error.value.problems[-1].startswith("sweep e/p/s: every trial would fail here. Run it")


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        pytest.param(
            {"arch": {"values": ["cnn1", "vit"]}}, "parameters.arch: values: must be", id="list"
        ),
        pytest.param(
            {"dropout": {"min": 0.0, "max": 1.5}}, "parameters.dropout: max: must be", id="range"
        ),
        pytest.param(
            {"batch_size": {"min": 0, "max": 64}}, "parameters.batch_size: min: must", id="whole"
        ),
    ],
)
def test_values_of_which_some_are_good_are_told_and_run(
    parameters: dict[str, Any], problem: str
) -> None:
    (told,) = check(parameters, method="random", run_cap=9)
    assert told.startswith(f"sweep e/p/s: {problem}")


def test_a_metric_that_is_not_logged_is_told() -> None:
    (told,) = check({"seed": {"values": [1, 2]}}, metric={"name": "accuracy", "goal": "maximize"})
    assert told.startswith("sweep e/p/s: metric.name: train() does not log it (got 'accuracy')")


@pytest.mark.parametrize("size", [{"values": [257, 5000]}, {"min": 257, "max": 5000}])
def test_more_images_than_there_are_in_every_trial_are_refused(size: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"train_size: .* the 256 training images .*\(got 257"):
        check({"train_size": size})


@pytest.mark.parametrize("size", [{"values": [0, 5000]}, {"min": 16, "max": 5000}])
def test_more_images_than_there_are_in_some_trials_are_told(size: dict[str, Any]) -> None:
    (told,) = check({"train_size": size})
    assert "(got 5000)" in told
    assert "--data" in told
