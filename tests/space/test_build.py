"""Build: the flags of create become W&B's YAML, and every wrong flag is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from fer_sweep.errors import ConfigError
from fer_sweep.space import (
    SweepFlags,
    build_sweep,
    check_problems,
    count_cells,
    describe,
    dump_sweep,
    lint,
    override,
)


def test_nothing_asked_for_is_a_small_grid_that_lints_clean() -> None:
    config = build_sweep()
    assert lint(config, where="create") == []
    assert config["method"] == "grid"
    assert count_cells(config) == 8
    assert config["metric"] == {"name": "best/val_accuracy", "goal": "maximize"}
    assert config["program"] == "agents/train.py"
    assert "${args}" not in config["command"]  # parameters arrive through wandb.config


def test_flags_that_size_the_trials_keep_the_quick_question() -> None:
    config = build_sweep(epochs="2", train_size="500", seed="0,1")
    assert config["parameters"]["arch"] == {"values": ["cnn4", "cnn4_bn"]}
    assert config["parameters"]["epochs"] == {"value": 2}
    assert config["parameters"]["train_size"] == {"value": 500}
    assert count_cells(config) == 16


def test_the_flags_of_the_issue_make_the_sweep_they_describe() -> None:
    config = build_sweep(
        arch="cnn4_bn,resnet18",
        lr="1e-4..1e-2",
        batch_size="64,128",
        dropout="0,0.3",
        weight_decay="0,1e-4",
        augment="none,readme",
        method="bayes",
        run_cap=20,
        epochs="20",
    )
    assert lint(config, where="create") == []
    assert config["parameters"] == {
        "arch": {"values": ["cnn4_bn", "resnet18"]},
        "learning_rate": {"distribution": "log_uniform_values", "min": 0.0001, "max": 0.01},
        "batch_size": {"values": [64, 128]},
        "dropout": {"values": [0.0, 0.3]},
        "weight_decay": {"values": [0.0, 0.0001]},
        "augment": {"values": ["none", "readme"]},
        "epochs": {"value": 20},
    }
    assert (config["method"], config["run_cap"]) == ("bayes", 20)
    assert yaml.safe_load(dump_sweep(config)) == config


@pytest.mark.parametrize(
    ("flags", "name", "node"),
    [
        pytest.param({"lr": "3e-4"}, "learning_rate", {"value": 0.0003}, id="single"),
        pytest.param(
            {"lr": "1e-4, 1e-3"},
            "learning_rate",
            {"values": [0.0001, 0.001]},
            id="space-after-comma",
        ),
        pytest.param(
            {"dropout": "0..0.5"},
            "dropout",
            {"distribution": "uniform", "min": 0.0, "max": 0.5},
            id="uniform",
        ),
        pytest.param(
            {"weight_decay": "1e-6..1e-3"},
            "weight_decay",
            {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-3},
            id="log-weight-decay",
        ),
        pytest.param(
            {"weight_decay": "0..1e-3"},
            "weight_decay",
            {"distribution": "uniform", "min": 0.0, "max": 1e-3},
            id="weight-decay-from-zero",
        ),
        pytest.param(
            {"epochs": "10..40"},
            "epochs",
            {"distribution": "int_uniform", "min": 10, "max": 40},
            id="int-range",
        ),
        pytest.param(
            {"train_size": "1e3"}, "train_size", {"value": 1000}, id="whole-number-with-exponent"
        ),
        pytest.param({"lr_schedule": "cosine"}, "lr_schedule", {"value": "cosine"}, id="choice"),
    ],
)
def test_text_becomes_a_parameter(flags: SweepFlags, name: str, node: dict[str, Any]) -> None:
    config = build_sweep(**flags)
    assert config["parameters"][name] == node
    check_problems(lint(config, where="create"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(
            {"arch": "cnn5"}, "--arch: must be one of cnn1, cnn2, cnn4", id="unknown-arch"
        ),
        pytest.param(
            {"lr": "1e-2..1e-4"},
            "--lr: must go from low to high (got '1e-2..1e-4'). Write 1e-4..1e-2.",
            id="swapped",
        ),
        pytest.param({"lr": "0.1..0.1"}, "Write 0.1 for one value.", id="empty-range"),
        pytest.param({"lr": "0..0.1"}, "--lr: must be greater than 0 (got 0.0)", id="below-bounds"),
        pytest.param(
            {"lr": "fast"}, "--lr: must be a number (got the text 'fast')", id="no-number"
        ),
        pytest.param({"lr": "nan"}, "--lr: must be a number (got the text 'nan')", id="nan"),
        pytest.param({"lr": "1..2..3"}, "--lr: is no range (got '1..2..3')", id="two-ranges"),
        pytest.param({"lr": "0.1,0.2..0.3"}, "--lr: is no range", id="values-and-range"),
        pytest.param(
            {"dropout": "0,,0.3"}, "--dropout: has an empty value (got '0,,0.3')", id="double-comma"
        ),
        pytest.param({"dropout": ""}, "--dropout: has an empty value (got '')", id="empty"),
        pytest.param(
            {"dropout": "1e-5,2"}, "--dropout: must be at most 0.95 (got 2.0)", id="above-bounds"
        ),
        pytest.param(
            {"weight_decay": "-1e-5"},
            "--weight-decay: must be at least 0 (got -0.00001)",
            id="plain-number",
        ),
        pytest.param({"batch_size": "64,64.0"}, "--batch-size: lists a value twice", id="twice"),
        pytest.param(
            {"epochs": "2.5"}, "--epochs: must be a whole number (got 2.5)", id="fraction"
        ),
        pytest.param(
            {"augment": "none..readme"}, "--augment: is a choice, not a range", id="choice-range"
        ),
        pytest.param(
            {"method": "gird"},
            "--method: must be one of grid, random, bayes (got 'gird')",
            id="method",
        ),
        pytest.param({"run_cap": 0}, "--run-cap: must be at least 1 (got 0)", id="run-cap"),
        pytest.param(
            {"lr": "1e-4..1e-2", "method": "grid"},
            "--lr: a grid cannot enumerate a range (got '1e-4..1e-2')",
            id="grid",
        ),
    ],
)
def test_a_wrong_flag_is_named_with_its_fix(flags: SweepFlags, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_sweep(**flags)
    assert len(caught.value.problems) == 1
    assert message in caught.value.problems[0]


def test_all_wrong_flags_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build_sweep(arch="cnn5", lr="fast", epochs="0", method="gird", run_cap=-1)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "--arch",
        "--lr",
        "--epochs",
        "--method",
        "--run-cap",
    ]


@pytest.mark.parametrize(
    ("flags", "method", "run_cap"),
    [
        pytest.param({"dropout": "0,0.3"}, "grid", None, id="few-cells-are-a-grid"),
        pytest.param({"dropout": "0,0.3", "run_cap": 1}, "grid", 1, id="grid-with-cap"),
        pytest.param(
            {"seed": "0..99", "arch": "cnn4_bn"}, "random", 20, id="many-cells-are-random"
        ),
        pytest.param({"lr": "1e-4..1e-2"}, "random", 20, id="a-range-is-random"),
        pytest.param(
            {"dropout": "0,0.3", "method": "random"}, "random", 2, id="no-more-runs-than-cells"
        ),
        pytest.param({"lr": "1e-4..1e-2", "method": "bayes"}, "bayes", 20, id="bayes-ends"),
    ],
)
def test_method_and_run_cap_follow_from_the_space(
    flags: SweepFlags, method: str, run_cap: int | None
) -> None:
    config = build_sweep(**flags)
    assert (config["method"], config.get("run_cap")) == (method, run_cap)


def test_early_terminate_is_hyperband_on_or_off() -> None:
    assert "early_terminate" not in build_sweep(dropout="0,0.3")
    config = build_sweep(dropout="0,0.3", early_terminate=True)
    assert describe(config).brackets == (3, 9)
    assert lint(config, where="create") == []
    assert "early_terminate" not in override(config, early_terminate=False)


def test_override_changes_only_what_was_asked_and_not_the_original() -> None:
    file = {
        "method": "grid",
        "metric": {"name": "val/loss"},
        "parameters": {"epochs": {"value": 50}, "dropout": {"values": [0.0, 0.3]}},
    }
    before = copy.deepcopy(file)
    changed = override(file, epochs="2", arch="cnn4,cnn4_bn", name="mine")
    assert file == before
    assert changed["metric"] == {"name": "val/loss"}
    assert changed["parameters"] == {
        "arch": {"values": ["cnn4", "cnn4_bn"]},
        "dropout": {"values": [0.0, 0.3]},
        "epochs": {"value": 2},
    }
    assert (changed["name"], changed["method"]) == ("mine", "grid")


def test_override_with_a_range_says_that_the_files_grid_cannot_take_it() -> None:
    file = {"method": "grid", "parameters": {"epochs": {"value": 5}}}
    with pytest.raises(ConfigError, match="--lr: a grid cannot enumerate a range"):
        override(file, lr="1e-4..1e-2")
    changed = override(file, lr="1e-4..1e-2", method="random")
    assert (changed["method"], changed["run_cap"]) == ("random", 20)


def test_override_leaves_a_broken_file_to_lint() -> None:
    for broken in (
        {"method": "grid", "parameters": [1]},
        {"method": "gird", "parameters": {"epochs": 3}},
    ):
        assert lint(override(broken, batch_size="64"), where="s.yaml")
    assert override({"parameters": [1]}, epochs="2")["parameters"] == [1]


def test_an_endless_search_in_a_file_stays_the_users_choice() -> None:
    file = {"method": "random", "parameters": {"dropout": {"min": 0.0, "max": 0.5}}}
    assert "run_cap" not in override(file)
    assert override(file, run_cap=7)["run_cap"] == 7
    assert override(file, method="bayes")["run_cap"] == 20


def test_somebody_elses_sweep_gets_no_metric_of_ours() -> None:
    foreign = {"program": "t.py", "parameters": {"x": {"min": 0.0, "max": 1.0}}}
    changed = override(foreign, method="bayes", early_terminate=True)
    assert "metric" not in changed
    assert "metric" in override({**foreign, "program": "agents/train.py"}, method="bayes")
