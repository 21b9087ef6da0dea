"""What every request meets first and every answer last: the host's name, cross-site requests, headers, counting.

Plain ASGI; knows no route and no token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guard_server.config import is_loopback
from guard_server.metrics import GONE, UNKNOWN_ROUTE, ServerMetrics
from guard_server.problems import Problem, response

__all__ = ["HEADERS", "Shield", "loopback_names"]

POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer. Nothing comes from another host, and nothing may be framed."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Shield:
    """hosts: names that requests may use; None: any. Without tokens they are those of loopback, so that no page of
    another site reaches the server by a name of its own that points here (DNS rebinding).
    send_s: that a client may take to read an answer.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str] | None, metrics: ServerMetrics, send_s: float) -> None:
        self.app = app
        self._send_s = send_s
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            try:
                async with asyncio.timeout(self._send_s):  # a client that does not read must not hold the request
                    await send(message)
            except TimeoutError:
                self._metrics.rejected.labels("too_slow").inc()
                raise ClientDisconnect from None

        problem = self._refused(scope)
        try:
            if problem is not None:
                await response(problem)(scope, receive, send_with_headers)
            else:
                await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:  # uvicorn closes a connection whose answer is not complete
            pass
        finally:
            route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
            self._metrics.requests.labels(route, str(status or GONE)).inc()
            self._metrics.seconds.labels(route).observe(perf_counter() - started)

    def _refused(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return Problem("wrong-host", "the header Host names none of the setting `hosts`")
        if scope["method"] not in SAFE and _is_cross_site(headers, host):
            return Problem("cross-site", "requests that change something come from this server's own pages or no page")
        return None


def _name(host: str) -> str | None:
    """The name in a header Host, without its port; None if there is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_cross_site(headers: Headers, host: str) -> bool:
    """True if a browser sends it for a page of another origin. Programs send neither header."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and origin.partition("://")[2].lower() != host.lower()


def loopback_names(host: str) -> tuple[str, ...]:
    """What a server that listens on loopback may be called."""
    names = ("localhost", "127.0.0.1", "::1")
    return (*names, host) if is_loopback(host) else names
