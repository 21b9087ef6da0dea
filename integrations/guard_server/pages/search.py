"""/search: is my picture in the training set? By a picture, by words of captions, or by what they mean.

Knows forms and results; what finds is `guard.search`. A picture that was sent is held by nobody but the visitor's own
page, so that further pages of results need no second upload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from guard.decode import decode
from guard.embedders.views import ViewKind
from guard.errors import GuardError, InputError
from guard.indexes.overlaid import OverlaidIndex
from guard.indexes.overlay import key_of
from guard.search import RecordFilter, Searcher, SearchPage, SearchQuery
from guard.search.query import WordsBy
from guard.types import Evidence
from guard_server.config import ServerConfig
from guard_server.multipart import read_form
from guard_server.pages.access import PageRoute, redirect, visitor
from guard_server.pages.forms import CSRF, require_ours
from guard_server.pages.held import hold, unsealed
from guard_server.pages.rendering import picture, render
from guard_server.pages.searching import answer_of, compared, level, searched
from guard_server.pages.sessions import Visit
from guard_server.problems import Problem
from guard_server.references import thumbnail_of
from guard_server.service import Service, service_of
from guard_server.tokens import Scope
from guard_server.uploads import bounded, in_time

__all__ = ["PAGE", "router"]

PAGE = 24
"""Hits of one page."""
FIELDS = (CSRF, "words", "by", "source", "views", "offset", "held", "seal")
router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/search")
Seeker = Annotated[Visit, Depends(visitor(Scope.SEARCH))]
ServiceHere = Annotated[Service, Depends(service_of)]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One question, as the form holds it."""

    words: str = ""
    by: WordsBy = "captions"
    source: str = ""
    views: ViewKind = "one"
    offset: int = 0
    image: bytes = b""
    """Encoded, as it was sent now; b"" if none was."""
    held: bytes = b""
    """The same from an earlier page of results, reduced."""

    def where(self) -> RecordFilter:
        return RecordFilter(source=self.source)

    def query(self, **more: object) -> str:
        """For the address of a search by words."""
        given = {"words": self.words, "by": "meaning" if self.by == "meaning" else "", "source": self.source, **more}
        return f"?{urlencode({name: value for name, value in given.items() if value not in ('', 0)})}"


@router.get("")
async def by_words(
    request: Request,
    service: ServiceHere,
    visit: Seeker,
    words: Annotated[str, Query(max_length=1000)] = "",
    by: WordsBy = "captions",
    source: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> Response:
    """The form; with words, what captions hold them all, or what pictures show what they say."""
    asked = Asked(words.strip(), by, source.strip(), offset=offset)
    if not asked.words:
        return await run_in_threadpool(shown, request, service, visit, asked, None)
    async with request.app.state.searches:
        return await run_in_threadpool(looked_up, request, service, visit, asked)


@router.post("")
async def by_picture(request: Request, service: ServiceHere, visit: Seeker) -> Response:
    """What is near to a picture, and, with words, has them in its caption or shows what they say."""
    with service.uploads.hold() as more:
        _, parameters = parse_options_header(request.headers.get("content-type"))
        async with in_time(service.config):
            chunks = bounded(request, int(service.config.max_body_mb * 1_000_000), more)
            boundary = parameters.get(b"boundary", b"")
            form = await read_form(chunks, boundary, files=("picture",), texts=FIELDS, most_files=1)
        require_ours(request, visit, form.texts.get(CSRF, ""))
        asked = asked_of(form.texts, (form.files["picture"] or [b""])[0], request, visit)
        if not (asked.image or asked.held):
            if asked.words:
                return redirect(f"/search{asked.query()}")
            return await run_in_threadpool(
                shown, request, service, visit, asked, None, "Choose a picture, or type words."
            )
        async with request.app.state.searches:
            return await run_in_threadpool(looked_up, request, service, visit, asked)


def asked_of(texts: Mapping[str, str], image: bytes, request: Request, visit: Visit) -> Asked:
    """Raises Problem for a held picture that this visit does not hold, or a field that does not fit."""
    held, views, offset = texts.get("held", ""), texts.get("views", "one"), texts.get("offset", "0")
    small = unsealed(request, visit, held, texts.get("seal", "")) if held else b""
    by = texts.get("by", "captions")
    if (
        views not in get_args(ViewKind)
        or by not in get_args(WordsBy)
        or not offset.isdecimal()
        or int(offset[:9]) > 100_000
    ):
        raise Problem("invalid", "The form does not fit; load the page again.")
    words, source = texts.get("words", "").strip()[:1000], texts.get("source", "").strip()[:200]
    return Asked(words, by, source, views, int(offset), image, small)  # type: ignore[arg-type]


def looked_up(request: Request, service: Service, visit: Visit, asked: Asked) -> Response:
    """What was asked by a picture, by words, or by both."""
    encoded = asked.image or asked.held
    try:
        image = pixels(encoded, service.config) if encoded else None
    except InputError as exc:
        return shown(request, service, visit, asked, None, f"This picture cannot be read: {exc}.")
    query = SearchQuery(
        picture=image,
        views=asked.views,
        words=asked.words,
        by=asked.by,
        where=asked.where(),
        offset=asked.offset,
        limit=PAGE,
    )
    with searched(service) as guard:
        try:
            meaning = service.meanings.of(guard) if asked.by == "meaning" and asked.words else None
        except GuardError as exc:
            return shown(request, service, visit, asked, None, f"Words cannot be looked for by what they mean: {exc}.")
        page = Searcher(guard.index, guard.embedder, meaning=meaning).search(query)  # type: ignore[arg-type]
        if image is None:
            return shown(request, service, visit, asked, page)
        alone = page.hits and not (page.offset or asked.words or asked.source)
        copies = compared(guard, image, page.hits) if alone else {}
        answer = answer_of(guard, page, copies) if alone else None
    return shown(request, service, visit, asked, page, held=hold(request, visit, image), answer=answer, copies=copies)


def shown(
    request: Request,
    service: Service,
    visit: Visit,
    asked: Asked,
    page: SearchPage | None,
    wrong: str = "",
    *,
    held: Mapping[str, str] | None = None,
    answer: Mapping[str, Any] | None = None,
    copies: Mapping[int, Evidence] | None = None,
) -> Response:
    """The form, with what was asked and found. held: the picture that it is about, for the next page.

    copies: hits whose pixels show it, by id.
    """
    flag, block = service.guard.rules.of_the_policy
    return render(
        request,
        "search.html",
        visit=visit,
        status=422 if wrong else 200,
        active="search",
        asked=asked,
        page=page,
        hits=[(key_of(hit.record), hit, level(hit, flag, block)) for hit in page.hits] if page else [],
        wrong=wrong,
        held=held,
        answer=answer,
        copies=copies or {},
        flag=flag,
        block=block,
        by_meaning=service.meanings.offered(service.guard),
        may_protect=visit.may(Scope.PROTECT) and isinstance(service.guard.index, OverlaidIndex),
        references=service.guard.index.manifest.count,
    )


@router.get("/reference/{identifier}")
def reference(service: ServiceHere, _visit: Seeker, identifier: int) -> Response:
    """The picture of a reference that was found."""
    with service.current.use() as guard:
        return picture(thumbnail_of(guard, identifier) if 0 <= identifier < 1 << 63 else None)


def pixels(encoded: bytes, config: ServerConfig) -> Any:
    return decode(
        encoded,
        where="it",
        max_bytes=int(config.max_image_mb * 1_000_000),
        max_pixels=int(config.max_megapixels * 1_000_000),
    ).rgb
