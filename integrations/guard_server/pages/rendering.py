"""Templates -> answers: what every page has, words for numbers and times, and the static files. Knows no route.

Everything is escaped; no page holds a script or a style of its own, and a static file is named by its content.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from guard._version import __version__
from guard_server.tokens import Scope

if TYPE_CHECKING:
    from starlette.requests import Request

    from guard_server.pages.sessions import Visit

__all__ = ["NAVIGATION", "age", "compact", "picture", "render", "static_file", "when"]

HERE = Path(__file__).parent
NAVIGATION = (
    ("status", "/status", "Status", (Scope.METRICS,)),
    ("review", "/review", "Review", (Scope.REVIEW,)),
    ("search", "/search", "Search", (Scope.SEARCH,)),
)
"""Name, path and title of each page, and the scopes of which one opens it."""
TYPES = MappingProxyType(
    {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
)
HEADERS = {
    # Not `no-referrer`: a browser would then send our own forms with `Origin: null`, as those of another site.
    "Referrer-Policy": "same-origin",
}


def render(
    request: Request,
    template: str,
    *,
    visit: Visit | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """A page. visit: whose; its navigation shows what it may open, and it is remembered if it has just begun."""
    may = [] if visit is None else [item for item in NAVIGATION if visit.may(*item[3])]
    html = environment().get_template(template).render(visit=visit, navigation=may, version=__version__, **values)
    answer = HTMLResponse(html, status, {**HEADERS, **(headers or {})})
    if visit is not None and visit.fresh:
        from guard_server.pages.access import remember

        remember(request, answer, visit)
    return answer


@cache
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(age=age, compact=compact, when=when, percent=percent, milliseconds=milliseconds)
    made.globals["static"] = lambda name: f"/static/{name}?{static_file(name)[2]}"
    return made


@cache
def _static() -> Mapping[str, tuple[bytes, str, str]]:
    found = {}
    for file in sorted((HERE / "static").iterdir()):
        if file.suffix in TYPES:
            data = file.read_bytes()
            found[file.name] = (data, TYPES[file.suffix], hashlib.sha256(data).hexdigest()[:12])
    return MappingProxyType(found)


def static_file(name: str) -> tuple[bytes, str, str]:
    """Content, media type and a digest. Raises KeyError for a name that is none of ours: no path reaches the disk."""
    return _static()[name]


def picture(encoded: bytes | None) -> Response:
    """An encoded thumbnail, or a drawing that says that there is none."""
    if encoded is None:
        content, media_type, _ = static_file("no-picture.svg")
        return Response(content, media_type=media_type)
    return Response(encoded, media_type="image/webp" if encoded[:4] == b"RIFF" else "image/jpeg")


def when(at: float) -> str:
    """Seconds since the epoch -> 2026-11-22 12:00 UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def age(at: float, now: float | None = None) -> str:
    """How long ago something was, in one unit: "3 minutes ago"."""
    passed = (time.time() if now is None else now) - at
    if passed < 0:
        return "in the future"
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if passed >= seconds:
            count = int(passed // seconds)
            return f"{count:,} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def compact(value: float | None) -> str:
    """A count or a rate for people: 0, 0.4, 12, 3,400."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def percent(share: float | None) -> str:
    if share is None or not math.isfinite(share):
        return "–"
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}" if share >= 0.0005 else "< 0.1%"


def milliseconds(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "–"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
