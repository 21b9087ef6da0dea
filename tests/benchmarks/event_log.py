"""What the decision log adds to a check: the same check with and without it, in turn, in one run.

    python tests/benchmarks/event_log.py [--repeats 300] [--quick] [--json OUT]

A 512 x 512 picture against 10,000 references with PDQ: the cheapest check there is, so that what is added shows most.
Every check here ends in a block and is logged; in a service few are. The time of a check is what its caller waits; the
processor's time includes the thread that writes. Then many events at once: how fast they reach the disk.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
from _report import finish, options_parser, row
from check_path import DEADLINE_S, jpeg

from guard import Decision, Guard
from guard.decode import decode
from guard.embedders.registry import load_embedder
from guard.events import EventLog
from guard.indexes.builder import build_index
from guard.pixels import to_batch
from guard.sources import open_source

REFERENCES = 10_000
BAR = 1.1  # times the check without a log, at most
LOGS: dict[str, dict[str, Any]] = {"a log": {}, "a log with thumbnails": {"thumbnails": 256}}


def run(repeats: int) -> list[dict[str, Any]]:
    pixels = decode(jpeg()).rgb
    embedder = load_embedder("pdq")
    rows = np.where(np.random.default_rng(1).random((REFERENCES, 256)) < 0.5, -1 / 16, 1 / 16).astype(np.float32)
    rows[REFERENCES // 2] = embedder.embed(to_batch([pixels]))[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "rows.npy", rows)
        source = open_source(folder / "rows.npy", spec=embedder.spec)
        build_index(source, folder / "bench.index", embedder, thumbnails=0)
        guards = {"no log": Guard.open(folder / "bench.index", deadline_s=DEADLINE_S, verify=False)}
        for i, (what, settings) in enumerate(LOGS.items()):
            log = {"path": folder / f"{i}.sqlite", "queue": 100_000, **settings}
            guards[what] = Guard.open(folder / "bench.index", events=log, deadline_s=DEADLINE_S, verify=False)
        wall: dict[str, list[float]] = {what: [] for what in guards}
        busy: dict[str, list[float]] = {what: [] for what in guards}
        for repeat in range(repeats + 5):
            for what, guard in guards.items():
                began, spent = perf_counter(), process_time()
                (verdict,) = guard.check([pixels], prompts="a lighthouse at dusk")
                ended = perf_counter()
                assert verdict.decision is Decision.BLOCK, verdict
                if guard.events is not None:
                    assert guard.events.flush(60)  # so that what it writes burdens no other guard's check
                if repeat >= 5:  # the first ones warm caches up
                    wall[what].append(ended - began)
                    busy[what].append(process_time() - spent)
        rate = _burst(guards["a log"], pixels, 20 * repeats)
        for guard in guards.values():
            if guard.events is not None:
                assert guard.events.close(60)
        size = (folder / "0.sqlite").stat().st_size / EventLog(folder / "0.sqlite").count()
    out = [row("check without a log", 1000 * median(wall["no log"]), "ms")]
    for what in LOGS:
        pairs = list(zip(wall["no log"], wall[what], strict=True))
        at_most = None if LOGS[what] else BAR
        out.append(row(f"check with {what} adds", 1000 * median(b - a for a, b in pairs), "ms"))
        out.append(row(f"check with {what} / without", median(b / a for a, b in pairs), "x", at_most=at_most))
        spent = median(b - a for a, b in zip(busy["no log"], busy[what], strict=True))
        out.append(row(f"processor's time that {what} adds, writing included", 1000 * spent, "ms"))
    return [*out, row("events written when many wait", rate, "1/s"), row("bytes an event takes", size, "bytes")]


def _burst(guard: Guard, pixels: np.ndarray[Any, Any], events: int) -> float:
    """Events a second from the first of a burst to the last one's commit."""
    report = guard.check([pixels])
    assert guard.events is not None
    assert guard.events.flush(60)
    began = perf_counter()
    for _ in range(events):
        guard.events.record(report, lambda: guard._circumstances(guard.config), prompts="a lighthouse at dusk")
    assert guard.events.flush(600)
    return events / (perf_counter() - began)


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    options = parser.parse_args()
    if options.quick:
        options.repeats = 30
    finish("event_log", run(options.repeats), options.json, references=REFERENCES, repeats=options.repeats)


if __name__ == "__main__":
    main()
