"""A calibration that ages, or whose index grows, while a guard runs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from guard import Guard, GuardMetrics, Policy
from guard.calibration.calibrate import calibrate_index
from guard.calibration.calibrated import Calibrated
from guard.calibration.watch import EVERY_S, CalibrationWatch
from guard.cli.main import app
from guard.indexes.builder import build_index
from guard.indexes.overlay import Overlay, key_of
from guard.indexes.store import open_index
from guard.pixels import to_batch
from guard.unseen import UnseenMetrics, unseen
from tests.support.overlays import Clock, addition_of
from tests.support.pictures_in_memory import InMemory
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()
N = 101
DAY_S = 86_400.0


@pytest.fixture
def index(tmp_path: Path) -> Path:
    build_index(InMemory([picture(i, 24, 24) for i in range(N)]), tmp_path / "x.index", TOY, thumbnails=0)
    calibrate_index(tmp_path / "x.index", targets=(0.2,))
    return tmp_path / "x.index"


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "guard.calibration.watch"]


def test_age_is_asked_for_now_and_then(index: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "guard")
    with open_index(index) as version:
        calibrated = Calibrated.of(version, "x.index")
    assert calibrated is not None
    asked: list[int] = []

    def expected(count: int) -> float:
        asked.append(count)
        return 0.25

    made = calibrated.calibration.created_at.timestamp()
    clock, metrics = Clock(made), GuardMetrics(CollectorRegistry())
    watch = CalibrationWatch(calibrated, metrics, max_age_days=10, expected=expected, clock=clock)

    def stale() -> float | None:
        return metrics.registry.get_sample_value("memguard_calibration_stale", {"index": "x.index"})

    for _ in range(3):
        watch.look(N)
    assert (asked, stale()) == ([N], 0)
    assert metrics.registry.get_sample_value("memguard_expected_flag_ratio", {"index": "x.index"}) == 0.25
    clock.now = made + 11 * DAY_S
    watch.look(N)
    watch.look(N)
    assert (asked, stale()) == ([N, N], 1)
    assert said(caplog) == ["the calibration of x.index is stale: it is 11 days old, more than 10"]
    clock.now += DAY_S
    watch.look(N)
    assert len(said(caplog)) == 1, "said once, and not once a day"
    watch.look(2 * N)
    assert len(asked) == 4, "another size is looked at at once"
    assert len(said(caplog)) == 2, "one more reason"
    clock.now = made - EVERY_S  # set back
    watch.look(N)
    assert stale() == 0
    assert said(caplog)[-1] == "the calibration of x.index is no longer stale"


def test_a_guard_notices_that_its_index_doubled(index: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "guard")
    guard = Guard.open(index, embedder=TOY, policy=Policy(flag=0.9, block=0.99), deadline_s=None)

    def gauge(name: str) -> float:
        found = guard.metrics.registry.get_sample_value(f"memguard_{name}", {"index": "x.index"})
        assert found is not None
        return found

    guard.check(picture(5000))
    assert gauge("calibration_stale") == 0
    before = gauge("expected_flag_ratio")
    batch = to_batch([picture(900 + i, 24, 24) for i in range(N)])
    rows = np.asarray(TOY.embed(batch), np.float32)
    overlay = Overlay(index)
    overlay.add([addition_of(row, f"{i}.png") for i, row in enumerate(rows)], ["opt-out"], who="ops")
    assert gauge("calibration_stale") == 0
    guard.check(picture(5000))
    assert gauge("calibration_stale") == 1
    assert gauge("expected_flag_ratio") >= before
    assert said(caplog) == [f"the calibration of x.index is stale: the index holds {2 * N} references, and held {N}"]
    told = guard.explain(picture(5000)).to_dict()["calibration"]["stale"]
    info = json.loads(CliRunner().invoke(app, ["index", "info", str(index), "--json"]).output)
    assert told == info["calibration"]["stale"] == [f"the index holds {2 * N} references, and held {N}"]
    with open_index(index) as version:
        keys = [key_of(record) for record in version.records(range(10))]
    overlay.bury(keys, who="ops")
    guard.check(picture(5000))
    assert gauge("calibration_stale") == 0
    assert (
        json.loads(CliRunner().invoke(app, ["index", "info", str(index), "--json"]).output)["calibration"]["stale"]
        == []
    )


def test_a_guard_that_nobody_sees_takes_everything(index: Path, caplog: pytest.LogCaptureFixture) -> None:
    guard = unseen(Guard.open(index, embedder=TOY, policy=Policy(flag=0.9, block=0.99), deadline_s=None))
    guard.check(picture(5000))
    assert said(caplog) == []
    shown = {"text", "collect", "serve"}
    own = {name for name in vars(GuardMetrics) if not name.startswith("_")}
    assert own - shown <= set(vars(UnseenMetrics))
