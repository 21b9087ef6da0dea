"""Services under load and a real Prometheus: every alert fires once its fault is there, every panel shows it.

Load and faults follow a clock that a busy machine cannot keep. So where a recording lacks anything, the machine gets
a second one at half the pace, and that one counts: what is wrong with a rule, a panel or a metric is wrong at any pace.
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.observability import panels, rules
from tests.observability.draw import draw
from tests.observability.panels import Panel
from tests.observability.prometheus import Series
from tests.observability.scaled import Pace
from tests.observability.scenario import Recorded, play

PACES = [Pace(float(text)) for text in os.environ.get("OBSERVED_PACE", "2 4").split()]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600 + sum(pace * 600 for pace in PACES)),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian's package of that name)"),
]
ALERTS = sorted({rule.name for rule in rules.read() if rule.alert})
PANELS = panels.read()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    for pace in PACES:
        with ExitStack() as stack:
            folder = tmp_path_factory.mktemp("observed")
            found = stack.enter_context(play(folder, pace, lambda fired: fired >= set(ALERTS)))
            lacking = lacks(found)
            if not lacking or pace is PACES[-1]:
                yield found
                return
            print(f"at pace {pace.factor:g}:", *lacking, sep="\n  ")


def lacks(recorded: Recorded) -> list[str]:
    """What is wrong with a recording, in words."""
    found = [f"{alert} fired while all was well" for alert in sorted(recorded.fired_well)]
    found += [f"{alert} never fired" for alert in ALERTS if alert not in recorded.fired]
    return [*found, *filter(None, (flaw_of(panel, recorded) for panel in PANELS))]


def test_nothing_fires_while_all_is_well(recorded: Recorded) -> None:
    assert recorded.fired_well == set()


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_fires_after_its_fault(recorded: Recorded, alert: str) -> None:
    assert alert in recorded.fired


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_each_panel_shows_what_happened(recorded: Recorded, panel: Panel) -> None:
    assert not flaw_of(panel, recorded)


def test_pictures_are_drawn(recorded: Recorded, tmp_path: Path) -> None:
    """Into docs/images/panels, where OBSERVED_PICTURES says so."""
    written = draw(recorded, Path(os.environ.get("OBSERVED_PICTURES", tmp_path)))
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
