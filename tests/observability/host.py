"""A process with a guard in it, well or ill: the sidecar's application, whose guard a wrapper breaks.

    python -m tests.observability.host --index X.index --port 9000 [--ill] [--provider ort-cuda]

Ill, it checks slowly, keeps no canaries, lets latents pass, tries another pipeline out in shadow mode, and is
reviewed. Requests of the pipeline "broken" make it raise. Its queue is short.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn

from guard import Guard, Policy
from guard.embedders.base import QueryDescriptors
from guard.embedders.pdq import PdqEmbedder
from guard.events import EventLog, Outcome
from guard.guard import Call
from guard.pixels import ImageBatch
from guard.types import Report
from guard_server.app import create_app
from guard_server.config import ServerConfig
from guard_server.process import uvicorn_config
from guard_server.run import bind
from tests.support.toys import picture

SIDE = 192


class Embedder(PdqEmbedder):
    """PDQ, on a device that is said to be there, and as slow as is wanted."""

    def __init__(self, provider: str, slow_s: float) -> None:
        super().__init__()
        self._said, self._slow_s = provider, slow_s

    @property
    def provider(self) -> str:
        return self._said

    def embed_query(self, batch: ImageBatch) -> QueryDescriptors:
        time.sleep(self._slow_s)
        return super().embed_query(batch)


class BreakableGuard(Guard):
    def check_together(self, calls: Any, **how: Any) -> list[Report]:
        if any(call.pipeline == "broken" for call in calls):
            raise RuntimeError("the pipeline is called broken")
        return super().check_together(calls, **how)


def ail(guard: Guard, events: Path) -> None:
    """What goes on in the same process beside the requests."""
    log = EventLog(events, on_review=guard.metrics.count_review)
    while True:
        for _ in range(4):
            guard.skip(1, "latent", pipeline="previews")
        guard.check_together([Call([picture(seed, SIDE, SIDE)], pipeline="previews") for seed in (0, 900)])
        guard.check([picture(seed, SIDE, SIDE) for seed in (1, 901)], pipeline="trial", options={"mode": "shadow"})
        guard.events.flush()
        for event in log.read(limit=1):
            log.review(event.id, Outcome.CONFIRM, who="test")
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ill", action="store_true")
    parser.add_argument("--provider", default="ort-cpu")
    parser.add_argument("--canary-s", type=float, default=60.0)
    given = parser.parse_args()
    events = given.index.parent / f"events-{given.port}.sqlite"
    guard = BreakableGuard.open(
        given.index,
        embedder=Embedder(given.provider, 2.5 if given.ill else 0.0),
        policy=Policy(flag=0.65, block=0.85 if given.ill else 0.8),
        events=events,
    )
    for pipeline in ("broken", "previews", "trial"):
        guard.metrics.add_pipeline(pipeline)
    if given.ill:
        threading.Thread(target=ail, args=(guard, events), daemon=True).start()
    config = ServerConfig(
        index=given.index, port=given.port, queue_images=8, batch_images=2, canary_s=0 if given.ill else given.canary_s
    )
    with bind("127.0.0.1", given.port) as listener:
        uvicorn.Server(uvicorn_config(create_app(guard, config), config)).run(sockets=[listener])


if __name__ == "__main__":
    main()
