"""Which thresholds hold in which collection, and where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from guard import ConfigError, Decision, Policy
from guard.calibration.target import fpr
from guard.config import load_config
from guard.embedders.base import Thresholds
from guard.policy import CollectionPolicy
from guard.rules import Rules

ADVICE = Thresholds(0.6, 0.8, "measured")


def rules(**collections: CollectionPolicy) -> Rules:
    named = {name.replace("_", "-"): one for name, one in collections.items()}
    return Rules.resolve(Policy(collections=named), ADVICE)


def test_the_defaults() -> None:
    found = {rule.collection: (rule.flag, rule.block, rule.sure, rule.at_most.value) for rule in rules()}
    assert found == {
        "training": (0.6, 0.8, 0.9, "block"),
        "protected": (0.6, 0.6, 0.9, "block"),
        "opt-out": (0.6, 0.6, 0.9, "block"),
        "allow": (0.6, 0.8, 0.9, "allow"),
        "canary": (0.6, 0.8, 0.9, "flag"),
    }
    assert rules().of("museum").block == 0.8
    assert rules().of("museum").collection == "museum"


@pytest.mark.parametrize(
    ("own", "flag", "block", "sure"),
    [
        (CollectionPolicy(flag=0.5), 0.5, 0.5, 0.9),
        (CollectionPolicy(flag=0.9), 0.9, 0.9, 0.95),
        (CollectionPolicy(block=0.7), 0.6, 0.7, 0.7),
        (CollectionPolicy(block=0.5), 0.5, 0.5, 0.5),
        (CollectionPolicy(flag=0.5, block=0.9), 0.5, 0.9, 0.9),
    ],
)
def test_what_is_set_wins_and_nothing_contradicts_it(
    own: CollectionPolicy, flag: float, block: float, sure: float
) -> None:
    rule = rules(opt_out=own).of("opt-out")
    assert (rule.flag, rule.block, rule.sure) == (flag, block, pytest.approx(sure))
    assert rules(opt_out=own).of("training") == rules().of("training")


def test_a_collection_without_meaning_is_as_strict_as_the_policy() -> None:
    rule = rules(museum=CollectionPolicy(flag=0.7, at_most=Decision.FLAG)).of("museum")
    assert (rule.flag, rule.block, rule.at_most) == (0.7, 0.8, Decision.FLAG)
    assert (rule.flag_from, rule.block_from) == ("policy.collections.museum.flag", "the embedder's advice")


def test_where_thresholds_come_from() -> None:
    found = Rules.resolve(
        Policy(flag=0.5, collections={"opt-out": CollectionPolicy(block=fpr(1e-4))}), ADVICE, threshold_of=lambda _: 0.7
    )
    assert found.of("training").flag_from == "policy.flag"
    assert found.of("opt-out").block_from == "policy.collections.opt-out.block = fpr:0.0001, by the index's calibration"
    assert found.of("protected").block_from == "protected blocks every match"
    with pytest.raises(ConfigError, match=r"policy\.collections\.opt-out\.block = fpr:0.0001 needs an index"):
        Rules.resolve(Policy(collections={"opt-out": CollectionPolicy(block=fpr(1e-4))}), ADVICE)


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"policy\.collections\.opt-out\.flag = 0\.9 lies above"):
        Policy(collections={"opt-out": CollectionPolicy(flag=0.9, block=0.5)})
    with pytest.raises(ConfigError, match=r"policy\.collections\.x\.flag = 2 is no cosine"):
        Policy(collections={"x": CollectionPolicy(flag=2)})
    with pytest.raises(ConfigError, match=r"allow blocks nothing"):
        Policy(collections={"allow": CollectionPolicy(block=0.9)})
    with pytest.raises(ConfigError, match=r"at_most = 'raise' is unknown; known: allow, flag, block"):
        Policy(collections={"x": CollectionPolicy(at_most="raise")})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"lies above policy\.collections\.opt-out\.block"):
        Rules.resolve(
            Policy(collections={"opt-out": CollectionPolicy(flag=0.9, block=fpr(1e-4))}),
            ADVICE,
            threshold_of=lambda _: 0.7,
        )


def test_settings_of_collections(tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_text('[policy]\nflag = 0.5\n[policy.collections.opt-out]\nflag = 0.4\nidentical = "flag"\n'
                    '[policy.collections.museum]\nat_most = "flag"\n')  # fmt: skip
    environ = {
        "MEMGUARD_POLICY__COLLECTIONS__OPT_OUT__FLAG": "0.3",
        "MEMGUARD_POLICY__COLLECTIONS__PROTECTED__BLOCK": "0.9",
    }
    policy = load_config(file, environ=environ).policy.build()
    assert policy.collections == {
        "opt-out": CollectionPolicy(flag=0.3, identical="flag"),
        "museum": CollectionPolicy(at_most=Decision.FLAG),
        "protected": CollectionPolicy(block=0.9),
    }
    assert load_config(policy=policy).policy.build() == policy, "a policy as a keyword says the same"
    with pytest.raises(ConfigError, match=r"policy.*museum.*at_most"):
        load_config(policy={"collections": {"museum": {"at_most": "burn"}}})
    with pytest.raises(ConfigError, match=r"policy.*museum.*colour"):
        load_config(policy={"collections": {"museum": {"colour": 3}}})
    with pytest.raises(ConfigError, match="allow blocks nothing"):
        load_config(policy={"collections": {"allow": {"block": 0.3}}})
