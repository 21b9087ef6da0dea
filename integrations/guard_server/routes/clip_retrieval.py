"""POST /knn-service, POST /metadata and GET /indices-list, as `clip back` of clip-retrieval serves them.

Knows requests; `guard.search.clip_retrieval` answers them. Its clients send JSON whatever the Content-Type says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from guard.errors import ConfigError, InputError, MissingExtraError
from guard.indexes.overlaid import OverlaidIndex
from guard.search import Searcher
from guard.search.clip_retrieval import knn_service, metadata_service
from guard_server.access import require
from guard_server.metrics import GONE
from guard_server.problems import Problem, documented
from guard_server.service import Service, service_of
from guard_server.tokens import Scope
from guard_server.uploads import bounded, in_time

__all__ = ["router"]

router = APIRouter(tags=["clip-retrieval"], dependencies=[Depends(require(Scope.SEARCH))])
ServiceHere = Annotated[Service, Depends(service_of)]
Answers: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Searcher]], list[dict[str, Any]]]
REFUSALS = documented(
    "malformed", "token-needed", "scope-needed", "too-slow", "too-large", "invalid", "busy", "unavailable"
)
BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


@router.post("/knn-service", response_model=list[dict[str, Any]], openapi_extra=BODY, responses=REFUSALS)
async def knn(request: Request, service: ServiceHere) -> Response:
    """References near to a text, a picture or a descriptor, as clip-retrieval's clients ask. Scope `search`."""
    return await _answer(request, service, knn_service)


@router.post("/metadata", response_model=list[dict[str, Any]], openapi_extra=BODY, responses=REFUSALS)
async def metadata(request: Request, service: ServiceHere) -> Response:
    """What is known of references by their ids. Scope `search`."""
    return await _answer(request, service, metadata_service)


@router.get("/indices-list", response_model=list[str], responses=documented("token-needed", "scope-needed"))
def indices(service: ServiceHere) -> list[str]:
    """The name of the index, which requests may give as `indice_name`. Scope `search`."""
    with service.current.use() as guard:
        return [guard.name]


async def _answer(request: Request, service: Service, answers: Answers) -> Response:
    with service.uploads.hold() as more:
        try:
            async with in_time(service.config):
                chunks = bounded(request, int(service.config.max_body_mb * 1_000_000), more)
                asked = _object(b"".join([chunk async for chunk in chunks]))
        except ClientDisconnect:
            service.metrics.rejected.labels("disconnected").inc()
            return Response(status_code=GONE)
        async with request.app.state.searches:
            return JSONResponse(await run_in_threadpool(_found, service, asked, answers))


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise Problem("malformed", "send a JSON object, as clip-retrieval's clients do")
    return asked


def _found(service: Service, asked: Mapping[str, Any], answers: Answers) -> list[dict[str, Any]]:
    try:
        with service.current.use() as guard:
            if not isinstance(guard.index, OverlaidIndex):
                raise Problem("unavailable", "this index is in memory alone and cannot be searched")
            meant = bool(asked.get("text")) and service.meanings.offered(guard)
            meaning = service.meanings.of(guard) if meant else None
            return answers(asked, {guard.name: Searcher(guard.index, guard.embedder, meaning=meaning)})
    except (ConfigError, InputError) as exc:
        raise Problem("invalid", str(exc)) from None
    except MissingExtraError as exc:
        raise Problem("unavailable", str(exc)) from None
