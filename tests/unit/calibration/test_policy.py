"""Rates where thresholds may stand: in settings, in a policy, and in a guard on a calibrated index."""

from __future__ import annotations

import logging
import math
from datetime import timedelta
from pathlib import Path

import pytest

from guard import ConfigError, Decision, Guard, Policy, fpr
from guard.calibration.calibrate import calibrate_index
from guard.calibration.calibrated import Calibrated
from guard.calibration.growth import shrunk
from guard.calibration.record import Calibration
from guard.calibration.target import FalsePositiveRate
from guard.config import load_config, override
from guard.embedders.base import Thresholds
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.store import open_index
from guard.indexes.transforming import transform_index
from tests.support.pictures_in_memory import InMemory
from tests.support.toys import ToyEmbedder, Windowed, picture

TOY = ToyEmbedder()
N, CLEAN = 120, 800


def pictures(first: int, n: int) -> InMemory:
    return InMemory([picture(first + i, 24, 24) for i in range(n)])


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "x.index"
    build_index(pictures(0, N), path, TOY, thumbnails=0)
    calibrate_index(path, clean=pictures(10_000, CLEAN), embedder=TOY)
    return path


@pytest.fixture
def index(tmp_path: Path) -> Path:
    build_index(pictures(0, N), tmp_path / "x.index", TOY, thumbnails=0)
    return tmp_path / "x.index"


def opened(path: Path, **settings: object) -> Guard:
    return Guard.open(path, **{"embedder": TOY, "deadline_s": None, **settings})  # type: ignore[arg-type]


def gauge(guard: Guard, name: str, **labels: str) -> float | None:
    return guard.metrics.registry.get_sample_value(f"memguard_{name}", labels)


@pytest.mark.parametrize("rate", [0, 1, -1e-3, math.nan, 2])
def test_what_is_no_rate_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="lies between 0 and 1"):
        fpr(rate)


def test_rates_are_spelt_as_they_are_read() -> None:
    for rate in (1e-5, 0.001, 0.05, 1 / 3):
        assert FalsePositiveRate.parse(str(fpr(rate))) == fpr(rate)
    assert FalsePositiveRate.parse(" FPR:1e-5 ") == fpr(1e-5)
    with pytest.raises(ConfigError, match="write fpr:1e-5"):
        FalsePositiveRate.parse("fpr=1e-5")


