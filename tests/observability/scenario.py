"""Five services under load, watched by a real Prometheus: first well, then with every fault that an alert is about.

Two are `memguard serve`, the others are hosts of tests/observability/host.py. Knows the faults; judges nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard.sources import open_source
from tests.observability.prometheus import Prometheus, free_ports, running
from tests.observability.rules import FILES
from tests.observability.scaled import Pace
from tests.support.references import jpeg, photo_folder
from tests.support.served import form, until

__all__ = ["Recorded", "play"]

ROOT = Path(__file__).parents[2]
JOB, GPU, OTHER = "memguard", "gpu-memguard", "other-memguard"
REFERENCES = 40
SIDE = 192  # of the pictures: smaller ones, encoded anew, are too far from themselves to be canaries
COPIES = [jpeg(seed, SIDE) for seed in range(REFERENCES)]
CLEAN = [jpeg(seed, SIDE) for seed in range(1000, 1200)]
GARBAGE = b"no picture"
WELL_S, LIMIT_S = 70, 300  # at pace 1


@dataclass(frozen=True)
class Recorded:
    """What Prometheus saw, while it still answers."""

    prometheus: Prometheus
    pace: Pace
    began: float
    """Seconds since the epoch; the services had been scraped for a while."""
    ill: float
    """When the faults began."""
    settled: float
    """When all that was started with them answered: on a busy machine that takes a while."""
    ended: float
    fired_well: set[str]
    """Alerts that fired before there was a fault."""
    fired: set[str]
    """Alerts that fired since, as seen while it went on: a range query with its step can miss the last ones."""


@dataclass
class Load:
    """Requests of one client, over and over, each with one image."""

    url: str
    pipeline: str
    every_s: float
    bad: float = 0.0
    """Share of the images that are `what`."""
    what: Callable[[], bytes] = lambda: random.choice(COPIES)
    options: dict[str, str] = field(default_factory=dict)

    def run(self, stop: threading.Event, pace: Pace) -> None:
        # Evenly and not by chance: the flag rate of a short while must be what it is said to be.
        bad = itertools.accumulate(itertools.repeat(self.bad))
        before = 0
        with httpx2.Client(base_url=self.url, timeout=30) as client:
            while not stop.wait(pace * self.every_s):
                now = int(next(bad))
                image, before = (self.what() if now > before else random.choice(CLEAN)), now
                fields = {"pipeline": self.pipeline, "options": json.dumps(self.options)}
                with contextlib.suppress(httpx2.HTTPError):  # a service that was killed
                    client.post("/v1/check", files=form(image), data=fields)


@contextmanager
def play(folder: Path, pace: Pace, enough: Callable[[set[str]], bool]) -> Iterator[Recorded]:
    """Run it all. enough: told which alerts have fired since the faults began; ends it when it says so."""
    rules = {path.name: pace.rules(path.read_text(encoding="utf-8")) for path in FILES}
    index, own, newer, old = _indexes(folder)
    own_port, *ports = free_ports(7)
    first, second, host, doomed, ill_host, forgotten = ports
    with ExitStack() as stack:
        prometheus = stack.enter_context(running(_made(folder / "prometheus"), own_port, rules, pace.step_s))
        services = stack.enter_context(_services(_made(folder / "logs"), pace))
        log = folder / "events.sqlite"
        services.serve(first, own, events=log, pipelines=["web", "quiet", "failing", "open"])
        services.serve(second, index)
        services.host(host, index, "--provider", "ort-cuda")
        services.host(doomed, index)
        loads = stack.enter_context(_loads(pace))
        urls = {port: f"http://127.0.0.1:{port}" for port in ports}
        loads.start(
            Load(urls[first], "web", 0.3, 0.05),
            Load(urls[first], "quiet", 0.6, 0.35),  # of all images less than a tenth are copies while all is well
            Load(urls[first], "failing", 0.6),
            Load(urls[first], "open", 0.8, options={"on_error": "open"}),
            Load(urls[second], "default", 1.0),
            Load(urls[host], "default", 0.6),
        )
        for port in (first, second, host, doomed):
            services.wait_for(port)
        prometheus.watch({JOB: [first, second, doomed], GPU: [host]})
        until(lambda: prometheus.healthy() == 4)
        began = time.time()
        fired_well: set[str] = set()
        while time.time() < began + pace * WELL_S:
            time.sleep(1)
            fired_well |= prometheus.firing()

        ill = time.time()
        loads.stop()
        services.kill(doomed)  # MemguardDown
        services.kill(second)  # and comes back with a newer index and a threshold that lets everything through:
        services.serve(second, newer, flag=0.999)  # MemguardIndexDiverged, MemguardCanaryMissed
        services.kill(host)  # and comes back on the CPU, slow, without canaries, and with things going on beside:
        services.host(host, index, "--ill")  # MemguardProviderFellBack, …CanarySilent, …ImagesSkipped
        _publish_damaged(own)  # MemguardIndexRefused
        services.host(forgotten, old)  # MemguardIndexStale, MemguardCalibrationStale
        services.host(ill_host, index, "--ill")
        stack.enter_context(_locked(log))  # MemguardEventsDropped
        loads.start(
            Load(urls[first], "web", 0.3, 0.6),  # MemguardFlagRateShifted
            Load(urls[first], "quiet", 0.6),  # MemguardFlagRateZero
            Load(urls[first], "failing", 0.6, 0.5, what=lambda: GARBAGE),  # MemguardFailingClosed, …ErrorBudgetBurn
            # MemguardFailingOpen
            Load(urls[first], "open", 0.8, 0.5, what=lambda: GARBAGE, options={"on_error": "open"}),
            Load(urls[second], "default", 1.0),
            *[Load(urls[host], "default", 1.0, 0.2) for _ in range(12)],  # MemguardSlow, MemguardQueueFull
            *[Load(urls[ill_host], "broken", 1.0) for _ in range(2)],  # MemguardHttpErrors
        )
        prometheus.watch({JOB: [first, second, doomed], GPU: [host], OTHER: [ill_host, forgotten]})
        fired: set[str] = set()
        settled = 0.0
        while not enough(fired) and time.time() < ill + pace * LIMIT_S:
            time.sleep(1)
            fired |= prometheus.firing()
            if not settled and prometheus.healthy() == 5:
                settled = time.time()
        loads.stop()
        yield Recorded(prometheus, pace, began, ill, settled or ill, time.time(), fired_well, fired)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _indexes(folder: Path) -> tuple[Path, Path, Path, Path]:
    """An index, the same in another place, a newer version in a third, and one that is old and has grown."""
    photos, clean = photo_folder(folder / "photos", REFERENCES, SIDE), _made(folder / "clean")
    for number, data in enumerate(CLEAN[:100]):
        (clean / f"{number}.jpg").write_bytes(data)
    index = _made(folder / "now") / "training.index"
    build_index(open_source(photos), index, load_embedder("pdq"))
    _memguard("calibrate", index, "--clean", clean)
    own = folder / "own" / "training.index"
    shutil.copytree(index, own)
    more = _made(folder / "more")
    for seed in range(2000, 2000 + 2 * REFERENCES):
        (more / f"{seed}.jpg").write_bytes(jpeg(seed, SIDE))
    newer = folder / "newer" / "training.index"
    shutil.copytree(index, newer)
    _memguard("index", "add", more, "--index", newer)
    old = folder / "old" / "old.index"
    shutil.copytree(newer, old)
    manifest = old / "versions" / (old / "CURRENT").read_text().strip() / "manifest.json"
    written = json.loads(manifest.read_text())
    written["built_at"] = "2025-01-01T00:00:00Z"
    manifest.write_text(json.dumps(written))
    return index, own, newer, old


def _publish_damaged(index: Path) -> None:
    """A next version of an index, whose vectors break off."""
    versions, current = index / "versions", (index / "CURRENT").read_text().strip()
    following = f"{int(current) + 1:04d}"
    shutil.copytree(versions / current, versions / following)
    vectors = versions / following / "vectors.faiss"
    vectors.write_bytes(vectors.read_bytes()[:-100])
    fresh = index / "CURRENT.new"
    fresh.write_text(f"{following}\n")
    fresh.replace(index / "CURRENT")


def _plain_environment() -> dict[str, str]:
    """Without the time that other tests give their guards: these shall run out of it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MEMGUARD_")}


