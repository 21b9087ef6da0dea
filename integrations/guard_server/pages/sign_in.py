"""/, /sign-in, /sign-out and the static files. Knows tokens; shows nothing of the guard."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from guard_server.pages.access import (
    PageRoute,
    cookie_name,
    is_https,
    redirect,
    remember,
    sessions_of,
    visit_of,
    visitor,
)
from guard_server.pages.forms import CSRF, local_path, read_fields, require_ours
from guard_server.pages.rendering import NAVIGATION, render, static_file
from guard_server.pages.sessions import Visit
from guard_server.problems import Problem

__all__ = ["router"]

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/")
async def start(visit: Annotated[Visit, Depends(visitor())]) -> Response:
    """The first page that the visitor may see."""
    for _, path, _, scopes in NAVIGATION:
        if visit.may(*scopes):
            return redirect(path)
    raise Problem("scope-needed", f"The token “{visit.session.name}” opens no page.")


@router.get("/sign-in")
async def ask(request: Request, next: str = "/") -> Response:  # noqa: A002 - as it is called in the address
    visit = visit_of(request)
    if visit is not None:
        return redirect(local_path(next))
    return form(request, local_path(next))


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Exchange a token for a cookie."""
    fields = await read_fields(request)
    after = local_path(fields.get("next", ["/"])[0])
    sessions = sessions_of(request)
    if not sessions.needed:
        return redirect(after)
    if not sessions.asked(request.cookies.get(asking(request), ""), fields.get(CSRF, [""])[0]):
        return form(request, after, "This form was made for another session; send it once more.")
    visit = sessions.sign_in(fields.get("token", [""])[0].strip())
    if visit is None:
        return form(request, after, "No token of this server is written like that.")
    answer = redirect(after)
    remember(request, answer, visit)
    answer.delete_cookie(asking(request), path="/sign-in", httponly=True, samesite="strict")
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, visit: Annotated[Visit, Depends(visitor())]) -> Response:
    require_ours(request, visit, (await read_fields(request)).get(CSRF, [""])[0])
    answer = redirect("/sign-in")
    answer.delete_cookie(cookie_name(request), httponly=True, samesite="strict")
    return answer


def form(request: Request, after: str, wrong: str = "") -> Response:
    """The form, with a cookie that only it goes with: no page of another site signs anybody in."""
    nonce, csrf = sessions_of(request).ask()
    answer = render(
        request, "sign_in.html", status=401 if wrong else 200, active="", next=after, wrong=wrong, csrf=csrf
    )
    answer.set_cookie(
        asking(request), nonce, path="/sign-in", httponly=True, samesite="strict", secure=is_https(request)
    )
    return answer


def asking(request: Request) -> str:
    return f"{cookie_name(request)}_asks"


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """A style, a script, a picture. The address holds a digest of the content, so that it may be kept for ever."""
    try:
        content, media_type, _ = static_file(name)
    except KeyError:
        raise Problem("not-found", "There is no such file.") from None
    return Response(content, media_type=media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"})
