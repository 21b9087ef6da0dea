"""Another source without what names people: pseudonyms for uris, and no captions. Knows names; no pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from guard.sources.base import Item, Skip, Source, Survey, count_items
from guard.wholefile import whole_file

__all__ = ["PrivateSource"]


class PrivateSource:
    """name: a uri -> what stands for it; the same in every run."""

    def __init__(self, source: Source, name: Callable[[str], str]) -> None:
        self._source, self._name = source, name

    def survey(self) -> Survey:
        return replace(self._source.survey(), description="a private set", folders=())

    def count(self, limit: int) -> int | None:
        """See SupportsCount."""
        return count_items(self._source, limit)

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        for item in self._source.items(start):
            name = self._name(item.uri)
            if isinstance(item, Skip):
                yield Skip(name, item.reason, f"{name}: {item.reason}")  # its detail would name the file
            else:
                yield replace(item, uri=name, caption="", url="")

    def write_names(self, path: Path) -> int:
        """Write which uri each name stands for, as CSV, all or nothing; returns how many. Raises ConfigError."""
        import csv

        count = 0
        with whole_file(path) as new, new.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(("name", "uri"))
            for item in self._source.items():
                writer.writerow((self._name(item.uri), item.uri))
                count += 1
        return count
