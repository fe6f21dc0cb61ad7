"""``fersweep create``: from flags or a file to a registered sweep, its YAML, and what is wrong with it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fer_sweep.train_config import TrainConfig

Cli = Callable[..., Any]
FLAGS = {"learning_rate": "lr"}


def test_every_hyperparameter_has_a_flag() -> None:
    from fer_sweep.cli.create import create

    flags = set(inspect.signature(create).parameters)

    assert {FLAGS.get(name, name) for name in TrainConfig.model_fields} <= flags


def test_dry_run_prints_valid_yaml_and_registers_nothing(run_cli: Cli, tmp_path: Path) -> None:
    result = run_cli("create", "--arch", "cnn4_bn", "--lr", "1e-5..1e-2", "--dry-run")

    config = yaml.safe_load(result.out)
    assert result.code == 0
    assert config["parameters"]["learning_rate"] == {
        "distribution": "log_uniform_values",
        "min": 0.00001,
        "max": 0.01,
    }
    assert not (tmp_path / ".fersweep").exists()


def test_the_issue_command_line_makes_the_bayes_sweep_it_describes(run_cli: Cli) -> None:
    result = run_cli(
        *("create", "--arch", "cnn4_bn,resnet18", "--lr", "1e-4..1e-2", "--batch-size", "64,128"),
        *("--dropout", "0,0.3", "--weight-decay", "0,1e-4", "--augment", "none,readme"),
        *("--method", "bayes", "--run-cap", "20", "--epochs", "20", "--dry-run", "--json"),
    )

    config = json.loads(result.out)["config"]
    assert (config["method"], config["run_cap"]) == ("bayes", 20)
    assert config["parameters"]["batch_size"] == {"values": [64, 128]}
    assert config["parameters"]["weight_decay"] == {"values": [0, 0.0001]}


def test_create_registers_the_sweep_keeps_its_yaml_and_remembers_it(
    run_cli: Cli, tmp_path: Path
) -> None:
    result = run_cli("create", "--arch", "cnn1", "--dropout", "0,0.3")

    path = result.out.strip()
    assert result.code == 0
    assert path.startswith("local/fersweep/")
    kept = tmp_path / ".fersweep" / "sweeps" / f"{path.rpartition('/')[2]}.yaml"
    assert yaml.safe_load(kept.read_text())["parameters"]["dropout"] == {"values": [0, 0.3]}
    assert json.loads((tmp_path / ".fersweep" / "last_sweep.json").read_text())["sweep"] == path


def test_a_file_is_taken_and_flags_change_it(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "method: grid\nmetric: {name: best/val_accuracy, goal: maximize}\n"
        "parameters:\n  dropout: {values: [0.0, 0.3]}\n  epochs: {value: 50}\n"
    )

    result = run_cli("create", "s.yaml", "--epochs", "5", "--output", "out.yaml", "--dry-run")

    parameters = yaml.safe_load((tmp_path / "out.yaml").read_text())["parameters"]
    assert result.code == 0
    assert parameters["epochs"] == {"value": 5}
    assert parameters["dropout"] == {"values": [0.0, 0.3]}


def test_every_mistake_of_the_flags_is_named_at_once(run_cli: Cli, tmp_path: Path) -> None:
    result = run_cli("create", "--arch", "resnet19", "--dropout", "2", "--lr", "1e-2..1e-4")

    assert result.code == 2
    assert len(result.err.splitlines()) == 3
    assert "--arch: must be one of cnn1" in result.err
    assert "--dropout: must be at most 0.95 (got 2.0)" in result.err
    assert "--lr:" in result.err
    assert not (tmp_path / ".fersweep").exists()


def test_every_mistake_of_a_file_is_named_with_file_and_key(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "method: random\nrun_cap: 5\nparameters:\n  lr: {value: 0.1}\n"
        "  learning_rate: {values: [1e-4]}\n  dropout: {min: 0.5, max: 0.1}\n"
    )

    result = run_cli("create", "bad.yaml")

    assert result.code == 2
    assert (
        "bad.yaml: parameters.lr: no such hyperparameter. Did you mean learning_rate?" in result.err
    )
    assert "write 0.0001" in result.err
    assert "bad.yaml: parameters.dropout: min must be less than max" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "no such file", id="missing"),
        pytest.param("method: grid\nx: [", "bad.yaml:2: not valid YAML", id="not yaml"),
        pytest.param("just text", "must be a mapping", id="not a mapping"),
    ],
)
def test_a_file_that_is_no_sweep_says_so(
    run_cli: Cli, tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "bad.yaml").write_text(text)

    result = run_cli("create", "bad.yaml")

    assert result.code == 2
    assert message in result.err


def test_a_yaml_that_cannot_be_written_is_one_line(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = run_cli("create", "--dry-run", "--output", "file/x.yaml")

    assert result.code == 2
    assert "file/x.yaml: cannot write the sweep's YAML" in result.err


def test_an_unknown_flag_is_a_usage_error(run_cli: Cli) -> None:
    assert run_cli("create", "--learning-speed", "1").code == 2
