"""What a page's form sends: small fields, bounded, and from a page of ours alone. Knows urlencoding; no pictures."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from guard_server.pages.access import sessions_of
from guard_server.pages.sessions import Visit
from guard_server.problems import Problem
from guard_server.uploads import bounded, in_time

__all__ = ["CSRF", "Fields", "local_path", "read_fields", "require_ours"]

CSRF = "csrf"
"""Name of the field that every form carries."""
MAX_BYTES = 256_000
MAX_FIELDS = 2_000
Fields = Mapping[str, list[str]]


async def read_fields(request: Request) -> Fields:
    """The fields of a urlencoded form, each with its values in order. Raises Problem for what is too much, or none."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Problem("media-type", "This address takes the form of its page.")
    async with in_time(request.app.state.service.config):
        body = b"".join([chunk async for chunk in bounded(request, MAX_BYTES)])
    fields: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS):
            fields.setdefault(name, []).append(value)
    except ValueError:
        raise Problem("malformed", "This is no form of ours.") from None
    return fields


def require_ours(request: Request, visit: Visit, csrf: str) -> None:
    """Raises Problem unless a form was made for this visit."""
    if not sessions_of(request).is_of(visit, csrf):
        raise Problem("cross-site", "The page that sent this was made for another session. Load it again, then repeat.")


def local_path(asked: str) -> str:
    """Where to go after signing in: a path of this server, "/" for anything else."""
    fits = asked.startswith("/") and not asked.startswith("//") and "\\" not in asked and asked.isprintable()
    return asked if fits else "/"
