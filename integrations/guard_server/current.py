"""The guard in use, and when the one before it is no longer. Knows who uses which; opens nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard.guard import Guard

__all__ = ["Current"]


class Current:
    """Safe for threads. retire: told of a guard that was replaced, once nobody uses it."""

    def __init__(self, guard: Guard, retire: Callable[[Guard], None]) -> None:
        self._guard, self._retire = guard, retire
        self._users: dict[int, int] = {}
        self._replaced: dict[int, Guard] = {}
        self._lock = threading.Lock()

    @property
    def guard(self) -> Guard:
        """For a look; what works with it for longer takes `use`."""
        return self._guard

    @contextmanager
    def use(self) -> Iterator[Guard]:
        """The guard for one batch, which ends with it even if another takes over meanwhile."""
        with self._held(None) as guard:
            assert guard is not None
            yield guard

    @contextmanager
    def again(self, guard: Guard) -> Iterator[Guard | None]:
        """One that was in use before, for what is left to do with it; None if it was let go of meanwhile."""
        with self._held(guard) as held:
            yield held

    @contextmanager
    def _held(self, wanted: Guard | None) -> Iterator[Guard | None]:
        with self._lock:
            guard = self._guard if wanted is None else wanted
            gone = guard is not self._guard and id(guard) not in self._replaced
            if not gone:
                self._users[id(guard)] = self._users.get(id(guard), 0) + 1
        if gone:
            yield None
            return
        try:
            yield guard
        finally:
            with self._lock:
                left = self._users[id(guard)] - 1
                if left:
                    self._users[id(guard)] = left
                else:
                    del self._users[id(guard)]
                done = None if left else self._replaced.pop(id(guard), None)
            if done is not None:
                self._retire(done)

    def replace(self, guard: Guard) -> None:
        """Whatever begins from now on uses this one."""
        with self._lock:
            before, self._guard = self._guard, guard
            busy = id(before) in self._users
            if busy:
                self._replaced[id(before)] = before
        if not busy:
            self._retire(before)
