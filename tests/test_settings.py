"""Settings: who wins, and what a wrong file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_sweep.errors import ConfigError
from fer_sweep.settings import CLOUD_URL, load_settings

KEY = "k" * 40


def test_without_a_key_everything_is_local(tmp_path: Path) -> None:
    settings = load_settings(environ={"HOME": str(tmp_path)})

    assert settings.local
    assert (settings.entity, settings.project, settings.base_url) == ("local", "fersweep", "")
    assert settings.home == (tmp_path / ".fersweep").absolute()


def test_with_a_key_the_cloud_is_used_and_its_entity_left_to_the_key() -> None:
    settings = load_settings(environ={"WANDB_API_KEY": KEY})

    assert not settings.local
    assert (settings.base_url, settings.api_key, settings.entity) == (CLOUD_URL, KEY, "")


def test_the_key_of_wandb_login_is_found_in_netrc(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(f"machine wandb.example.org login user password {KEY}\n")

    settings = load_settings(
        environ={"NETRC": str(tmp_path / "netrc"), "WANDB_BASE_URL": "https://wandb.example.org/"}
    )

    assert (settings.local, settings.api_key) == (False, KEY)
    assert settings.base_url == "https://wandb.example.org"


def test_local_can_be_asked_for_in_spite_of_a_key() -> None:
    assert load_settings(local=True, environ={"WANDB_API_KEY": KEY}).local
    assert load_settings(environ={"WANDB_API_KEY": KEY, "FERSWEEP_LOCAL": "1"}).local


def test_the_cloud_without_a_key_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no API key is configured"):
        load_settings(local=False, environ={"HOME": str(tmp_path)})


def test_a_flag_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    (tmp_path / "fersweep.toml").write_text('project = "file"\nentity = "file"\ndata = "file"\n')
    environ = {"WANDB_PROJECT": "env", "WANDB_ENTITY": "env", "HOME": str(tmp_path)}

    settings = load_settings(project="flag", folder=tmp_path, environ=environ)

    assert (settings.project, settings.entity, settings.data) == ("flag", "env", "file")


def test_unknown_keys_of_the_file_are_all_named_with_the_choices(tmp_path: Path) -> None:
    (tmp_path / "fersweep.toml").write_text('projct = "x"\ndatas = "y"\n')

    with pytest.raises(ConfigError, match=r"projct: unknown setting\. Known: .*project") as error:
        load_settings(folder=tmp_path, environ={})
    assert len(error.value.problems) == 2


def test_values_of_the_wrong_type_are_all_named_with_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "fersweep.toml").write_text('local = "false"\nproject = 3\ndatas = "y"\n')

    with pytest.raises(ConfigError) as error:
        load_settings(folder=tmp_path, environ={})

    text = "\n".join(error.value.problems)
    assert len(error.value.problems) == 3
    assert "local: must be true or false (got 'false')." in text
    assert "project: must be text in quotes (got 3)." in text
    assert "datas: unknown setting." in text


def test_a_broken_file_names_itself(tmp_path: Path) -> None:
    (tmp_path / "fersweep.toml").write_text("project = ")

    with pytest.raises(ConfigError, match=r"fersweep\.toml: not valid TOML"):
        load_settings(folder=tmp_path, environ={})


def test_a_wrong_flag_in_the_environment_names_itself() -> None:
    with pytest.raises(ConfigError, match=r"FERSWEEP_LOCAL: must be 1 or 0 \(got 'maybe'\)"):
        load_settings(environ={"FERSWEEP_LOCAL": "maybe"})
