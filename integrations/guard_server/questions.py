"""What a client asks of a server beside checks: the request of each question, and how its answer is read.

Knows paths and JSON; opens no connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from guard.errors import RemoteError
from guard.pixels import to_batch
from guard.search.query import SearchHit, SearchPage
from guard.types import Record
from guard_server.exchange import Encoding, Outgoing, ServerInfo, encode, form

__all__ = ["Question", "events", "info", "reload", "review", "search"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Question(Generic[T]):
    request: Outgoing
    read: Callable[[Any], T]
    """The answer's JSON -> what the caller gets. Raises RemoteError for something else."""


def info() -> Question[ServerInfo]:
    return Question(Outgoing("GET", "/version"), ServerInfo.of)


def search(picture: Any, encoding: Encoding, **fields: Any) -> Question[SearchPage]:
    """picture: one, in any form that a check takes, or None. fields: of guard_server.routes.search.SearchFields.

    Raises InputError for a picture that cannot be read.
    """
    files = [encode(to_batch([picture]).as_arrays()[0], encoding)] if picture is not None else []
    texts = {name: str(value) for name, value in fields.items() if value not in (None, "")}
    return Question(form("/v1/search", {"picture": files}, texts), _page)


def events(**filters: Any) -> Question[list[dict[str, Any]]]:
    """filters: those of GET /v1/events; None is left out."""
    asked = {name: value for name, value in filters.items() if value is not None}
    return Question(Outgoing("GET", f"/v1/events?{urlencode(asked, doseq=True)}"), _events)


def review(identifier: str, outcome: str, note: str, matches: Sequence[int]) -> Question[str | None]:
    """Raises ValueError for an identifier that is none."""
    if not identifier.isalnum():
        raise ValueError(f"{identifier!r} identifies no event")
    body = json.dumps({"outcome": outcome, "note": note, "matches": list(matches)}).encode()
    request = Outgoing("POST", f"/v1/events/{identifier}/review", body, {"Content-Type": "application/json"})
    return Question(request, lambda answer: answer["outcome"] if isinstance(answer, dict) else None)


def reload(force: bool) -> Question[str]:
    return Question(Outgoing("POST", f"/v1/admin/reload?force={str(force).lower()}"), _version)


def _version(answer: Any) -> str:
    return str(answer["index_version"])


def _events(answer: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer["events"]
    return found


def _page(answer: Any) -> SearchPage:
    try:
        hits = tuple(
            SearchHit(
                Record(
                    id=hit["id"],
                    uri=hit["uri"],
                    sha256=hit["sha256"],
                    caption=hit["caption"],
                    collections=tuple(hit["collections"]),
                    cluster_size=hit["cluster_size"],
                ),
                hit["similarity"],
                hit["pdq_bits"],
                hit["meaning"],
            )
            for hit in answer["hits"]
        )
        names = ("offset", "limit", "more", "index_version", "total")
        return SearchPage(hits, **{name: answer[name] for name in names}, note=answer["note"] or "")
    except (KeyError, TypeError) as exc:
        raise RemoteError(f"this is no page of a search: {type(exc).__name__}: {exc}") from exc
