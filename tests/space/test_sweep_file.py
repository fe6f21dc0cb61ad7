"""Sweep files: errors with file and line, and YAML that every reader reads alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_sweep.errors import ConfigError
from fer_sweep.space import build_sweep, dump_sweep, load_sweep

PYYAML_TEXT_TRAP = re.compile(r"(?<![\w.])\d+e[-+]?\d+")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "method: grid\nparameters: {a: [1\n", r"s\.yaml:3: not valid YAML", id="syntax"
        ),
        pytest.param("method: grid\n\tparameters: 1\n", r"s\.yaml:2: not valid YAML", id="tab"),
        pytest.param(
            "a: 1\nb: 2\na: 3\n", r"s\.yaml:3: .*the key a is there twice", id="duplicate-key"
        ),
        pytest.param("", r"s\.yaml: must be a mapping \(got an empty file\)", id="empty"),
        pytest.param("- a\n- b\n", r"s\.yaml: must be a mapping \(got a list\)", id="list"),
        pytest.param(
            "a: !!python/object:os.system 1\n", r"s\.yaml:1: not valid YAML", id="python-object"
        ),
        pytest.param("? [1, 2]\n: {? {a: 1} : 2}\n", r"s\.yaml", id="unhashable-key"),
    ],
)
def test_an_unusable_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_sweep(path)


def test_a_missing_file_lists_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "quick.yaml").write_text("method: grid", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"quack\.yaml: no such file\. There are: .*quick\.yaml\."
    ):
        load_sweep(tmp_path / "quack.yaml")


def test_a_folder_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_sweep(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_sweep(tmp_path / "b.yaml")


def test_the_comment_comes_first_and_changes_nothing(tmp_path: Path) -> None:
    config = build_sweep()
    text = dump_sweep(config, comment="Question: why?\n\nCost: none.")
    assert text.startswith("# Question: why?\n#\n# Cost: none.\nname: ")
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    assert load_sweep(tmp_path / "s.yaml") == config


names = st.text("abcdefgh_", min_size=1, max_size=5)
texts = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=8)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    texts,
    st.sampled_from(["1e-4", "0x1", "on"]),
)
configs = st.dictionaries(
    names,
    st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    ),
)


@settings(derandomize=True, database=None, deadline=None)
@given(configs)
def test_a_written_config_reads_back_the_same(config: dict[str, Any]) -> None:
    back = yaml.safe_load(dump_sweep(config))
    assert back == config
    assert repr(back) == repr(config)  # 1 and 1.0 too


@settings(derandomize=True, database=None, deadline=None)
@given(st.floats(allow_nan=False))
def test_a_number_is_never_written_in_the_form_that_pyyaml_takes_for_text(value: float) -> None:
    text = dump_sweep({"v": value})
    assert not PYYAML_TEXT_TRAP.search(text)
    assert yaml.safe_load(text)["v"] == value


def test_small_numbers_are_written_as_people_write_them() -> None:
    text = dump_sweep({"values": [1e-4, 3e-5, 1e-6, 0.3, 1.0]})
    assert text == "values: [0.0001, 0.00003, 0.000001, 0.3, 1.0]\n"


def test_text_that_looks_like_a_number_is_quoted() -> None:
    assert dump_sweep({"a": "1e-4", "b": "64", "c": "adam"}) == "a: '1e-4'\nb: '64'\nc: adam\n"
