"""The committed dashboards as values: panels, queries, legends. Knows Grafana's JSON; judges nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "Panel", "Target", "read"]

FOLDER = Path(__file__).parents[2] / "integrations" / "grafana"


@dataclass(frozen=True)
class Target:
    expr: str
    """With Grafana's variables in it."""
    legend: str

    def concrete(self, rate_interval: str = "5m") -> str:
        """As Grafana would send it with "All" chosen everywhere."""
        return self.expr.replace("$__rate_interval", rate_interval).replace("$job", ".*").replace("$pipeline", ".*")


@dataclass(frozen=True)
class Panel:
    dashboard: str
    section: str
    title: str
    description: str
    kind: str
    targets: tuple[Target, ...]

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.section}: {self.title}"


def read() -> list[Panel]:
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        section = ""
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            if panel["type"] == "row":
                section = panel["title"]
                continue
            targets = tuple(Target(t["expr"], t.get("legendFormat", "")) for t in panel["targets"])
            text = panel.get("description", "")
            found.append(Panel(path.stem, section, panel["title"], text, panel["type"], targets))
    return found
