"""The files of sweeps/: each loads, lints clean, says what it asks and costs, and has the cells it should."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fer_sweep.errors import ConfigError
from fer_sweep.server.search import PriorTrial, propose
from fer_sweep.space import (
    build_sweep,
    count_cells,
    describe,
    dump_sweep,
    is_ours,
    lint,
    load_sweep,
    override,
)
from fer_sweep.train_config import TrainConfig

FOLDER = Path(__file__).parent.parent / "sweeps"
FILES = sorted(FOLDER.glob("*.yaml"))
EXPERIMENTS = [path for path in FILES if path.name[0].isdigit()]

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_there_are_ten_experiments_and_two_searches() -> None:
    assert [path.name[:2] for path in EXPERIMENTS] == [f"{number:02}" for number in range(1, 11)]
    assert {path.name for path in FILES} - {path.name for path in EXPERIMENTS} == {
        "quick.yaml",
        "full.yaml",
    }


@every_file
def test_a_file_lints_clean_and_is_ours(path: Path) -> None:
    config = load_sweep(path)
    assert lint(config, where=path.name) == []
    assert is_ours(config)


@every_file
def test_a_file_opens_with_its_question_and_cost(path: Path) -> None:
    comment = re.match(r"(?:#.*\n)+", path.read_text(encoding="utf-8"))
    assert comment is not None
    assert comment[0].startswith("# Question: ")
    assert "\n# Cost: " in comment[0]
    assert "(estimate" in comment[0]


@every_file
def test_the_stated_cost_is_the_computed_one(path: Path) -> None:
    stated = re.search(
        r"# Cost: (?:at most )?(\d+) runs? of (\d+) epochs", path.read_text(encoding="utf-8")
    )
    assert stated is not None
    summary = describe(load_sweep(path))
    runs, epochs = int(stated[1]), int(stated[2])
    assert (summary.runs, summary.epochs) == (runs, runs * epochs)


@every_file
def test_a_file_is_written_in_the_form_that_we_write(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    body = re.sub(r"\A(?:#.*\n)+", "", text)
    assert body == dump_sweep(load_sweep(path))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the client never closes it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@every_file
def test_the_wandb_client_reads_a_file_as_we_do(path: Path) -> None:
    from wandb.sdk.launch.sweeps.utils import load_sweep_config

    assert load_sweep_config(str(path)) == load_sweep(path)


@every_file
def test_the_first_trial_is_one_that_train_accepts(path: Path) -> None:
    parameters = propose(load_sweep(path), [], seed=0)
    assert parameters is not None
    config = TrainConfig.from_parameters(parameters, where=path.name)
    assert config.seed == 0


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_is_one_run_and_then_over(path: Path) -> None:
    config = load_sweep(path)
    assert count_cells(config) == 1
    first = propose(config, [], seed=0)
    assert first is not None
    assert propose(config, [PriorTrial(first, "finished", 0.5)], seed=0) is None


def test_quick_is_a_grid_of_twelve_cells_and_full_a_bayesian_search_with_hyperband() -> None:
    quick, full = load_sweep(FOLDER / "quick.yaml"), load_sweep(FOLDER / "full.yaml")
    assert (quick["method"], count_cells(quick)) == ("grid", 12)
    assert (full["method"], count_cells(full)) == ("bayes", None)
    assert describe(full).brackets == (4, 12)


def experiment(number: int) -> TrainConfig:
    (path,) = FOLDER.glob(f"{number:02}_*.yaml")
    parameters = propose(load_sweep(path), [], seed=0)
    assert parameters is not None
    return TrainConfig.from_parameters(parameters, where=path.name)


def test_the_experiments_follow_the_hand_run_story() -> None:
    first, fourth, fifth, sixth, eighth, tenth = (experiment(n) for n in (1, 4, 5, 6, 8, 10))
    assert (first.arch, first.train_size) == ("cnn1", 1000)
    assert (fourth.batch_size, fourth.epochs, fourth.learning_rate) == (128, 20, 0.01)
    assert (fifth.augment, fifth.weight_decay > 0, fifth.dropout) == ("readme", True, 0)
    assert sixth == fifth.model_copy(update={"dropout": sixth.dropout})
    assert sixth.dropout > 0
    seventh = experiment(7)
    assert eighth == seventh.model_copy(
        update={"dropout": 0.0, "weight_decay": 0.0, "augment": "none"}
    )
    assert experiment(9) == seventh.model_copy(update={"arch": "cbam_resnet18_w32"})
    assert (tenth.augment, tenth.learning_rate, tenth.epochs > seventh.epochs) == (
        "none",
        0.0001,
        True,
    )


@every_file
def test_any_file_can_be_shrunk_from_the_command_line(path: Path) -> None:
    tiny = override(load_sweep(path), epochs="1", train_size="64", batch_size="16")
    assert describe(tiny).epochs == describe(tiny).runs
    assert [p for p in lint(tiny, where=path.name) if p.severity == "error"] == []


def test_what_create_builds_is_as_good_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "built.yaml"
    path.write_text(
        dump_sweep(build_sweep(), comment="Question: none.\nCost: little."), encoding="utf-8"
    )
    assert lint(load_sweep(path), where="built.yaml") == []
    with pytest.raises(ConfigError, match=r"There are: .*built\.yaml"):
        load_sweep(tmp_path / "bulit.yaml")
