"""Hits into a file for other tools. Knows columns; searches a page at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from guard.search.query import MAX_LIMIT, SearchHit, SearchQuery
from guard.search.searcher import Searcher
from guard.tablefile import Kind, write_rows

__all__ = ["COLUMNS", "all_hits", "write_hits"]

COLUMNS: Mapping[str, Kind] = MappingProxyType(
    {
        "id": "whole",
        "uri": "text",
        "sha256": "text",
        "caption": "text",
        "collections": "texts",
        "cluster_size": "whole",
        "similarity": "number",
        "pdq_bits": "whole",
        "meaning": "number",
    }
)


def all_hits(searcher: Searcher, query: SearchQuery, most: int) -> Iterator[SearchHit]:
    """The first `most` hits from query.offset on, in order, a page at a time."""
    offset, end = query.offset, query.offset + most
    while offset < end:
        page = searcher.search(replace(query, offset=offset, limit=min(MAX_LIMIT, end - offset)))
        yield from page.hits
        offset += len(page.hits)
        if not page.more:
            return


def write_hits(hits: Iterable[SearchHit], path: Path) -> int:
    """Write them as guard.tablefile does, all or nothing; returns how many. Raises ConfigError, MissingExtraError."""
    rows = [hit.to_dict() for hit in hits]
    write_rows(rows, path, COLUMNS)
    return len(rows)
