"""Who makes a request, and whether it may: for every route, and for pages. Knows headers and tokens; no check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from guard_server.problems import Problem
from guard_server.service import Service, service_of
from guard_server.tokens import ANYONE, Scope, Session, bearer

__all__ = ["require", "session_of"]


async def session_of(request: Request, service: Annotated[Service, Depends(service_of)]) -> Session:
    """The session of a request. Raises Problem where tokens are needed and none, or a wrong one, was sent."""
    if not service.tokens:
        return ANYONE
    secret = bearer(request.headers.get("authorization", ""))
    session = service.tokens.session(secret) if secret else None
    if session is None:
        raise Problem("token-needed", "send the header `Authorization: Bearer TOKEN` with a token of this server")
    return session


def require(*scopes: Scope) -> Callable[..., Awaitable[Session]]:
    """A dependency: the session of a request that has one of these scopes; without any, every known one."""

    async def dependency(session: Annotated[Session, Depends(session_of)]) -> Session:
        if scopes and not session.scopes.intersection(scopes):
            named = " or ".join(f"`{scope.value}`" for scope in scopes)
            raise Problem("scope-needed", f"token {session.name!r} lacks the scope {named}")
        return session

    return dependency
