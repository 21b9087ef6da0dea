"""What one process looks at by the clock: its canaries, and whether a new version of the index was published.

Knows time and threads; what a canary or a version is, others know.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from guard_server.config import ServerConfig
from guard_server.current import Current
from guard_server.meanings import Meanings
from guard_server.swap import Swap, Swapper

__all__ = ["Watch"]

logger = logging.getLogger("guard_server")

LATE = 3  # intervals without a result after which the canaries count as lost


class Watch:
    """Runs on the event loop of its process; checks and swaps run on threads.

    swapper: None where the index is in memory alone: then nothing is watched.
    """

    def __init__(self, current: Current, swapper: Swapper | None, meanings: Meanings, config: ServerConfig) -> None:
        self._current, self.swapper, self._meanings, self._config = current, swapper, meanings, config
        self._problem = ""
        self._checked = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def canary(self) -> str | None:
        """`ok` or what is wrong; None where no canary is kept."""
        canaries = self.swapper.canaries if self.swapper is not None else None
        if not self._config.canary_s or canaries is None or not canaries.references:
            return None
        late = time.monotonic() - self._checked
        if late > LATE * self._config.canary_s + self._config.decode_s:
            return f"no canary was checked for {late:.0f} s"
        return self._problem or "ok"

    async def start(self) -> None:
        """Check the canaries once, then begin to watch."""
        if self.swapper is None:
            return
        if self._config.canary_s:
            canaries = self.swapper.canaries
            if canaries is not None and not canaries.references:
                logger.warning(
                    "no canary is kept: the index holds no thumbnails; name pictures of it in canary_pictures"
                )
            await asyncio.to_thread(self.check_canaries)
            self._begin(self._config.canary_s, self.check_canaries)
        if self._config.watch_s:
            self._begin(self._config.watch_s, self._look)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def swap(self, *, force: bool = False) -> Swap | None:
        """Load the version that is published, now; None where there is no directory to look at."""
        await asyncio.to_thread(self._meanings.look, again=True)
        return None if self.swapper is None else await asyncio.to_thread(self.swapper.swap, force=force)

    def check_canaries(self) -> None:
        """Check all canaries, count the results and remember what is wrong."""
        with self._current.use() as guard:  # first, so that a swap leaves it open until its canaries are checked
            canaries = self.swapper.canaries if self.swapper is not None else None
            if canaries is None:
                return
            outcomes, metrics = canaries.check(), guard.metrics
        for outcome in outcomes:
            metrics.count_canary(outcome.result)
        problem = "; ".join(outcome.text for outcome in outcomes if outcome.result != "pass")
        if problem and problem != self._problem:
            logger.error("canary: %s", problem)
        elif self._problem and not problem:
            logger.info("canary: all pass again")
        self._problem, self._checked = problem, time.monotonic()

    def _look(self) -> None:
        assert self.swapper is not None
        if self.swapper.has_new():
            self.swapper.swap()
        self._meanings.look()

    def _begin(self, seconds: float, what: Callable[[], None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(_again_and_again(seconds, what)))


async def _again_and_again(seconds: float, what: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(what)
        except Exception:  # the next time may go better, and the canaries' lateness shows if it does not
            logger.exception("%s failed", what.__name__)