def _memguard(*arguments: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "guard", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class _Services:
    logs: Path
    pace: Pace
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def serve(
        self, port: int, index: Path, *, events: Path | None = None, pipelines: Sequence[str] = (), flag: float = 0.65
    ) -> None:
        """`memguard serve`, as an operator would start it."""
        config = index.parent / f"guard-{port}.toml"
        lines = [f'events = {{ path = "{events}" }}'] if events else []
        lines += [
            "[policy]",
            f"flag = {flag}",
            f"block = {max(flag, 0.8)}",
            "[server]",
            f"canary_s = {self.pace.canary_s}",
        ]
        lines += [f"pipelines = {json.dumps(list(pipelines))}"] if pipelines else []
        config.write_text("\n".join(lines))
        self._start(port, "guard", "serve", "--port", port, "--index", index, "--config", config)

    def host(self, port: int, index: Path, *options: str) -> None:
        timed = ("--canary-s", self.pace.canary_s)
        self._start(port, "tests.observability.host", "--port", port, "--index", index, *timed, *options)

    def kill(self, port: int) -> None:
        process = self.processes.pop(port)
        process.kill()
        process.wait()

    def _start(self, port: int, module: str, *arguments: object) -> None:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        with (self.logs / f"{port}.log").open("a") as log:
            self.processes[port] = subprocess.Popen(command, cwd=ROOT, stderr=log, env=_plain_environment())

    def wait_for(self, port: int) -> None:
        """Until it answers."""
        url, process = f"http://127.0.0.1:{port}/healthz", self.processes[port]
        until(lambda: _answers(url) or process.poll() is not None)
        assert process.poll() is None, (self.logs / f"{port}.log").read_text()


@contextmanager
def _services(logs: Path, pace: Pace) -> Iterator[_Services]:
    services = _Services(logs, pace)
    try:
        yield services
    finally:
        for port in list(services.processes):
            services.kill(port)


@dataclass
class _Loads:
    pace: Pace
    running: list[threading.Thread] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def start(self, *loads: Load) -> None:
        self.over = threading.Event()
        self.running = [threading.Thread(target=load.run, args=(self.over, self.pace)) for load in loads]
        for thread in self.running:
            thread.start()

    def stop(self) -> None:
        self.over.set()
        for thread in self.running:
            thread.join()
        self.running = []


@contextmanager
def _loads(pace: Pace) -> Iterator[_Loads]:
    loads = _Loads(pace)
    try:
        yield loads
    finally:
        loads.stop()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5).is_success
    except httpx2.HTTPError:
        return False


@contextmanager
def _locked(log: Path) -> Iterator[None]:
    """Hold a decision log so that nobody else can write it."""
    connection = sqlite3.connect(log, isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()
