"""Every rule fires on its own examples, keeps silent on the others, and explains itself."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from fer_sweep.diagnosis import rules as package
from fer_sweep.diagnosis.registry import RULES as CATALOGUE
from fer_sweep.diagnosis.registry import explain, find_rule
from fer_sweep.diagnosis.rule import Case, Rule, parse_doc
from fer_sweep.errors import ConfigError
from fer_sweep.train_config import TrainConfig

RULES = tuple(CATALOGUE.values())
FIRING = [
    pytest.param(rule, case, id=f"{rule.code}-{case.name}")
    for rule in RULES
    for case in rule.fires_on
]
SILENT = [
    pytest.param(rule, case, id=f"{rule.code}-{case.name}")
    for rule in RULES
    for case in rule.silent_on
]


@pytest.mark.parametrize(("rule", "case"), FIRING)
def test_rule_fires_on_its_examples(rule: Rule, case: Case) -> None:
    finding = rule.check(case.history, case.peers)
    assert finding is not None
    assert (finding.code, finding.name) == (rule.code, rule.name)
    assert finding.message.endswith(".")
    assert finding.threshold
    assert set(finding.marked) <= set(case.history.epochs.tolist())
    assert finding.onset is None or finding.onset in case.history.epochs


@pytest.mark.parametrize(("rule", "case"), SILENT)
def test_rule_is_silent_on_its_counterexamples(rule: Rule, case: Case) -> None:
    assert rule.check(case.history, case.peers) is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_rule_has_both_kinds_of_example(rule: Rule) -> None:
    assert rule.fires_on
    assert rule.silent_on


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_remedies_are_values_a_sweep_accepts(rule: Rule) -> None:
    config = {
        "arch": "vgg_small",
        "learning_rate": 0.001,
        "dropout": 0.3,
        "weight_decay": 1e-4,
        "batch_size": 64,
        "augment": "none",
        "train_size": 1000,
    }
    for case in rule.fires_on:
        history = case.history
        with_config = type(history)(**{**vars(history), "config": config})
        finding = rule.check(with_config, case.peers)
        assert finding is not None
        for change in finding.remedies:
            if change.parameter:
                assert change.values
                for value in change.values:
                    TrainConfig.from_parameters({change.parameter: value}, where=rule.code)
            else:
                assert change.why


def test_code_file_name_and_rule_name_agree() -> None:
    files = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    assert len(files) == len(RULES)
    for file in files:
        rule = importlib.import_module(f"{package.__name__}.{file}").RULE
        assert file == f"{rule.code.lower()}_{rule.name.replace('-', '_')}"


def test_the_catalogue_has_the_first_eight_rules_in_order() -> None:
    assert list(CATALOGUE) == [
        "FS001",
        "FS101",
        "FS102",
        "FS201",
        "FS203",
        "FS301",
        "FS303",
        "FS402",
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_explanation_has_every_section(rule: Rule) -> None:
    text = explain(rule.code)
    assert text.startswith(f"{rule.code} {rule.name} ({rule.severity}")
    for title in (
        "Why it matters: ",
        "How it decides: ",
        "Try: ",
        "When it is wrong: ",
        "Source: ",
    ):
        assert title in text


def test_rules_are_found_by_code_or_name_in_any_case() -> None:
    assert find_rule("fs101") is find_rule("overfit-loss-turn-up")


def test_unknown_rule_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"rule FS999: no such rule\. Known: FS001, FS101"):
        explain("FS999")


def test_a_docstring_without_a_section_is_refused() -> None:
    with pytest.raises(ValueError, match="no section Why it matters"):
        parse_doc("A summary.\n\nTry: this.")
