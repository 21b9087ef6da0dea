"""Services under load and a real Prometheus: every alert fires once its fault is there, every panel shows it."""

from __future__ import annotations

import math
import os
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.observability import panels, rules
from tests.observability.draw import draw
from tests.observability.panels import Panel
from tests.observability.prometheus import STEP_S, Series
from tests.observability.scaled import PACE
from tests.observability.scenario import Recorded, play

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600 + 600 * PACE),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian's package of that name)"),
    # Load and faults follow a clock: how slow it must go depends on the machine, and so it is asked for.
    pytest.mark.skipif("OBSERVED_PACE" not in os.environ, reason="takes 12 minutes: set OBSERVED_PACE=3 to run it"),
]
ALERTS = sorted({rule.name for rule in rules.read() if rule.alert})
PANELS = panels.read()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("observed")
    with play(folder, lambda fired: fired >= set(ALERTS)) as found:
        yield found


def test_nothing_fires_while_all_is_well(recorded: Recorded) -> None:
    assert recorded.fired_well == set()


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_fires_after_its_fault(recorded: Recorded, alert: str) -> None:
    found = recorded.prometheus.range('ALERTS{alertstate="firing"}', recorded.began, recorded.ended)
    times = [t for s in found if s.labels["alertname"] + s.labels.get("window", "") == alert for t in s.times]
    assert times, f"{alert} never fired"
    assert min(times) > recorded.ill


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_each_panel_shows_what_happened(recorded: Recorded, panel: Panel) -> None:
    moved = []
    for target in panel.targets:
        expr = target.concrete(scaled=True)
        found = recorded.prometheus.range(expr, recorded.began, recorded.ended)
        assert found, f"nothing for {expr}"
        for series in found:
            assert all(math.isfinite(value) for value in series.values), expr
        moved.append(_moved(found, recorded))
    assert any(moved), f"{panel} looks the same before and after"


def test_pictures_are_drawn(recorded: Recorded, tmp_path: Path) -> None:
    """Into docs/images/panels, where OBSERVED_PICTURES says so."""
    written = draw(recorded, Path(os.environ.get("OBSERVED_PICTURES", tmp_path)))
    assert {path.name for path in written} == {panels.picture_of(panel.dashboard, panel.section) for panel in PANELS}


def _moved(found: list[Series], recorded: Recorded) -> bool:
    """True if a series came or went when the faults began, or is on average a tenth higher or lower since then."""
    for series in found:
        well = [value for t, value in zip(series.times, series.values, strict=True) if t < recorded.ill]
        ill = [value for t, value in zip(series.times, series.values, strict=True) if t >= recorded.ill]
        if not well or not ill or series.times[-1] < recorded.ended - 5 * STEP_S:
            return True
        before, after = statistics.fmean(well), statistics.fmean(ill)
        if abs(after - before) > 0.1 * abs(before):
            return True
    return False
