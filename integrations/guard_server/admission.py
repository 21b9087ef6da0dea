"""How much a process takes on at a time: images that wait, and pixels in memory. Knows numbers; no request."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

__all__ = ["FullError", "PixelRoom", "Queue"]


class FullError(Exception):
    """No more images are accepted now. retry_after_s: when there should be room again."""

    def __init__(self, waiting: int, retry_after_s: float) -> None:
        super().__init__(f"{waiting} images wait already; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class Queue:
    """Counts the images that were accepted and are not answered yet.

    most: no request is accepted that would make it more; one that comes to an empty queue always is.
    on_change: told the difference.
    """

    def __init__(self, most: int, on_change: Callable[[int], None]) -> None:
        self.most = most
        self.images = 0
        self.requests = 0
        self._on_change = on_change
        self._rate = 0.0  # images a second, of late
        self._last = time.monotonic()

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold the place of so many images. Raises FullError."""
        if self.images and self.images + images > self.most:
            raise FullError(self.images, max(1.0, math.ceil(self.images / self._rate) if self._rate else 1.0))
        self.images += images
        self.requests += 1
        self._on_change(images)
        try:
            yield
        finally:
            self.images -= images
            self.requests -= 1
            self._on_change(-images)
            self._measure(images)

    def _measure(self, images: int) -> None:
        """An average over some ten seconds."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        kept = math.exp(-passed / 10)
        self._rate = self._rate * kept + images / 10


class PixelRoom:
    """Pixels that may be decoded at a time, given out in the order of asking. A request gets all that it needs at once,
    so that two cannot wait for each other; one that is alone gets it however much it is."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._asking: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        if self._asking or not self._fits(pixels):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._asking.append((pixels, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give(pixels)
                raise
        else:
            self.taken += pixels
        try:
            yield
        finally:
            self._give(pixels)

    def _fits(self, pixels: int) -> bool:
        return not self.taken or self.taken + pixels <= self.most

    def _give(self, pixels: int) -> None:
        self.taken -= pixels
        while self._asking and (self._asking[0][1].done() or self._fits(self._asking[0][0])):
            wanted, turn = self._asking.popleft()
            if not turn.done():
                self.taken += wanted
                turn.set_result(None)
