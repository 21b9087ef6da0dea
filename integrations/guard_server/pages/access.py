"""Who may see a page, and where somebody is sent who may not yet. Knows cookies and scopes; renders only errors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response

from guard.errors import GuardError, InputError
from guard_server.metrics import GONE
from guard_server.pages.rendering import HEADERS, render
from guard_server.pages.sessions import LASTS_S, Sessions, Visit
from guard_server.problems import PROBLEMS, Problem
from guard_server.tokens import Scope

__all__ = [
    "PageRoute",
    "SignInNeeded",
    "cookie_name",
    "is_https",
    "redirect",
    "remember",
    "sessions_of",
    "visit_of",
    "visitor",
]

logger = logging.getLogger("guard_server")


class SignInNeeded(Exception):  # noqa: N818 - no error: it asks the visitor for a token
    """Raised where a page needs to know who looks at it."""


def sessions_of(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def cookie_name(request: Request) -> str:
    """One for each port: browsers send a cookie to every port of a host, and two servers must not take each other's."""
    return f"memguard_{request.url.port or 'session'}"


def visit_of(request: Request) -> Visit | None:
    """Who makes this request; None without a cookie of ours. Without tokens, everybody is somebody."""
    sessions = sessions_of(request)
    known = sessions.read(request.cookies.get(cookie_name(request), ""))
    return known if known or sessions.needed else sessions.anyone()


def visitor(*scopes: Scope) -> Callable[[Request], Awaitable[Visit]]:
    """A dependency: the visit, with one of these scopes; without any, every known one."""

    async def dependency(request: Request) -> Visit:
        visit = visit_of(request)
        if visit is None:
            raise SignInNeeded
        if scopes and not visit.may(*scopes):
            named = " or ".join(f"“{scope.value}”" for scope in scopes)
            raise Problem("scope-needed", f"The token “{visit.session.name}” lacks the scope {named}.")
        return visit

    return dependency


def remember(request: Request, answer: Response, visit: Visit) -> None:
    answer.set_cookie(
        cookie_name(request), visit.cookie, max_age=LASTS_S, httponly=True, samesite="strict", secure=is_https(request)
    )


def is_https(request: Request) -> bool:
    """Whether the browser speaks TLS, with us or a proxy. A lie here costs only the liar the cookie."""
    told = (request.url.scheme, request.headers.get("x-forwarded-proto", ""))
    return "https" in told or request.headers.get("origin", "").startswith("https:")


def redirect(path: str) -> Response:
    """To a page of our own, by GET. path: made here and not by a request."""
    return RedirectResponse(path, 303, HEADERS)


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                with request.app.state.service.current.use():  # so that a swap does not close it meanwhile
                    return await handle(request)
            except SignInNeeded:
                asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                after = f"?next={quote(asked, safe='')}" if request.method == "GET" else ""
                return redirect(f"/sign-in{after}")
            except ClientDisconnect:
                return Response(status_code=GONE)
            except Problem as problem:
                return explained(request, problem)
            except InputError as exc:
                return explained(request, Problem("invalid", f"{exc}"))
            except RequestValidationError as exc:
                fields = ", ".join(str(error["loc"][-1]) for error in exc.errors())
                return explained(request, Problem("invalid", f"The address of this page does not fit: {fields}."))
            except GuardError:
                logger.warning("%s %s", request.method, self.path, exc_info=True)
                return explained(
                    request, Problem("unavailable", "What this page is about cannot be read now; the log says more.")
                )

        return handler


def explained(request: Request, problem: Problem) -> Response:
    """An error as a page, counted as the interface counts it."""
    if "reason" in problem.extra:
        request.app.state.service.metrics.rejected.labels(problem.extra["reason"]).inc()
    status, title = PROBLEMS[problem.code]
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(max(1, round(problem.retry_after_s)))}
    return render(
        request, "error.html", visit=visit_of(request), status=status, headers=headers, active="", code=status,
        title=title, detail=problem.detail,
    )  # fmt: skip
