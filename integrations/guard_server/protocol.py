"""uvicorn's HTTP protocol with bounds on how long, and how large, a request's head may be. Knows connections; no ASGI.

uvicorn bounds neither: a client that sends a header a minute, or headers without end, would hold its connection.
What follows the head is bounded by `guard_server.uploads`, and what is sent back by `guard_server.shield`.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedProtocol", "bounded"]

HEAD_BYTES = 64 * 1024  # the path and all headers of one request


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Closed when a head takes longer than head_s, or a body still comes so long after its answer."""

    head_s: ClassVar[float] = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._arm()

    def on_url(self, url: bytes) -> None:
        self._grown(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grown(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body:  # refused before all of it was there
            self._arm()

    def _grown(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES:
            raise httptools.HttpParserError(f"the head of a request has more than {HEAD_BYTES} bytes")

    def _arm(self) -> None:
        self._disarm()
        self._timer = self.loop.call_later(self.head_s, self._close)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def bounded(head_s: float) -> type[BoundedProtocol]:
    """The protocol with this bound, in seconds."""
    return type("BoundedProtocol", (BoundedProtocol,), {"head_s": head_s})
