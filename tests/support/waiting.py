"""How long tests wait, and how: for as long as it takes on a machine that has no time for them.

A wait ends when what it waits for has come. Its bound is reached by what will not come at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["WAIT_S", "until"]

WAIT_S = 300.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that will come true, however slow the machine."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)
