"""How much a process takes on at a time: images that wait, and pixels in memory. Knows numbers; no request."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

__all__ = ["FullError", "PixelRoom", "Queue"]


MEASURED = 8
"""Images after which a pace is known: the first ones may have waited for a runtime to wake."""
OF_LATE_IMAGES, OF_LATE_S = 64, 10
"""What the pace is an average over: so many images, or so many seconds at work, whichever is less."""


class FullError(Exception):
    """No more images are accepted now. retry_after_s: when there should be room again."""

    def __init__(self, waiting: int, retry_after_s: float, late_s: float | None = None) -> None:
        """late_s: how long the images would have waited, if that is the reason."""
        self.retry_after_s = float(max(1, math.ceil(retry_after_s)))
        too_late = "" if late_s is None else f", some {late_s:.1f} s of work, more than a check may take"
        super().__init__(f"{waiting} images wait already{too_late}; try again in {self.retry_after_s:.0f} s")


class Pace:
    """How fast images are done of late, in time at work alone: a quiet hour makes nothing slower. Asked for nothing,
    it knows nothing, and a batch that hangs makes it slower by itself."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._images, self._seconds = 0.0, 0.0
        self._done = 0
        self._since: float | None = None  # at work since then, or since the last images that were done

    def begin(self) -> None:
        """There is work now, where there was none."""
        self._since = self._clock()

    def done(self, images: int, *, more: bool) -> None:
        """So many images were answered. more: there is still work."""
        now = self._clock()
        passed = 0.0 if self._since is None else now - self._since
        kept = math.exp(-max(images / OF_LATE_IMAGES, passed / OF_LATE_S))
        self._images = self._images * kept + images
        self._seconds = self._seconds * kept + passed
        self._done += images
        self._since = now if more else None

    def seconds(self, images: int) -> float | None:
        """How long so many will take; None while that is not known."""
        if self._done < MEASURED:
            return None
        passed = 0.0 if self._since is None else self._clock() - self._since
        return images * (self._seconds + passed) / self._images


class Queue:
    """Counts the images that were accepted and are not answered yet.

    most: no request is accepted that would make it more; one that comes to an empty queue always is.
    on_change: told the difference. clock: seconds.
    """

    def __init__(
        self, most: int, on_change: Callable[[int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self.images = 0
        self.requests = 0
        self._on_change = on_change
        self._pace = Pace(clock)

    @contextmanager
    def admit(self, images: int, limit_s: float | None = None) -> Iterator[None]:
        """Hold the place of so many images. limit_s: how long they may take from now on, the waiting among it.

        Raises FullError where there is no place, or where those before them and they would take longer, as far as that
        can be told: they would be failed checks, and the time for them would be lost to others.
        """
        needed_s = self._pace.seconds(self.images + images) if self.images else None
        if self.images and self.images + images > self.most:
            raise FullError(self.images, needed_s or 1)
        if needed_s is not None and limit_s is not None and needed_s > limit_s:
            raise FullError(self.images, needed_s - limit_s, needed_s)
        if not self.requests:
            self._pace.begin()
        self.images += images
        self.requests += 1
        self._on_change(images)
        done = 0
        try:
            yield
            done = images
        finally:
            self.images -= images
            self.requests -= 1
            self._on_change(-images)
            self._pace.done(done, more=bool(self.requests))


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
