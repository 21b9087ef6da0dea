"""Prompts -> generations on disk, on one or several devices. Knows samplers as callables; no pipeline and no graph."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol

from guard.audit.prompts import Prompt
from guard.audit.state import State
from guard.errors import CheckError, ConfigError, GuardError
from guard.pixels import RGBArray

__all__ = ["BATCH", "Generating", "Sampler", "generating"]

BATCH = 16  # pictures of one call
_AHEAD = 2  # calls in flight for each device, so that none waits while another prompt is looked at


class Sampler(Protocol):
    """A model on one device. All that an audit sees of it are pictures."""

    def __call__(self, prompt: Prompt, seeds: Sequence[int]) -> Sequence[RGBArray]:
        """Make one picture a seed, (h, w, 3) uint8, in their order; the same seed makes the same picture."""
        ...


class Generating:
    """Fills a state with generations; see `generating`."""

    def __init__(
        self, state: State, devices: SimpleQueue[Sampler], pool: ThreadPoolExecutor, ahead: int, batch: int, seed: int
    ) -> None:
        self.state = state
        self.made = 0
        """Generations of this run."""
        self.seconds = 0.0
        """That samplers spent on them, of all devices together."""
        self._devices, self._pool, self._ahead, self._batch, self._seed = devices, pool, ahead, batch, seed
        self._lock = threading.Lock()

    def fill(
        self,
        prompts: Sequence[Prompt],
        generations: int,
        *,
        until: float = float("inf"),
        on_progress: Callable[[int], None] | None = None,
    ) -> Iterator[Prompt]:
        """Yield each prompt, in order, once it has so many generations, while the next ones are being made.

        until: time.monotonic() after which no call begins that would probably end later; the prompt whose calls are
        left out is yielded with what it has, those after it are not yielded. on_progress: told how many were added.
        Raises CheckError if the sampler fails.
        """
        source = iter(prompts)
        pending: deque[tuple[Prompt, list[Future[int]]]] = deque()
        over = False
        try:
            while True:
                while not over and sum(not f.done() for _, futures in pending for f in futures) < self._ahead:
                    prompt = next(source, None)
                    over = prompt is None or time.monotonic() >= until
                    if prompt is not None and not over:
                        missing = self.state.missing(prompt, generations)
                        chunks = [missing[i : i + self._batch] for i in range(0, len(missing), self._batch)]
                        pending.append((prompt, [self._pool.submit(self._call, prompt, c, until) for c in chunks]))
                if not pending:
                    return
                prompt, futures = pending.popleft()
                for future in futures:
                    made = future.result()
                    if on_progress is not None and made:
                        on_progress(made)
                yield prompt
        finally:
            for _, futures in pending:
                for future in futures:
                    future.cancel()

    def _call(self, prompt: Prompt, numbers: Sequence[int], until: float) -> int:
        if time.monotonic() + self._expected(len(numbers)) > until:
            return 0
        sampler = self._devices.get()
        started = time.monotonic()
        try:
            pictures = sampler(prompt, [prompt.seed(self._seed, number) for number in numbers])
        except GuardError:
            raise
        except Exception as exc:  # foreign code: a pipeline raises what it likes
            raise CheckError(
                f"generating for {prompt.name!r} failed ({type(exc).__name__}: {exc}); what was made is kept, and the "
                "same command goes on. Out of memory: take a smaller --batch",
                stage="host",
                reason=type(exc).__name__,
            ) from exc
        finally:
            self._devices.put(sampler)
        if len(pictures) != len(numbers):
            raise ConfigError(f"the model made {len(pictures)} pictures of {len(numbers)} seeds; it must make one each")
        seconds = time.monotonic() - started
        for number, picture in zip(numbers, pictures, strict=True):
            self.state.write(prompt, number, picture)
        with self._lock:
            self.seconds += seconds
            self.made += len(numbers)
        return len(numbers)

    def _expected(self, pictures: int) -> float:
        """Seconds that a call probably takes; 0 before the first."""
        return pictures * self.seconds / self.made if self.made else 0.0


@contextmanager
def generating(state: State, samplers: Sequence[Sampler], *, batch: int = BATCH, seed: int = 0) -> Iterator[Generating]:
    """One thread for each sampler. seed: of the audit; see Prompt.seed."""
    if not samplers:
        raise ConfigError("an audit needs a model: give at least one sampler")
    devices: SimpleQueue[Sampler] = SimpleQueue()
    for sampler in samplers:
        devices.put(sampler)
    with ThreadPoolExecutor(len(samplers), "memguard-audit") as pool:
        try:
            yield Generating(state, devices, pool, _AHEAD * len(samplers), batch, seed)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
