"""TrainConfig: what a trial may be asked to do, and how a wrong wish is answered."""

from __future__ import annotations

from typing import Any

import pytest

from fer_sweep.errors import ConfigError
from fer_sweep.train_config import TrainConfig, value_problem


def test_parameters_of_a_trial_become_a_config_and_the_clients_own_are_ignored() -> None:
    config = TrainConfig.from_parameters(
        {"learning_rate": 0.01, "batch_size": 64, "_wandb": {}, "wandb_version": 1}, where="run x"
    )

    assert (config.learning_rate, config.batch_size, config.arch) == (0.01, 64, "cnn4_bn")


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        TrainConfig.from_parameters({"lr": 0.1, "dropout": 2, "epochs": 0}, where="run x")

    assert len(error.value.problems) == 3
    assert error.value.problems[0].startswith(
        "run x: lr: no such hyperparameter. Did you mean learning_rate?"
    )


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        pytest.param("learning_rate", "1e-4", "write 0.0001 or 1.0e-4", id="yaml text"),
        pytest.param("learning_rate", "2.5E-05", "write 0.000025", id="text with a dot"),
        pytest.param("batch_size", "64", "Write 64.", id="quoted number"),
        pytest.param("learning_rate", "fast", "must be a number (got the text 'fast').", id="word"),
        pytest.param("learning_rate", 0, "must be greater than 0 (got 0).", id="zero"),
        pytest.param("dropout", 1.5, "must be at most 0.95 (got 1.5).", id="above"),
        pytest.param("epochs", 2.5, "must be a whole number (got 2.5).", id="fraction"),
        pytest.param("epochs", True, "must be a number (got True).", id="bool"),
        pytest.param("arch", "resnet19", "must be one of cnn1, cnn2", id="choice"),
    ],
)
def test_a_wrong_value_says_what_is_wrong_and_how_to_fix_it(
    name: str, value: Any, text: str
) -> None:
    problem = value_problem(name, value)

    assert problem is not None
    assert text in problem


def test_every_default_is_valid() -> None:
    for name, value in TrainConfig().model_dump().items():
        assert value_problem(name, value) is None
