"""Which variables of the environment are settings, which are misspelt ones, and which are somebody else's."""

from __future__ import annotations

import logging

import pytest

from guard import ConfigError, GuardConfig, Mode, load_config
from guard.config import TABLES
from guard.environment import misspelt, names_in

KNOWN = [*names_in(GuardConfig), *TABLES]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MEMGUARD_MODEE", "MEMGUARD_MODE"),
        ("MEMGUARD_EMBEDER", "MEMGUARD_EMBEDDER"),
        ("MEMGUARD_DEADLINE", "MEMGUARD_DEADLINE_S"),
        ("MEMGUARD_INDEX_KEYFILE", "MEMGUARD_INDEX_KEY_FILE"),
        ("MEMGUARD_POLICY_FLAG", "MEMGUARD_POLICY__FLAG"),
        ("MEMGUARD_EVENTS_PATH", "MEMGUARD_EVENTS__PATH"),
        ("MEMGUARD_POLCY__FLAG", "MEMGUARD_POLICY__FLAG"),
    ],
)
def test_a_misspelt_setting_is_an_error_that_names_both(name: str, meant: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(None, environ={name: "1"})
    assert f"{name} (from environment)" in str(raised.value)
    assert f"did you mean {meant}?" in str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        "MEMGUARD_PORT",
        "MEMGUARD_SERVICE_HOST",
        "MEMGUARD_PORT_8080_TCP_ADDR",
        "MEMGUARD_SERVER_PORT",
        "MEMGUARD_LICENSE",
    ],
)
def test_what_a_cluster_sets_for_a_service_stops_nobody(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "guard.environment"):
        config = load_config(None, environ={name: "tcp://10.0.0.1:80", "MEMGUARD_MODE": "shadow"})
    assert config == GuardConfig(mode=Mode.SHADOW)
    assert [name in message and "ignored" in message for message in caplog.messages] == [True]
    assert ("MEMGUARD_SERVER__" in caplog.text) == (name == "MEMGUARD_SERVER_PORT")


def test_every_setting_is_known_by_its_own_name() -> None:
    assert {"policy__flag", "policy__collections", "events__path", "server"} <= set(KNOWN)
    assert [name for name in KNOWN if misspelt(name, KNOWN) != name] == []


@pytest.mark.parametrize("name", ["", "x", "threshold", "home", "version"])
def test_a_name_that_is_like_none_stands_for_none(name: str) -> None:
    assert misspelt(name, KNOWN) == ""
