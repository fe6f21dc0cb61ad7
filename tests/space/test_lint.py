"""Lint: the mistakes people make, each with its place and its fix, and silence about good sweeps."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fer_sweep.errors import ConfigError
from fer_sweep.space import Problem, check_problems, lint, parse_hyperband

GOOD: dict[str, Any] = {
    "program": "agents/train.py",
    "method": "random",
    "run_cap": 20,
    "metric": {"name": "best/val_accuracy", "goal": "maximize"},
    "early_terminate": {"type": "hyperband", "min_iter": 3},
    "parameters": {
        "arch": {"values": ["cnn4_bn", "resnet18"]},
        "learning_rate": {"distribution": "log_uniform_values", "min": 0.0001, "max": 0.01},
        "epochs": {"value": 20},
    },
}


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """GOOD with keys such as ``parameters.dropout`` replaced, or removed where the value is None."""
    config = copy.deepcopy(GOOD)
    for key, value in changes.items():
        node = config
        *path, last = key.split(".")
        for part in path:
            node = node[part]
        if value is None:
            node.pop(last, None)
        else:
            node[last] = value
    return config


def test_a_good_sweep_has_no_problem() -> None:
    assert lint(GOOD, where="s.yaml") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"metirc": 1}, "metirc: no such key of a sweep. Did you mean metric?", id="top-key"
        ),
        pytest.param(
            {"zzz": 1},
            "zzz: no such key of a sweep. Known: apiVersion, kind,",
            id="top-key-no-idea",
        ),
        pytest.param({"program": 3}, "program: must be text (got 3)", id="program-number"),
        pytest.param(
            {"command": "python x"}, "command: must be a list (got 'python x')", id="command-text"
        ),
        pytest.param(
            {"method": None}, "method: is missing. Known: grid, random, bayes.", id="no-method"
        ),
        pytest.param(
            {"method": "bayse"},
            "method: unknown (got 'bayse'). Did you mean bayes?",
            id="method-typo",
        ),
        pytest.param({"method": "custom"}, "method: custom needs a scheduler", id="custom"),
        pytest.param(
            {"run_cap": 0}, "run_cap: must be a whole number of at least 1 (got 0)", id="cap-zero"
        ),
        pytest.param(
            {"run_cap": "20"},
            "run_cap: must be a whole number of at least 1 (got '20')",
            id="cap-text",
        ),
        pytest.param(
            {"metric": None},
            "metric: is missing, and early_terminate needs it",
            id="no-metric-for-hyperband",
        ),
        pytest.param(
            {"metric": None, "early_terminate": None, "method": "bayes"},
            "metric: is missing, and method: bayes needs it",
            id="no-metric-for-bayes",
        ),
        pytest.param(
            {"metric": "val/loss"},
            "metric: must be a mapping with a name (got 'val/loss')",
            id="text",
        ),
        pytest.param({"metric.gaol": 1}, "metric.gaol: unknown key", id="metric-key"),
        pytest.param(
            {"metric.goal": "up"}, "metric.goal: must be minimize or maximize (got 'up')", id="goal"
        ),
        pytest.param(
            {"metric.target": "0.9"},
            "metric.target: must be a number (got '0.9')",
            id="target-text",
        ),
        pytest.param(
            {"metric.name": "val_accuracy"},
            "metric.name: train() does not log it (got 'val_accuracy'). Did you mean best/val_accuracy?",
            id="metric-not-logged",
        ),
        pytest.param(
            {"metric.goal": None},
            "metric.goal: would seek the worst best/val_accuracy (got no goal, and W&B's default is minimize)",
            id="forgotten-goal",
        ),
        pytest.param(
            {"metric": {"name": "val/loss", "goal": "maximize"}},
            "Write goal: minimize.",
            id="wrong-goal",
        ),
        pytest.param(
            {"early_terminate": True}, "early_terminate: must be a mapping", id="hyperband-bool"
        ),
        pytest.param(
            {"early_terminate": {"type": "median"}},
            "early_terminate.type: must be hyperband",
            id="type",
        ),
        pytest.param(
            {"early_terminate": {"type": "hyperband"}},
            "has neither min_iter nor max_iter",
            id="no-iter",
        ),
        pytest.param(
            {"early_terminate.max_iter": 9}, "has both min_iter and max_iter", id="both-iters"
        ),
        pytest.param(
            {"early_terminate.min_iter": 0},
            "early_terminate.min_iter: must be a whole",
            id="zero-iter",
        ),
        pytest.param(
            {"early_terminate.eta": 1},
            "early_terminate.eta: must be a number greater than 1",
            id="eta",
        ),
        pytest.param(
            {"early_terminate.strict": "yes"}, "early_terminate.strict: must be true", id="strict"
        ),
        pytest.param(
            {"early_terminate.mini": 3}, "early_terminate.mini: unknown key", id="hyperband-key"
        ),
        pytest.param(
            {"early_terminate": {"type": "hyperband", "max_iter": 9}},
            "max_iter needs s",
            id="max-without-s",
        ),
        pytest.param(
            {"early_terminate": {"type": "hyperband", "max_iter": 2, "s": 1}},
            "leaves no bracket",
            id="no-bracket",
        ),
        pytest.param({"parameters": {}}, "parameters: must name at least one", id="no-parameters"),
        pytest.param(
            {"parameters.lr": {"value": 0.1}},
            "parameters.lr: no such hyperparameter. Did you mean learning_rate?",
            id="unknown-parameter",
        ),
        pytest.param(
            {"parameters.learning_rate": {"values": ["1e-4"]}},
            "parameters.learning_rate: values: must be a number (got the text '1e-4')",
            id="text-in-values",
        ),
        pytest.param(
            {"parameters.learning_rate": {"value": "1e-4"}},
            "value: must be a number (got the text",
            id="text-value",
        ),
        pytest.param(
            {"parameters.learning_rate": {"min": "1e-4", "max": 0.1}},
            "min: must be a number (got",
            id="text-bound",
        ),
        pytest.param(
            {
                "parameters.learning_rate": {
                    "distribution": "log_uniform",
                    "min": 0.00001,
                    "max": 0.1,
                }
            },
            "are exponents of e (got 0.00001 to 0.1, that is values from 1 to 1.105). "
            "Use distribution: log_uniform_values.",
            id="log-uniform-with-values",
        ),
        pytest.param(
            {"parameters.batch_size": {"distribution": "q_log_uniform", "min": 16, "max": 256}},
            "Use distribution: q_log_uniform_values.",
            id="log-uniform-with-big-values",
        ),
        pytest.param(
            {
                "parameters.learning_rate": {
                    "distribution": "log_uniform_values",
                    "min": 0.001,
                    "max": 20,
                }
            },
            "max: must be at most 10 (got 20)",
            id="bound-outside-the-hyperparameter",
        ),
        pytest.param(
            {"parameters.dropout": {"value": 1.5}},
            "value: must be at most 0.95",
            id="value-outside",
        ),
        pytest.param(
            {"parameters.dropout": {"distribution": "q_uniform", "min": 0, "max": 0.96, "q": 0.1}},
            "max: must be at most 0.95 (got 1.0)",
            id="rounding-leaves-the-bounds",
        ),
        pytest.param(
            {"parameters.arch": {"values": ["cnn5"]}},
            "values: must be one of cnn1, cnn2",
            id="arch",
        ),
        pytest.param(
            {"parameters.arch": {"min": 1, "max": 4}},
            "is a choice, not a range",
            id="range-of-choices",
        ),
        pytest.param(
            {"parameters.epochs": {"min": 1.0, "max": 9.0}},
            "takes whole numbers (got distribution uniform)",
            id="int",
        ),
        pytest.param(
            {"parameters.net": {"parameters": {"epochs": {"value": 3}}}},
            "parameters.net.epochs: no such hyperparameter",
            id="nested",
        ),
        pytest.param(
            {"method": "grid", "parameters.dropout": {"min": 0.0, "max": 0.5}},
            "parameters.dropout: a grid cannot enumerate it. Use values",
            id="float-range-in-a-grid",
        ),
        pytest.param(
            {
                "method": "grid",
                "parameters.epochs": {"values": [5, 6], "probabilities": [0.5, 0.5]},
            },
            "parameters.epochs: probabilities have no meaning in a grid",
            id="probabilities-in-a-grid",
        ),
    ],
)
def test_a_mistake_is_an_error_with_place_and_fix(changes: dict[str, Any], message: str) -> None:
    errors = [str(p) for p in lint(changed(changes), where="s.yaml") if p.severity == "error"]
    assert any(error.startswith("s.yaml: ") and message in error for error in errors), errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"run_cap": None}, "is missing: method random never ends", id="endless-random"
        ),
        pytest.param(
            {"run_cap": None, "parameters.learning_rate": {"value": 0.1}},
            "ends only after all 2 cells",
            id="finite",
        ),
        pytest.param(
            {
                "parameters.learning_rate": {"value": 0.01},
                "parameters.arch": {"values": ["cnn4", "cnn4_bn"]},
            },
            "adam at 0.01 or more diverges without batch-norm (got 0.01 with cnn4)",
            id="adam-without-batch-norm",
        ),
        pytest.param(
            {"metric.name": "val/accuracy"},
            "judges a run by its last epoch",
            id="last-epoch-metric",
        ),
        pytest.param(
            {"parameters.dropout": {"values": [0.3, 0.3]}}, "lists a value twice", id="value-twice"
        ),
        pytest.param(
            {"parameters.weight_decay": {"min": 0, "max": 1}}, "whole numbers only", id="int-bounds"
        ),
        pytest.param(
            {"parameters.learning_rate": {"min": 0.0001, "max": 0.1}},
            "Use log_uniform_values.",
            id="even-decades",
        ),
        pytest.param(
            {"parameters.learning_rate": {"distribution": "log_normal"}},
            "log_normal has no bounds",
            id="unbounded",
        ),
        pytest.param(
            {"parameters.epochs": {"value": 3}},
            "stops nobody: its first bracket is epoch 3",
            id="late",
        ),
    ],
)
def test_something_odd_is_a_warning_and_no_error(changes: dict[str, Any], message: str) -> None:
    problems = lint(changed(changes), where="s.yaml")
    check_problems(problems)
    assert [p for p in problems if message in p.text and p.severity == "warning"], problems


def test_sgd_or_batch_norm_makes_a_large_learning_rate_fine() -> None:
    rate = {"parameters.learning_rate": {"value": 0.01}}
    assert lint(changed(rate), where="s.yaml") == []
    sgd = {"parameters.arch": {"value": "cnn4"}, "parameters.optimizer": {"value": "sgd"}}
    assert lint(changed(rate | sgd), where="s.yaml") == []


def test_every_problem_is_found_at_once_and_raised_together() -> None:
    broken = changed(
        {"method": "bayse", "run_cap": 0, "parameters.lr": {"value": 1}, "parameters.seed": 3}
    )
    problems = lint(broken, where="s.yaml")
    assert [p.where for p in problems] == [
        "s.yaml: method",
        "s.yaml: run_cap",
        "s.yaml: parameters.seed",
        "s.yaml: parameters.lr",
    ]
    with pytest.raises(ConfigError) as caught:
        check_problems(problems)
    assert len(caught.value.problems) == 4


def test_somebody_elses_sweep_is_checked_against_wandb_only() -> None:
    foreign = {
        "program": "their/train.py",
        "method": "grid",
        "metric": {"name": "score"},
        "parameters": {
            "anything": {"values": [1, 2]},
            "net": {"parameters": {"depth": {"value": 3}}},
        },
    }
    assert lint(foreign, where="s.yaml") == []
    assert lint(foreign, where="s.yaml", ours=True)
    assert lint(foreign | {"method": "gird"}, where="s.yaml")


def test_text_that_looks_like_a_number_is_odd_in_somebody_elses_sweep() -> None:
    foreign = {
        "program": "t.py",
        "method": "grid",
        "parameters": {"lr": {"values": ["1e-4", "adam"]}},
    }
    problems = lint(foreign, where="s.yaml")
    assert [p.severity for p in problems] == ["warning"]
    assert "write 0.0001" in problems[0].text


@pytest.mark.parametrize(
    "program", [None, "agents/train.py", "./agents/train.py", "/repo/agents/train.py"], ids=str
)
def test_a_sweep_of_our_program_or_of_none_is_ours(program: str | None) -> None:
    assert lint(changed({"program": program, "parameters.lr": {"value": 1}}), where="s.yaml")


@pytest.mark.parametrize(
    "config", [None, [], "method: grid", 3], ids=["none", "list", "text", "number"]
)
def test_a_config_that_is_no_mapping_is_a_problem_not_a_crash(config: Any) -> None:
    assert "must be a mapping" in lint(config, where="s.yaml")[0].text


@pytest.mark.parametrize("junk", [None, 1, "x", [], {}, True, float("nan")], ids=repr)
@pytest.mark.parametrize("key", sorted(GOOD))
def test_junk_anywhere_is_no_crash(key: str, junk: Any) -> None:
    assert all(
        isinstance(problem, Problem) for problem in lint({**GOOD, key: junk}, where="s.yaml")
    )


@pytest.mark.parametrize(
    ("section", "brackets"),
    [
        pytest.param({"min_iter": 3}, (3, 9, 27, 81), id="min_iter"),
        pytest.param({"min_iter": 2, "eta": 2}, (2, 4, 8, 16), id="min_iter-eta"),
        pytest.param({"max_iter": 27, "s": 2}, (3, 9), id="max_iter"),
        pytest.param({"max_iter": 5, "s": 9, "eta": 2}, (1, 2), id="no-bracket-below-one"),
        pytest.param({"min_iter": 1, "eta": 1.5}, (1, 2, 3, 5), id="fractional-eta"),
    ],
)
def test_brackets_are_those_that_wandb_documents(
    section: dict[str, Any], brackets: tuple[int, ...]
) -> None:
    hyperband = parse_hyperband({"early_terminate": {"type": "hyperband", **section}})
    assert hyperband is not None
    assert hyperband.brackets[: len(brackets)] == brackets
    if "max_iter" in section:
        assert hyperband.brackets == brackets


def test_comparing_last_values_is_noted_as_ours() -> None:
    section = {"type": "hyperband", "min_iter": 3, "compare": "last"}
    problems = lint(changed({"early_terminate": section}), where="s.yaml")

    assert [(p.where, p.severity) for p in problems] == [
        ("s.yaml: early_terminate.compare", "warning")
    ]
    assert "only its server obeys it" in problems[0].text
