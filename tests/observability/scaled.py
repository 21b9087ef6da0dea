"""Rules and queries with shorter durations, so that a week passes in minutes. Knows durations; no Prometheus.

Every duration becomes a shorter one, and a longer one stays longer: at pace 1 five minutes become 12 s, an hour 27 s, a
day 77 s, a week 145 s. Numbers that are compared stay as they are. At pace 2 all of that, and the load, is twice as
slow, for a machine that is slow itself or has other things to do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

__all__ = ["Pace"]

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
DURATION = re.compile(r"(?<=\[)\d+[smhdw](?=\])|(?<=offset )\d+[smhdw]")
SHORT_S, POWER = 12.0, 0.327  # what five minutes become at pace 1, and how much slower the rest grows


@dataclass(frozen=True)
class Pace:
    factor: float
    """By how much everything is slower than at pace 1."""

    def __mul__(self, seconds: float) -> float:
        return self.factor * seconds

    @property
    def step_s(self) -> float:
        """Between two scrapes, evaluations and points."""
        return self * 2

    @property
    def canary_s(self) -> float:
        """Between two checks of canaries."""
        return self * 3

    def seconds(self, duration: str) -> float:
        """What a duration such as "5m" becomes."""
        return self * SHORT_S * (int(duration[:-1]) * UNITS[duration[-1]] / 300) ** POWER

    def query(self, expr: str) -> str:
        return DURATION.sub(lambda found: self._spelt(found[0]), expr)

    def rules(self, text: str) -> str:
        """A rule file, with every range, offset, `for` and interval shorter."""
        document = yaml.safe_load(text)
        for group in document["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                rule["expr"] = self.query(rule["expr"])
                if "for" in rule:
                    rule["for"] = self._spelt(rule["for"])
        scaled: str = yaml.safe_dump(document, sort_keys=False, width=1000)
        return scaled

    def _spelt(self, duration: str) -> str:
        return f"{round(self.seconds(duration) * 1000)}ms"
