"""Which references a search may return, and which captions hold its words. Knows fields of records and SQLite's
conditions; opens no file.

Nothing that a person types can be an error of syntax: words are quoted before FTS5 reads them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from guard.errors import ConfigError
from guard.types import Record

__all__ = ["MOST_WORDS", "Amended", "RecordFilter", "caption_match", "storable"]

MOST_WORDS = 64  # of one search; further ones are not looked at
_PIECES = re.compile(r'"([^"]*)"?|(\S+)')


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """What a reference must be, besides near; the empty filter accepts all.

    Raises ConfigError for cluster sizes that no reference can have.
    """

    collections: tuple[str, ...] = ()
    """In any of these; empty: in any collection, or none."""
    min_cluster: int = 1
    """Near-duplicates in the reference set, itself included: at least so many."""
    max_cluster: int | None = None
    """At most so many, inclusive."""
    source: str = ""
    """Part of its uri, as it is written there: a folder, a shard, a domain."""

    def __post_init__(self) -> None:
        if self.min_cluster < 1 or (self.max_cluster is not None and self.max_cluster < self.min_cluster):
            raise ConfigError(
                f"cluster sizes from {self.min_cluster} to {self.max_cluster}: no reference has one; sizes begin at 1"
            )

    def __bool__(self) -> bool:
        """False: it accepts every reference."""
        return self != RecordFilter()

    def accepts(self, record: Record) -> bool:
        return (
            (not self.collections or not set(self.collections).isdisjoint(record.collections))
            and record.cluster_size >= self.min_cluster
            and (self.max_cluster is None or record.cluster_size <= self.max_cluster)
            and storable(self.source) in record.uri
        )

    def condition(self) -> tuple[str, list[Any]]:
        """The same as an SQL condition over the table `records`, with its parameters."""
        parts = ["1"]
        parameters: list[Any] = []
        if self.collections:
            marks = ",".join("?" * len(self.collections))
            parts.append(f"EXISTS (SELECT 1 FROM json_each(records.collections) WHERE value IN ({marks}))")  # noqa: S608
            parameters += [storable(name) for name in self.collections]
        if self.min_cluster > 1:
            parts.append("records.cluster_size >= ?")
            parameters.append(self.min_cluster)
        if self.max_cluster is not None:
            parts.append("records.cluster_size <= ?")
            parameters.append(self.max_cluster)
        if self.source:
            parts.append("instr(records.uri, ?) > 0")
            parameters.append(storable(self.source))
        return " AND ".join(parts), parameters


@dataclass(frozen=True, slots=True)
class Amended:
    """A filter whose answer is known for some references, whatever their rows say."""

    where: RecordFilter
    admitted: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """False: it accepts every reference."""
        return bool(self.where or self.refused)

    def condition(self) -> tuple[str, list[Any]]:
        """See RecordFilter.condition."""
        sql, parameters = self.where.condition()
        listed = "SELECT value FROM json_each(?)"
        sql = f"(({sql}) AND records.id NOT IN ({listed}) OR records.id IN ({listed}))"
        return sql, [*parameters, json.dumps(self.refused), json.dumps(self.admitted)]


def caption_match(words: str) -> str:
    """What a person typed -> an FTS5 query that every caption with all of it matches; "" if there is no word in it.

    "two words" in quotes stand side by side, and `photo*` begins a word. Everything else is taken as words, FTS5's own
    operators included.
    """
    terms = []
    for quoted, word in _PIECES.findall(storable(words)):
        text, prefix = quoted or word, ""
        if word.endswith("*"):
            text, prefix = word.rstrip("*"), "*"
        if any(character.isalnum() for character in text):  # FTS5 drops the rest; alone it would match nothing
            terms.append('"' + text.replace('"', '""') + '"' + prefix)
    return " ".join(terms[:MOST_WORDS])


def storable(text: str) -> str:
    """Text as SQLite keeps it: what is no valid Unicode with its bytes escaped, and no zero character."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", " ")
