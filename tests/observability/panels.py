"""The committed dashboards as values: panels, queries, legends. Knows Grafana's JSON; judges nothing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tests.observability.scaled import Pace

__all__ = ["FOLDER", "Panel", "Target", "picture_of", "read"]

FOLDER = Path(__file__).parents[2] / "integrations" / "grafana"


@dataclass(frozen=True)
class Target:
    expr: str
    """With Grafana's variables in it."""
    legend: str

    def concrete(self, pace: Pace | None = None) -> str:
        """As Grafana would send it with "All" chosen everywhere. pace: with shorter durations."""
        expr = pace.query(self.expr) if pace else self.expr
        interval = f"{round(pace.seconds('5m'))}s" if pace else "5m"
        return expr.replace("$__rate_interval", interval).replace("$job", ".*").replace("$pipeline", ".*")


@dataclass(frozen=True)
class Panel:
    dashboard: str
    section: str
    title: str
    description: str
    kind: str
    unit: str
    targets: tuple[Target, ...]

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.section}: {self.title}"


def picture_of(dashboard: str, section: str) -> str:
    """Name of the file that shows a section."""
    return re.sub(r"[^a-z]+", "-", f"{dashboard} {section}".lower().removeprefix("memguard-")) + ".png"


def read() -> list[Panel]:
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        section = ""
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            if panel["type"] == "row":
                section = panel["title"]
                continue
            targets = tuple(Target(t["expr"], t.get("legendFormat", "")) for t in panel["targets"])
            unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
            found.append(
                Panel(path.stem, section, panel["title"], panel.get("description", ""), panel["type"], unit, targets)
            )
    return found
