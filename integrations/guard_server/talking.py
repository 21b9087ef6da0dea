"""What both clients do alike: the steps of a story, and what a failure of the connection means. Opens none."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from guard.errors import MissingExtraError, RemoteError
from guard.types import Report
from guard_server.exchange import Outgoing
from guard_server.remote import Story

__all__ = ["WAIT_S", "httpx2_module", "next_of", "unreachable", "was_dropped", "worth_waiting"]

WAIT_S = 30.0  # for an answer to what is no check


def next_of(story: Story, answer: Any) -> Outgoing | Report:
    """The next request, or the report at the end."""
    try:
        return story.send(answer)
    except StopIteration as done:
        report: Report = done.value
        return report


def httpx2_module() -> ModuleType:
    try:
        import httpx2
    except ImportError as exc:
        raise MissingExtraError("guard_server.Client", extra="client") from exc
    return httpx2


def was_dropped(exc: Exception) -> bool:
    """A connection that was kept and that the other side has closed meanwhile: a new one is worth a try."""
    httpx2 = httpx2_module()
    return isinstance(exc, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError)


def unreachable(url: str, exc: Exception) -> RemoteError:
    return RemoteError(
        f"the guard at {url} cannot be reached ({type(exc).__name__}: {exc}); is `memguard serve` running?"
    )


def worth_waiting(exc: RemoteError, left: float | None) -> float | None:
    """Seconds to wait before another try, if a busy server named them and they fit."""
    wait = exc.retry_after_s
    return wait if exc.status == 429 and wait is not None and (left is None or wait < left) else None
