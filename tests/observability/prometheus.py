"""A real Prometheus on a free port, and its HTTP API. Knows its files and flags; not what it is asked."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.waiting import WAIT_S, until

__all__ = ["Prometheus", "Series", "free_ports", "running"]


@dataclass(frozen=True)
class Series:
    labels: dict[str, str]
    times: list[float]
    """Seconds since the epoch."""
    values: list[float]


@dataclass
class Prometheus:
    url: str
    targets: Path
    """File of its targets, which it reads again when it changes."""
    step_s: float
    """Between two scrapes, evaluations and points."""

    def watch(self, jobs: Mapping[str, Sequence[int]]) -> None:
        """Scrape these ports of this machine from now on."""
        entries = [
            {"labels": {"job": job}, "targets": [f"127.0.0.1:{p}" for p in ports]} for job, ports in jobs.items()
        ]
        fresh = self.targets.with_suffix(".new")
        fresh.write_text(json.dumps(entries))
        fresh.replace(self.targets)

    def range(self, expr: str, start: float, end: float) -> list[Series]:
        answer = self._get("query_range", query=expr, start=start, end=end, step=self.step_s)
        return [
            Series(found["metric"], [float(t) for t, _ in found["values"]], [float(v) for _, v in found["values"]])
            for found in answer["result"]
        ]

    def firing(self) -> set[str]:
        """Alerts that fire now, with their window."""
        found = self._get("query", query='ALERTS{alertstate="firing"}')["result"]
        return {entry["metric"]["alertname"] + entry["metric"].get("window", "") for entry in found}

    def healthy(self) -> int:
        """How many targets answered their last scrape."""
        return sum(target["health"] == "up" for target in self._get("targets")["activeTargets"])

    def _get(self, what: str, **query: Any) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=WAIT_S) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]


def free_ports(count: int) -> list[int]:
    """Different ones that nobody listens on, and that no client is given before somebody does: those begin at 32768."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 12_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} ports are free")


@contextmanager
def running(folder: Path, port: int, rules: Mapping[str, str], step_s: float) -> Iterator[Prometheus]:
    """Prometheus on this port with these rule files (name -> text), a scrape and an evaluation every step_s."""
    for name, text in rules.items():
        (folder / name).write_text(text)
    (folder / "targets.json").write_text("[]")
    config = {
        "global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), f"{step_s * 1000:.0f}ms"),
        "rule_files": sorted(rules),
        "scrape_configs": [{"job_name": "none", "file_sd_configs": [{"files": ["targets.json"]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]  # fmt: skip
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: _answers(f"{url}/-/ready") or process.poll() is not None)
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            yield Prometheus(url, folder / "targets.json", step_s)
        finally:
            process.kill()  # its data are nobody's any more
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
