"""What a request is answered that cannot be served: problem details (RFC 9457). Knows codes and HTTP; no check."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

__all__ = ["MEDIA_TYPE", "PROBLEMS", "Problem", "ProblemDetails", "documented", "install", "invalid", "response"]

MEDIA_TYPE = "application/problem+json"
logger = logging.getLogger("guard_server")

PROBLEMS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "malformed": (400, "The request cannot be read"),
        "token-needed": (401, "A token is needed, and this one is not known"),
        "scope-needed": (403, "The token does not open this"),
        "cross-site": (403, "A page of another site sent this request"),
        "not-found": (404, "There is nothing here"),
        "method-not-allowed": (405, "Another method is needed here"),
        "refused": (409, "The new version of the index is refused, and the one in use goes on"),
        "too-slow": (408, "The request took too long to arrive"),
        "too-large": (413, "The request is too large"),
        "media-type": (415, "The request is of a type that is not read here"),
        "wrong-host": (421, "This server does not go by that name"),
        "invalid": (422, "A field of the request does not fit"),
        "busy": (429, "The server has as much to do as it accepts"),
        "internal": (500, "The server failed"),
        "unavailable": (503, "The server cannot do this now"),
    }
)
"""Code -> status and title. The `type` of a problem is `urn:memguard:problem:` and its code."""


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it so
    """Raised by whatever serves a request; answered as it says.

    code: of PROBLEMS. detail: what is wrong with this request and what to do, in a sentence.
    retry_after_s: for the header Retry-After. extra: further members, as JSON values.
    """

    def __init__(self, code: str, detail: str, *, retry_after_s: float | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.extra = extra


class ProblemDetails(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:memguard:problem:busy"])
    title: str = Field(examples=["The server has as much to do as it accepts"])
    status: int = Field(examples=[429])
    detail: str = Field(examples=["256 images wait already; try again in 1 s"])


def response(problem: Problem) -> JSONResponse:
    status, title = PROBLEMS[problem.code]
    body = {"type": f"urn:memguard:problem:{problem.code}", "title": title, "status": status}
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="memguard"'
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after_s)))
    content = {**body, "detail": problem.detail, **problem.extra}
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer these."""
    texts: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, title = PROBLEMS[code]
        before = texts.get(status)
        description = f"{before['description']}; or: {title}" if before else title
        schema = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
        texts[status] = {"description": description, "content": {MEDIA_TYPE: schema}}
    return texts


def install(app: FastAPI) -> None:
    """Answer every error of an application with problem details."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, exc: Problem) -> JSONResponse:
        if "reason" in exc.extra:
            request.app.state.service.metrics.rejected.labels(exc.extra["reason"]).inc()
        return response(exc)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, exc: HTTPException) -> JSONResponse:
        known = {404: "not-found", 405: "method-not-allowed", 400: "malformed"}
        answer = response(Problem(known.get(exc.status_code, "internal"), f"{request.method} {request.url.path}"))
        for name in ("Allow",):
            if exc.headers and name in exc.headers:
                answer.headers[name] = exc.headers[name]
        return answer

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, exc: RequestValidationError) -> JSONResponse:
        return response(invalid(exc.errors()))

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, exc: Exception) -> JSONResponse:
        # The text may hold a path or a value; it goes to the log, which Starlette's re-raise fills.
        return response(Problem("internal", f"{type(exc).__name__}; the server's log says more"))


def invalid(errors: Any) -> Problem:
    """pydantic's errors, without the values that they complain of: those may be whole pictures."""
    listed = [{"field": ".".join(map(str, e["loc"])), "message": e["msg"]} for e in errors]
    told = "; ".join(f"{e['field']}: {e['message']}" for e in listed[:3])
    return Problem("invalid", told, errors=listed[:20])
