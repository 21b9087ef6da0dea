"""Whether a calibration still holds while a guard runs: it ages, and the overlay grows. Changes no threshold."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard.calibration.calibrated import Calibrated
    from guard.metrics import GuardMetrics

__all__ = ["EVERY_S", "CalibrationWatch"]

EVERY_S = 300.0  # a change of size is looked at at once

_log = logging.getLogger(__name__)


class CalibrationWatch:
    """Keeps the metrics true, and logs a line when a calibration becomes stale, or for one more reason. Thread-safe.

    expected: number of references -> share of clean images that are flagged. clock: seconds since the epoch.
    """

    def __init__(
        self,
        calibrated: Calibrated,
        metrics: GuardMetrics,
        *,
        max_age_days: int,
        expected: Callable[[int], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._calibrated, self._metrics = calibrated, metrics
        self._max_age_days, self._expected, self._clock = max_age_days, expected, clock
        self._count, self._at = -1, 0.0
        self._reasons = 0
        self._lock = threading.Lock()

    def look(self, count: int) -> None:
        """To be called with each check. count: of the references that are looked up at this moment.

        Nothing happens unless EVERY_S have passed since the last look, or the count is another one.
        """
        now = self._clock()
        if count == self._count and abs(now - self._at) < EVERY_S:
            return
        if not self._lock.acquire(blocking=False):
            return  # another check is looking
        try:
            self._count, self._at = count, now
            self._told(count, datetime.fromtimestamp(now, UTC))
        finally:
            self._lock.release()

    def _told(self, count: int, now: datetime) -> None:
        name = self._calibrated.name
        stale = self._calibrated.stale(self._max_age_days, now, count=count)
        self._metrics.set_calibration(name, stale=bool(stale), expected=self._expected(count))
        if len(stale) > self._reasons and self._metrics.shown:
            _log.warning("the calibration of %s is stale: %s", name, "; ".join(stale))
        elif self._reasons and not stale and self._metrics.shown:
            _log.info("the calibration of %s is no longer stale", name)
        self._reasons = len(stale)
