"""Services under load and a real Prometheus: every alert fires once its fault is there, every panel shows it.

Load and faults follow a clock that a busy machine cannot keep. So where a recording lacks anything, the machine gets
another at a slower pace, and what was seen in any of them was seen: what is wrong with a rule, a panel or a metric is
wrong at any pace.
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.observability import panels, rules
from tests.observability.draw import draw
from tests.observability.panels import Panel
from tests.observability.prometheus import Series
from tests.observability.scaled import Pace
from tests.observability.scenario import Recorded, play

PACES = [Pace(float(text)) for text in os.environ.get("OBSERVED_PACE", "2 4 6").split()]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600 + sum(pace * 600 for pace in PACES)),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian's package of that name)"),
]
ALERTS = sorted({rule.name for rule in rules.read() if rule.alert})
PANELS = panels.read()
WELL = "all is well"


@dataclass(frozen=True)
class Observed:
    last: Recorded
    lacking: Mapping[str, str]
    """Alert, panel or WELL -> what was wrong with it in every recording."""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    lacking: dict[str, str] | None = None
    for pace in PACES:
        folder = tmp_path_factory.mktemp("observed")
        with play(folder, pace, lambda fired: fired >= set(ALERTS)) as recorded:
            flaws = flaws_of(recorded)
            lacking = {what: flaw for what, flaw in flaws.items() if lacking is None or what in lacking}
            if not lacking or pace is PACES[-1]:
                yield Observed(recorded, lacking)
                return
        print(f"at pace {pace.factor:g}:", *flaws.values(), sep="\n  ")


def flaws_of(recorded: Recorded) -> dict[str, str]:
    """What is wrong with a recording."""
    found = {alert: f"{alert} never fired" for alert in ALERTS if alert not in recorded.fired}
    if recorded.fired_well:
        found[WELL] = f"{', '.join(sorted(recorded.fired_well))} fired while all was well"
    return found | {str(panel): flaw for panel in PANELS if (flaw := flaw_of(panel, recorded))}


def test_nothing_fires_while_all_is_well(observed: Observed) -> None:
    assert WELL not in observed.lacking, observed.lacking[WELL]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_fires_after_its_fault(observed: Observed, alert: str) -> None:
    assert alert not in observed.lacking


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_each_panel_shows_what_happened(observed: Observed, panel: Panel) -> None:
    assert str(panel) not in observed.lacking, observed.lacking[str(panel)]


def test_pictures_are_drawn(observed: Observed, tmp_path: Path) -> None:
    """Into docs/images/panels, where OBSERVED_PICTURES says so."""
    written = draw(observed.last, Path(os.environ.get("OBSERVED_PICTURES", tmp_path)))
    assert {path.name for path in written} == {panels.picture_of(panel.dashboard, panel.section) for panel in PANELS}


def flaw_of(panel: Panel, recorded: Recorded) -> str:
    """Why a panel does not show what happened; "" if it does."""
    moved = []
    for target in panel.targets:
        expr = target.concrete(recorded.pace)
        found = recorded.prometheus.range(expr, recorded.began, recorded.ended)
        if not found:
            return f"{panel}: nothing for {expr}"
        if not all(math.isfinite(value) for series in found for value in series.values):
            return f"{panel}: not finite: {expr}"
        moved.append(_moved(found, recorded))
    return "" if any(moved) else f"{panel} looks the same before and after"


def _moved(found: list[Series], recorded: Recorded) -> bool:
    """True if a series came or went when the faults began, or is on average a tenth higher or lower since
    then, or since all was there that they came with.
    """
    for series in found:
        well = [value for t, value in zip(series.times, series.values, strict=True) if t < recorded.ill]
        if not well or series.times[-1] < recorded.ended - 5 * recorded.pace.step_s:
            return True
        before = statistics.fmean(well)
        for since in (recorded.ill, recorded.settled):
            ill = [value for t, value in zip(series.times, series.values, strict=True) if t >= since]
            if not ill or abs(statistics.fmean(ill) - before) > 0.1 * abs(before):
                return True
    return False