def test_settings_take_rates_from_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_text('[policy]\nflag = "fpr:1e-3"\nblock = 0.9\n')
    config = load_config(file, environ={"MEMGUARD_POLICY__BLOCK": "fpr:1e-5"})
    assert config.policy.build() == Policy(fpr(1e-3), fpr(1e-5), "block")
    assert load_config(file, policy=Policy(flag=fpr(0.01))).policy.build() == Policy(fpr(0.01), 0.9, "block")
    changed = override(config, {"policy": {"block": 0.8}})
    assert (changed.policy.flag, changed.policy.block) == (fpr(1e-3), 0.8)
    assert config.model_dump(exclude_unset=True)["policy"] == {"flag": "fpr:0.001", "block": "fpr:1e-05"}
    assert load_config(config) == config


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"flag": "fpr:2"}, r"policy\.flag.*lies between 0 and 1"),
        ({"flag": "fpr"}, r"policy\.flag.*write fpr:1e-5"),
        ({"flag": "fpr:1e-5", "block": "fpr:1e-3"}, "fpr:1e-05 is rarer than policy.block = fpr:0.001"),
        ({"flag": 1.5}, r"policy\.flag: Input should be less than or equal to 1 \(from keyword\)"),
        ({"flag": "high"}, r"policy\.flag: give a similarity from -1 to 1, or a rate as fpr:1e-5 \(from keyword\)"),
    ],
)
def test_rates_that_do_not_fit_are_named(policy: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(None, policy=policy)


def test_a_policy_alone_asks_for_what_the_calibration_says() -> None:
    advice = Thresholds(0.6, 0.8, "a test")
    threshold_of = {fpr(1e-3): 0.7, fpr(1e-5): 0.9, fpr(1e-4): 0.65}.__getitem__
    resolve = {"threshold_of": threshold_of}
    assert Policy(fpr(1e-3), fpr(1e-5)).resolve(advice, **resolve) == (0.7, 0.9)
    assert Policy(block=fpr(1e-5)).resolve(advice, **resolve) == (0.6, 0.9)
    assert Policy(flag=fpr(1e-3)).resolve(advice, **resolve) == (0.7, 0.8)
    assert Policy(fpr(1e-3), fpr(1e-4)).resolve(advice, **resolve) == (0.7, 0.7)  # never a block below the flag
    with pytest.raises(ConfigError, match=r"fpr:0\.001 is a threshold of 0\.7000 and lies above policy.block = 0\.65"):
        Policy(fpr(1e-3), 0.65).resolve(advice, **resolve)
    with pytest.raises(ConfigError, match="needs an index with a calibration"):
        Policy(fpr(1e-3)).resolve(advice)
    with pytest.raises(ConfigError, match="rarer than"):
        Policy(fpr(1e-5), fpr(1e-3))


def test_a_guard_keeps_the_rate_that_was_asked_for(calibrated: Path) -> None:
    guard = opened(calibrated, policy=Policy(flag=fpr(0.05), block=fpr(1e-3)))
    flag, block = (gauge(guard, "threshold", action=a, collection="training") for a in ("flag", "block"))
    assert flag is not None
    assert block is not None
    assert flag < block
    kept = {entry.rate: entry for entry in guard.calibration.calibration.thresholds}  # type: ignore[union-attr]
    assert block == pytest.approx(kept[1e-3].similarity)
    fresh = guard.check([picture(50_000 + i, 24, 24) for i in range(600)])  # nobody has seen them
    flagged = sum(verdict.decision is not Decision.ALLOW for verdict in fresh)
    assert flagged <= 45  # 30 would be the rate itself; 45 is 2.8 standard deviations above
    assert guard.check(picture(3, 24, 24))[0].decision is Decision.BLOCK
    expected = gauge(guard, "expected_flag_ratio", index="x.index")
    assert expected is not None
    assert 0.02 < expected <= 0.05
    assert gauge(guard, "calibration_stale", index="x.index") == 0


def test_an_explanation_gives_the_rate_of_every_threshold_with_its_interval(calibrated: Path) -> None:
    guard = opened(calibrated, policy=Policy(flag=fpr(0.05), block=fpr(1e-3)))
    told = guard.explain(picture(3)).to_dict()
    (rule,) = told["rules"]
    for name, asked in (("flag", 0.05), ("block", 1e-3)):
        rate = rule[f"{name}_rate"]
        assert rate["low"] <= rate["value"] <= rate["high"] <= asked * 1.001
        assert rule[f"{name}_from"] == f"policy.{name} = fpr:{asked:g}, by the index's calibration"
    assert told["calibration"]["pictures"] == CLEAN


def test_one_call_may_ask_for_another_rate(calibrated: Path) -> None:
    guard = opened(calibrated)
    assert guard.check(picture(3, 24, 24), options={"policy": {"flag": "fpr:0.01"}})[0].decision is Decision.BLOCK
    with pytest.raises(ConfigError, match="more clean pictures"):
        guard._rules(override(guard.config, {"policy": {"block": "fpr:1e-6"}}))


def test_an_index_without_a_calibration_says_how_to_get_one(index: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.block = fpr:1e-05: x\.index has no calibration: `memguard calib"):
        opened(index, policy=Policy(block=fpr(1e-5)))
    guard = opened(index)  # plain similarities need none
    assert guard.calibration is None
    assert gauge(guard, "calibration_stale", index="x.index") is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"query_views": "turns"}, "query_views is 'turns', and was 'one'"),
        ({"policy": {"block": "fpr:1e-6"}}, "give .* more clean pictures"),
    ],
)
def test_a_calibration_that_does_not_hold_is_refused(calibrated: Path, settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        opened(calibrated, **{"policy": {"block": "fpr:1e-3"}, **settings})


def test_a_transform_makes_rates_unknown_and_the_ratio_too(index: Path, caplog: pytest.LogCaptureFixture) -> None:
    calibrate_index(index, targets=(0.05,))
    transform_index(index, whiten=True)
    with pytest.raises(ConfigError, match="the index's transform is another one"):
        opened(index, policy=Policy(flag=fpr(0.05), block=1.0))
    with caplog.at_level(logging.WARNING, "guard.calibration.watch"):
        guard = opened(index, policy=Policy(flag=0.9, block=0.95))
    assert gauge(guard, "calibration_stale", index="x.index") == 1
    assert math.isnan(gauge(guard, "expected_flag_ratio", index="x.index") or 0)
    assert [record.getMessage() for record in caplog.records] == [
        "the calibration of x.index is stale: the index's transform is another one"
    ]


def test_windows_of_another_size_do_not_fit(index: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The embedder's identity is that of whole pictures: nothing but the calibration tells."""
    seen, larger = Windowed(), Windowed()
    larger.seen_at = 96
    report = calibrate_index(index, clean=pictures(10_000, 200), embedder=seen, targets=(0.1,))
    assert report.calibration.query_views == "windows"
    rate, said = Policy(flag=fpr(0.1), block=1.0), "the windows of pictures are seen at another size"
    assert opened(index, embedder=seen, policy=rate).config.views == "windows"
    with pytest.raises(ConfigError, match=said):
        opened(index, embedder=larger, policy=rate)
    with caplog.at_level(logging.WARNING, "guard.calibration.watch"):
        guard = opened(index, embedder=larger, policy=Policy(flag=0.9, block=0.95))
    assert said in caplog.text
    assert math.isnan(gauge(guard, "expected_flag_ratio", index="x.index") or 0)
    opened(index, embedder=larger, policy=Policy(flag=0.9, block=0.95), query_views="one")  # looks at no window


def test_a_calibration_from_before_windows_were_recorded_fits(index: Path) -> None:
    made = calibrate_index(index, clean=pictures(10_000, 200), embedder=Windowed(), targets=(0.1,)).calibration
    fields = made.model_dump(mode="json")
    del fields["windows"]
    old = Calibration.model_validate(fields)
    with open_index(index) as version:
        assert Calibrated(old, version.manifest, "x.index", Windowed()).stale(180) == []
    assert made.unknown == []
    assert "at what size windows of the pictures were seen was not recorded" in old.unknown[0]
    assert old.model_copy(update={"query_views": "one"}).unknown == []


def test_a_grown_index_gets_a_higher_threshold(index: Path) -> None:
    calibrate_index(index, clean=pictures(10_000, CLEAN), embedder=TOY, targets=(0.05,))
    add_to_index(pictures(500, N - 1), index, TOY)
    with open_index(index) as version:
        grown = Calibrated.of(version, "x.index")
        assert grown is not None
        rates = grown.calibration.rates()
        at = grown.threshold(0.1, query_views="one", hashes=True)
        assert at == rates.threshold(shrunk(0.1, N, 2 * N - 1)).similarity
        assert at > rates.threshold(0.1).similarity
        assert grown.expected(at) == pytest.approx(rates.point(at) * (2 - 1 / N), rel=0.3)
        now = grown.calibration.created_at + timedelta(days=1)
        assert grown.stale(180, now) == []
        assert grown.stale(180, now + timedelta(days=180)) != []
    add_to_index(pictures(1000, 1), index, TOY)
    guard = opened(index, policy=Policy(flag=fpr(0.1), block=1.0))  # twice as many: stale, and still of use
    assert gauge(guard, "calibration_stale", index="x.index") == 1


def test_the_package_gives_every_name_that_it_lists() -> None:
    import guard.calibration

    assert all(getattr(guard.calibration, name) for name in guard.calibration.__all__)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = guard.calibration.nothing_such
