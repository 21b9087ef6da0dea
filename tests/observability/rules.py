"""The rule files of integrations/prometheus, as values. Knows YAML; judges nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.observability.code import registry
from tests.support.promql import TARGET, Labels, exposed, labels_of

__all__ = ["FILES", "FOLDER", "TESTS", "Rule", "known_labels", "read"]

FOLDER = Path(__file__).parents[2] / "integrations" / "prometheus"
FILES = (FOLDER / "memguard.rules.yml", FOLDER / "memguard.alerts.yml")
TESTS = sorted((FOLDER / "tests").glob("*.test.yml"))


@dataclass(frozen=True)
class Rule:
    group: str
    expr: str
    record: str = ""
    alert: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.record or f"{self.alert}{self.labels.get('window', '')}"


def read() -> list[Rule]:
    """All rules, those that record first."""
    found: list[Rule] = []
    for path in FILES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                fields: dict[str, Any] = {key: value for key, value in rule.items() if key != "for"}
                found.append(Rule(group["name"], **fields))
    return found


@cache
def known_labels() -> dict[str, Labels]:
    """Every name that an expression may use -> its labels: what the code exposes, what rules record, and `up`."""
    known = exposed(registry()) | {"up": TARGET}
    for rule in read():
        if rule.record:
            known[rule.record] = labels_of(rule.expr, known)
    return known
