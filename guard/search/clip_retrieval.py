"""clip-retrieval's requests -> its answers, so that its clients work on an index. Knows its JSON; no HTTP and no files.

`knn_service`, `metadata_service` and `indices_list` answer what `clip back` serves as POST /knn-service, POST /metadata
and GET /indices-list (github.com/rom1504/clip-retrieval, clip_back.py). Its clients send JSON without saying so in the
Content-Type.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guard.decode import decode
from guard.errors import ConfigError, InputError
from guard.indexes.selection import RecordFilter
from guard.search.holdings import Holdings
from guard.search.query import MAX_LIMIT, SearchHit, SearchQuery
from guard.search.searcher import Searcher
from guard.types import Record

__all__ = ["SAME", "indices_list", "knn_service", "metadata_service"]

SAME = 0.94  # clip back's bar of two embeddings that are one picture, inclusive
MAX_PIXELS = 50_000_000  # of a picture in a request


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # clients also send what belongs to models that we lack

    indice_name: str | None = None


class _Knn(_Request):
    text: str | None = None
    image: str | None = None
    """Base64."""
    image_url: str | None = None
    embedding_input: list[float] | None = None
    modality: Literal["image", "text"] = "image"
    num_images: int = Field(100, ge=0)
    """Hits that come with what is known of them; further ones with id and similarity alone."""
    num_result_ids: int | None = Field(None, ge=1)
    deduplicate: bool = False


class _Metadata(_Request):
    ids: list[int] = Field(max_length=MAX_LIMIT)


_Model = TypeVar("_Model", bound=_Request)


def knn_service(request: Mapping[str, Any], searchers: Mapping[str, Searcher]) -> list[dict[str, Any]]:
    """Answer one request; at most 1,000 hits, best first.

    searchers: by the names that clients give as `indice_name`; without one, the first is asked.
    A text is compared with the pictures by meaning; with modality "text", its words are looked up in the captions, and
    similarity is None. Safety, violence and aesthetics are not judged, as by a `clip back` without those models.
    Raises ConfigError for a request that is none, an unknown index, a text without a CLIP, or a URL (nothing is
    fetched); InputError for a picture that cannot be read.
    """
    asked = _parsed(_Knn, request)
    searcher = _named(asked.indice_name, searchers)
    wanted = min(asked.num_result_ids or max(1, asked.num_images), MAX_LIMIT)
    hits = searcher.search(_query(asked, wanted)).hits
    if asked.deduplicate:
        hits = _different(searcher, hits)
    shown = [_known(searcher, hit.record) for hit in hits[: asked.num_images]]
    shown += [{}] * (len(hits) - len(shown))
    return [{**one, "id": hit.record.id, "similarity": _near(hit)} for one, hit in zip(shown, hits, strict=True)]


def metadata_service(request: Mapping[str, Any], searchers: Mapping[str, Searcher]) -> list[dict[str, Any]]:
    """What is known of references by their ids, in that order. Raises ConfigError as knn_service does."""
    asked = _parsed(_Metadata, request)
    searcher = _named(asked.indice_name, searchers)
    holdings = Holdings(searcher.index, RecordFilter())
    unknown = [i for i in asked.ids if not holdings.holds(i)]
    if unknown:
        raise ConfigError(f"ids: there is no reference {unknown[0]}")
    records = holdings.index.records(asked.ids)
    return [{"id": record.id, "metadata": _known(searcher, record)} for record in records]


def indices_list(searchers: Mapping[str, Searcher]) -> list[str]:
    return list(searchers)


def _query(asked: _Knn, limit: int) -> SearchQuery:
    if asked.text:
        return SearchQuery(words=asked.text, by="meaning" if asked.modality == "image" else "captions", limit=limit)
    if asked.modality == "text":
        raise ConfigError("modality: captions are found by their words alone; send a text, or modality 'image'")
    if asked.image is not None:
        return SearchQuery(picture=_picture(asked.image), limit=limit)
    if asked.image_url is not None:
        raise ConfigError("image_url: nothing is fetched here; send the picture itself as image, in base64")
    if asked.embedding_input is not None:
        return SearchQuery(descriptor=np.array(asked.embedding_input, np.float32), limit=limit)
    raise ConfigError("say what to look for: text, image or embedding_input")


def _picture(text: str) -> Any:
    try:
        data = base64.b64decode(text.rpartition("base64,")[2], validate=True)
    except (ValueError, binascii.Error) as exc:
        raise InputError(f"image is no base64: {exc}") from exc
    return decode(data, where="image", max_pixels=MAX_PIXELS).rgb


def _parsed(model: type[_Model], request: Mapping[str, Any]) -> _Model:
    try:
        return model.model_validate(request)
    except ValidationError as exc:
        first = exc.errors()[0]
        raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from exc


def _named(name: str | None, searchers: Mapping[str, Searcher]) -> Searcher:
    if name is None and searchers:
        return next(iter(searchers.values()))
    if name is None or name not in searchers:
        raise ConfigError(f"indice_name: there is no index {name!r}; known: {', '.join(searchers)}")
    return searchers[name]


def _near(hit: SearchHit) -> float | None:
    return hit.meaning if hit.similarity is None else hit.similarity


def _known(searcher: Searcher, record: Record) -> dict[str, Any]:
    """The columns that clients know, and the thumbnail as base64."""
    place = "url" if record.uri.startswith(("http://", "https://")) else "image_path"
    known = {place: record.uri, "caption": record.caption, "sha256": record.sha256}
    thumbnail = searcher.index.thumbnail(record.id)
    return known if thumbnail is None else {**known, "image": base64.b64encode(thumbnail).decode("ascii")}


def _different(searcher: Searcher, hits: Sequence[SearchHit]) -> tuple[SearchHit, ...]:
    """The best of each group of hits that hang together by pairs from SAME on."""
    if not hits:
        return ()
    rows = searcher.index.descriptors([hit.record.id for hit in hits])
    same = rows @ rows.T >= SAME
    left, kept = set(range(len(hits))), []
    while left:
        best = min(left)
        kept.append(best)
        waiting = [best]
        while waiting:
            near = {int(i) for i in np.flatnonzero(same[waiting.pop()])} & left
            left -= near
            waiting += near
        left.discard(best)  # a row may be too far from itself only where it is no unit vector
    return tuple(hits[i] for i in kept)
