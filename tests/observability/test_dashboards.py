"""Dashboards: the committed files are what the generator makes, and every name in them is one that the code defines."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.observability import panels, rules
from tests.observability.code import registry
from tests.observability.panels import Panel
from tests.support.promql import Labels, closed_values, exposed, labels_of, metrics_in, misspelt_values

PANELS = panels.read()


@cache
def known() -> dict[str, Labels]:
    names = rules.known_labels()
    alerts = [labels_of(rule.expr, names) | set(rule.labels) for rule in rules.read() if rule.alert]
    return names | {"ALERTS": frozenset({"alertname", "alertstate"}).union(*alerts)}


def test_the_files_are_what_the_generator_makes() -> None:
    generate = pytest.importorskip("grafana.generate", reason="needs the extra observe")
    written = generate.documents()
    assert sorted(written) == sorted(panels.FOLDER.glob("*.json"))
    for path, text in written.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m grafana.generate"


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_panels_name_what_the_code_defines(panel: Panel) -> None:
    names, closed = known(), closed_values(registry())
    assert panel.description.endswith(".")
    for target in panel.targets:
        labels = labels_of(target.concrete(), names)
        assert set(re.findall(r"\{\{(\w+)\}\}", target.legend)) <= labels
        assert misspelt_values(target.concrete(), closed) == []


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_panels_show_what_the_reader_chose(panel: Panel) -> None:
    for target in panel.targets:
        assert "$job" in target.expr or "ALERTS" in target.expr
        by_pipeline = any("pipeline" in known()[name] for name in metrics_in(target.concrete()) - {"ALERTS"})
        assert ("$pipeline" in target.expr) == by_pipeline, target.expr


def test_every_metric_has_a_panel() -> None:
    """A histogram has one if any of its samples does; a metric may be shown through what a rule records of it."""
    recorded = {rule.record: metrics_in(rule.expr) for rule in rules.read() if rule.record}
    shown: set[str] = set()
    waiting = [name for panel in PANELS for target in panel.targets for name in metrics_in(target.concrete())]
    while waiting:
        name = waiting.pop()
        if name not in shown:
            shown.add(name)
            waiting += recorded.get(name, ())
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exposed(registry())}
    assert families - {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown} == set()


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_every_panel_is_shown_in_the_docs(panel: Panel) -> None:
    name = panels.picture_of(panel.dashboard, panel.section)
    page = Path(__file__).parents[2] / "docs" / "observability.md"
    assert f"(images/panels/{name})" in page.read_text(encoding="utf-8")
    assert (page.parent / "images" / "panels" / name).is_file(), "OBSERVED_PICTURES=docs/images/panels draws them"


def test_every_record_is_used() -> None:
    """By an alert, another record or a panel."""
    used = " ".join([rule.expr for rule in rules.read()] + [t.expr for panel in PANELS for t in panel.targets])
    assert [rule.record for rule in rules.read() if rule.record and rule.record not in used] == []


@pytest.mark.parametrize("path", sorted(panels.FOLDER.glob("*.json")), ids=lambda p: p.stem)
def test_panels_have_places_and_ids_of_their_own(path: Path) -> None:
    shown = json.loads(path.read_text(encoding="utf-8"))["panels"]
    assert max(Counter(panel["id"] for panel in shown).values()) == 1
    cells: Counter[tuple[int, int]] = Counter()
    for panel in shown:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells.update((x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"]))  # fmt: skip
    assert max(cells.values()) == 1
