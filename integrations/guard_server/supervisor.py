"""Several workers on one socket: fork them, pass signals on, replace those that die. Knows processes; no HTTP.

The parent opens neither index nor model and starts no thread, so that a fork copies nothing of theirs. A worker that
cannot start the first time ends the server; one that dies later is replaced, more slowly each time in a row.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

__all__ = ["Supervisor"]

logger = logging.getLogger("guard_server")

SLOWEST_S = 30.0  # between two starts of a worker that keeps dying
TICK_S = 0.2
HEALTHY_S = 60.0  # after so long a life, a death counts as the first again


@dataclass(slots=True)
class _Worker:
    pid: int
    ready: int
    """Read end of a pipe: a byte once it serves, the end if it dies before."""
    started: float
    serves: bool = False


class Supervisor:
    """work: what a worker does, in the child; it is handed what to call when it serves, and returns its exit code.

    on_death: told the process id of each worker that ended, in the parent.
    """

    def __init__(
        self,
        work: Callable[[Callable[[], None]], int],
        workers: int,
        *,
        shutdown_s: float,
        on_death: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._work, self._count, self._shutdown_s, self._on_death = work, workers, shutdown_s, on_death
        self._workers: dict[int, _Worker] = {}
        self._signals: list[int] = []
        self._ever_served = False
        self._deaths = 0
        self._start_at = 0.0

    def run(self) -> int:
        """Until SIGTERM or SIGINT; returns the exit code: 0, or that of a worker that could not start."""
        before = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        code = 0
        try:
            while not {signal.SIGTERM, signal.SIGINT} & set(self._signals):
                failed = self._reap()
                if failed is not None:
                    code = failed
                    break
                if signal.SIGHUP in self._signals:
                    self._signals.remove(signal.SIGHUP)
                    self._send(signal.SIGHUP)
                while len(self._workers) < self._count and time.monotonic() >= self._start_at:
                    self._fork()
                time.sleep(TICK_S)
        finally:
            self._stop()
            for number, handler in before.items():
                signal.signal(number, handler)
        return code

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signals.append(number)

    def _fork(self) -> None:
        ready, tell = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(ready)
            self._be_a_worker(tell)
        os.close(tell)
        os.set_blocking(ready, False)
        self._workers[pid] = _Worker(pid, ready, time.monotonic())

    def _be_a_worker(self, tell: int) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to load anew
        for other in self._workers.values():
            os.close(other.ready)
        code = 3
        try:
            code = self._work(lambda: _tell(tell))
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 3
        except BaseException:
            logger.exception("a worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> int | None:
        """Forget workers that ended; the exit code if the first ones cannot start at all."""
        for worker in list(self._workers.values()):
            if not worker.serves and _told(worker.ready):
                worker.serves = self._ever_served = True
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if not pid:
                continue
            self._forget(worker)
            code = os.waitstatus_to_exitcode(status)
            if not self._ever_served:
                logger.error("worker %d ended (%s) before any served: the server stops", pid, _why(code))
                return code if code > 0 else 3
            lived = time.monotonic() - worker.started
            self._deaths = 0 if lived >= HEALTHY_S else self._deaths + 1
            wait = min(SLOWEST_S, 2.0 ** (self._deaths - 2)) if self._deaths > 1 else 0.0
            self._start_at = time.monotonic() + wait
            logger.warning("worker %d ended (%s); the next one starts in %.0f s", pid, _why(code), wait)
        return None

    def _forget(self, worker: _Worker) -> None:
        os.close(worker.ready)
        del self._workers[worker.pid]
        self._on_death(worker.pid)

    def _send(self, number: int) -> None:
        for pid in self._workers:
            os.kill(pid, number)

    def _stop(self) -> None:
        """Let all finish what they have accepted; what is not done some seconds after its time is killed."""
        self._send(signal.SIGTERM)
        end = time.monotonic() + self._shutdown_s + 5
        while self._workers and time.monotonic() < end:
            for worker in list(self._workers.values()):
                if os.waitpid(worker.pid, os.WNOHANG)[0]:
                    self._forget(worker)
            time.sleep(TICK_S / 4)
        for worker in list(self._workers.values()):
            os.kill(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)
            self._forget(worker)


def _tell(pipe: int) -> None:
    os.write(pipe, b"1")
    os.close(pipe)


def _told(pipe: int) -> bool:
    try:
        return bool(os.read(pipe, 1))
    except BlockingIOError:
        return False


def _why(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
