"""/search/protect and /search/protected: what no output may come near to. Knows forms; what protects is
`guard_server.protecting`.
"""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from guard_server import protecting
from guard_server.pages.access import PageRoute, redirect, visitor
from guard_server.pages.forms import CSRF, read_fields, require_ours
from guard_server.pages.held import unsealed
from guard_server.pages.rendering import picture, render
from guard_server.pages.searching import searched
from guard_server.pages.sessions import Visit
from guard_server.problems import Problem
from guard_server.references import record_of_key, thumbnail_of
from guard_server.service import Service, service_of
from guard_server.tokens import Scope

__all__ = ["PAGE", "router"]

PAGE = 24
"""Protected pictures of one page."""
router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/search")
Protector = Annotated[Visit, Depends(visitor(Scope.PROTECT))]
ServiceHere = Annotated[Service, Depends(service_of)]


@router.post("/protect")
async def protect(request: Request, service: ServiceHere, visit: Protector) -> Response:
    """Put what was chosen, and the picture that was searched with, into the collection `opt-out`."""
    fields = await read_fields(request)
    require_ours(request, visit, fields.get(CSRF, [""])[0])
    keys, why = fields.get("key", []), fields.get("why", [""])[0].strip()[:500]
    held, seal = fields.get("held", [""])[0], fields.get("seal", [""])[0]
    own = unsealed(request, visit, held, seal) if "own" in fields else b""
    if not (keys or own):
        raise Problem("invalid", "Choose the pictures to protect first: mark them, then press Protect.")
    who = visit.session.name

    def apply() -> int:
        with searched(service) as guard:
            count = protecting.give(guard, keys, who=who, why=why) if keys else 0
            if own:
                protecting.add_picture(guard, own, who=who, why=why)
        return count + bool(own)

    return redirect(f"/search/protected?new={await run_in_threadpool(apply)}")


@router.get("/protected")
def protected(
    request: Request,
    service: ServiceHere,
    visit: Protector,
    new: Annotated[int, Query(ge=0, le=10_000)] = 0,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """What is protected by the overlay, newest first."""
    with searched(service) as guard:
        found = protecting.listed(guard)
        rows = [(one, record_of_key(guard, one.key)) for one in found[offset : offset + PAGE]]
    return render(
        request,
        "protected.html",
        visit=visit,
        active="search",
        rows=rows,
        total=len(found),
        new=new,
        offset=offset,
        page_size=PAGE,
        now=time.time(),
    )


@router.get("/protected/picture")
def protected_picture(service: ServiceHere, _visit: Protector, key: Annotated[str, Query(max_length=4000)]) -> Response:
    """A protected picture, where the index holds it."""
    with service.current.use() as guard:
        record = record_of_key(guard, key)
        return picture(None if record is None else thumbnail_of(guard, record.id))


@router.post("/protected")
async def take_back(request: Request, service: ServiceHere, visit: Protector) -> Response:
    """Take the protection of one picture back."""
    fields = await read_fields(request)
    require_ours(request, visit, fields.get(CSRF, [""])[0])
    key = fields.get("key", [""])[0]
    await run_in_threadpool(protecting.withdraw, service.guard, key, who=visit.session.name)
    return redirect("/search/protected")
