"""POST /v1/search: references by a picture, by words, or both. Knows requests; `guard.search` finds."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from guard.decode import decode
from guard.embedders.views import ViewKind
from guard.errors import ConfigError, InputError, MissingExtraError
from guard.indexes.overlaid import OverlaidIndex
from guard.indexes.selection import RecordFilter
from guard.search import Searcher, SearchQuery
from guard.search.query import WordsBy
from guard_server.access import require
from guard_server.config import ServerConfig
from guard_server.metrics import GONE
from guard_server.multipart import read_form
from guard_server.problems import Problem, documented, invalid
from guard_server.references import thumbnail_of
from guard_server.service import Service, service_of
from guard_server.tokens import Scope
from guard_server.uploads import bounded, in_time

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["search"])
ServiceHere = Annotated[Service, Depends(service_of)]
seeker = Depends(require(Scope.SEARCH))


class SearchFields(BaseModel):
    """One question: a picture, words over captions, or both, which must both fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: str = Field("", max_length=1000, description="Every word stands in the caption.", examples=["a lighthouse"])
    by: WordsBy = Field(
        "captions",
        description="meaning: the words are compared with the pictures instead, where a CLIP is there for it.",
    )
    views: ViewKind = Field(
        "one", description="Views of the picture that are looked up; crops find parts of it, levels other levels."
    )
    source: str = Field("", max_length=200, description="Part of the reference's uri: a folder, a shard, a domain.")
    min_similarity: float | None = Field(None, ge=-1, le=1, description="Of hits by the picture, inclusive.")
    offset: int = Field(0, ge=0, le=100_000)
    limit: int = Field(20, ge=1, le=200)


class SearchBody(SearchFields):
    """The same with the picture in base64."""

    picture: str | None = Field(None, description="One encoded picture in base64.", examples=["/9j/4AAQ…"])


class Hit(BaseModel):
    id: int
    uri: str
    sha256: str
    caption: str
    collections: list[str]
    cluster_size: int
    similarity: float | None
    pdq_bits: int | None
    meaning: float | None


class Page(BaseModel):
    """What fits, best first."""

    hits: list[Hit]
    offset: int
    limit: int
    more: bool = Field(description="A page with a higher offset has hits too.")
    total: int | None
    index_version: str
    note: str | None


def _form() -> dict[str, Any]:
    picture = {"type": "string", "contentMediaType": "application/octet-stream", "description": "One encoded picture."}
    return {"type": "object", "properties": {"picture": picture, **SearchFields.model_json_schema()["properties"]}}


BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _form()},
        "application/json": {"schema": SearchBody.model_json_schema()},
    },
}


@router.post(
    "/search",
    response_model=Page,
    openapi_extra={"requestBody": BODY},
    dependencies=[seeker],
    responses=documented(
        "malformed", "token-needed", "scope-needed", "too-slow", "too-large", "media-type", "invalid", "busy",
        "unavailable",
    ),
)  # fmt: skip
async def search(request: Request, service: ServiceHere) -> Response:
    """References that are near to a picture, carry words in their caption or show what they say, or both.

    Scope `search`.
    """
    with service.uploads.hold() as more:
        try:
            picture, asked = await _read(request, service.config, more)
        except ClientDisconnect:
            service.metrics.rejected.labels("disconnected").inc()
            return Response(status_code=GONE)
        async with request.app.state.searches:
            return JSONResponse(await run_in_threadpool(_found, service, picture, asked))


@router.get(
    "/references/{identifier}/thumbnail",
    response_class=Response,
    dependencies=[Depends(require(Scope.SEARCH, Scope.REVIEW))],
    responses={
        200: {"content": {"image/jpeg": {}}},
        **documented("token-needed", "scope-needed", "not-found", "invalid"),
    },
)
def thumbnail(service: ServiceHere, identifier: int) -> Response:
    """The picture of a reference, by the `id` of a hit or match of the version in use. Scope `search` or `review`."""
    with service.current.use() as guard:
        encoded = thumbnail_of(guard, identifier) if 0 <= identifier < 1 << 63 else None
    if encoded is None:
        raise Problem("not-found", "the index holds no picture of this reference")
    return Response(encoded, media_type="image/jpeg" if encoded[:2] == b"\xff\xd8" else "image/webp")


async def _read(request: Request, config: ServerConfig, more: Callable[[int], None]) -> tuple[bytes, SearchFields]:
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    async with in_time(config):
        chunks = bounded(request, int(config.max_body_mb * 1_000_000), more)
        try:
            if kind == b"multipart/form-data":
                names, boundary = SearchFields.model_fields, parameters.get(b"boundary", b"")
                form = await read_form(chunks, boundary, files=("picture",), texts=names, most_files=1)
                return (form.files["picture"] or [b""])[0], SearchFields.model_validate(form.texts)
            if kind == b"application/json":
                body = SearchBody.model_validate_json(b"".join([chunk async for chunk in chunks]))
                data = base64.b64decode(body.picture, validate=True) if body.picture else b""
                return data, SearchFields.model_validate(body.model_dump(exclude={"picture"}))
        except ValidationError as exc:
            raise invalid(exc.errors(include_url=False, include_input=False)) from None
        except binascii.Error as exc:
            raise Problem("invalid", f"picture is no base64: {exc}") from None
    raise Problem("media-type", "send multipart/form-data with a file named `picture`, or application/json")


def _found(service: Service, picture: bytes, asked: SearchFields) -> dict[str, Any]:
    config = service.config
    limits = {"max_bytes": int(config.max_image_mb * 1e6), "max_pixels": int(config.max_megapixels * 1e6)}
    try:
        pixels = decode(picture, where="picture", **limits).rgb if picture else None
        query = SearchQuery(
            picture=pixels,
            views=asked.views,
            words=asked.words,
            by=asked.by,
            where=RecordFilter(source=asked.source),
            min_similarity=asked.min_similarity,
            offset=asked.offset,
            limit=asked.limit,
        )
        with service.current.use() as guard:
            if not isinstance(guard.index, OverlaidIndex):
                raise Problem("unavailable", "this index is in memory alone and cannot be searched")
            meaning = service.meanings.of(guard) if asked.by == "meaning" and asked.words else None
            return Searcher(guard.index, guard.embedder, meaning=meaning).search(query).to_dict()
    except (ConfigError, InputError) as exc:
        raise Problem("invalid", str(exc)) from None
    except MissingExtraError as exc:
        raise Problem("unavailable", str(exc)) from None
