"""Settings from file, environment and keywords, and errors that name the field."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard import ConfigError, GuardConfig, Mode, Policy, load_config
from guard.config import override


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_text('mode = "shadow"\ndeadline_s = 1.5\ntop_k = 9\n[policy]\nflag = 0.4\nblock = 0.9\n')
    config = load_config(file, environ={"MEMGUARD_MODE": "flag", "MEMGUARD_POLICY__FLAG": "0.5"}, top_k=3)
    assert (config.mode, config.deadline_s, config.top_k) == (Mode.FLAG, 1.5, 3)
    assert (config.policy.flag, config.policy.block) == (0.5, 0.9)


def test_a_policy_object_is_a_keyword_like_any_other() -> None:
    config = load_config(None, environ={"MEMGUARD_POLICY__FLAG": "0.1"}, policy=Policy(flag=0.3, block=0.6))
    assert (config.policy.flag, config.policy.block) == (0.3, 0.6)


@pytest.mark.parametrize(
    ("environ", "keywords", "said"),
    [
        ({"MEMGUARD_POLICY__FLAG": "high"}, {}, "policy.flag.*from environment"),
        ({}, {"policy": {"flag": 0.9, "block": 0.1}}, "^policy.flag = 0.9 lies above policy.block = 0.1"),
        ({}, {"deadline_s": 0}, "deadline_s.*greater than 0.*from keyword"),
        ({}, {"mode": "off"}, "mode.*enforce"),
        ({}, {"velocity": 3}, r"velocity: there is no such setting \(from keyword\)\. Settings:.* mode,"),
        ({}, {"policy": {"speed": 3}}, r"policy\.speed: there is no .*\. Settings: policy\.block, [^,]*, policy\.flag"),
        ({"MEMGUARD_POLICY__FLAGG": "1"}, {}, r"policy.flagg.*from environment.; did you mean policy\.flag\?$"),
        ({"MEMGUARD_POLICY": "strict", "MEMGUARD_POLICY__FLAG": "0.5"}, {}, "MEMGUARD_POLICY__FLAG.*MEMGUARD_POLICY"),
        ({}, {"on_block": "blurr"}, r"^on_block: Input should be 'replace'[^;]*$"),
    ],
)
def test_an_error_names_the_field_and_its_source(
    environ: dict[str, str], keywords: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(None, environ=environ, **keywords)


CALLED = {"policy.flag": "--flag", "policy.block": "--block"}


@pytest.mark.parametrize(
    ("environ", "policy", "said"),
    [
        ({}, {"flag": "1.5"}, r"^policy\.flag: .*less than or equal to 1 \(from --flag\)$"),
        ({}, {"flag": "0.9", "block": "0.1"}, r"lies above policy\.block = 0\.1 \(from --flag and --block\)$"),
        ({"MEMGUARD_POLICY__FLAG": "0.9"}, {"block": "0.1"}, r"\(from environment and --block\)$"),
        ({}, {"similar": "0.9"}, r"^policy\.similar: there is no such setting \(from keyword\)"),
    ],
)
def test_an_error_names_the_option_of_a_command(environ: dict[str, str], policy: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(None, environ=environ, called=CALLED, policy=policy)


@pytest.mark.parametrize("content", ["mode = ", "\x00\xff"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load_config(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_config(tmp_path / "absent.toml")


def test_environment_lists_and_none() -> None:
    config = load_config(None, environ={"MEMGUARD_ALLOW_UNCHECKED": "latent, form", "MEMGUARD_DEADLINE_S": "none"})
    assert config.allow_unchecked == {"latent", "form"}
    assert config.deadline_s is None


def test_the_cache_folder_is_no_setting() -> None:
    assert load_config(None, environ={"MEMGUARD_CACHE": "x"}) == GuardConfig()


def test_options_of_a_call_leave_the_rest_alone() -> None:
    config = load_config(None, mode="flag", policy=Policy(flag=0.3, block=0.6))
    changed = override(config, {"policy": {"block": 0.7}, "on_block": "blur"})
    assert (changed.mode, changed.policy.flag, changed.policy.block) == (Mode.FLAG, 0.3, 0.7)
    assert config.policy.block == 0.6
    with pytest.raises(ConfigError, match=r"top_k.*from guard_options"):
        override(config, {"top_k": "many"})


def test_what_a_policy_object_leaves_unset_does_not_undo_the_file(tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_text("[policy]\nflag = 0.4\nidentical = 'flag'\n")
    assert load_config(file, policy=Policy(block=0.9)).policy.build() == Policy(0.4, 0.9, "flag")
    assert load_config(file, policy=Policy(identical="ignore")).policy.identical == "ignore"


@pytest.mark.parametrize("name", ["device", "embedder", "index_backend", "index_device"])
def test_a_call_cannot_change_what_is_read_when_the_guard_is_opened(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*when the guard is opened"):
        override(load_config(None), {name: "faiss"})


def test_options_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(ConfigError, match="guard_options is a str"):
        override(load_config(None), "flag")


@given(flag=st.floats(-1, 1), block=st.floats(-1, 1))
def test_thresholds_are_accepted_exactly_when_ordered(flag: float, block: float) -> None:
    if flag <= block:
        assert load_config(None, policy={"flag": flag, "block": block}).policy.build() == Policy(flag, block, "block")
    else:
        with pytest.raises(ConfigError):
            Policy(flag, block)
