"""A training set held against a do-not-train list, item by item. Knows sources, decoding and embedding; no list's file.

What a list does not ask for is not computed: URLs and domains alone need no picture.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.decode import ImageFileError, decode, read_file
from guard.embedders.pdq import MIN_QUALITY
from guard.embedders.views import is_plain
from guard.errors import CheckError, ConfigError
from guard.identical import hash_images
from guard.optout.listed import DoNotTrain, Meeting
from guard.optout.naming import is_url
from guard.pixels import ImageBatch, RGBArray
from guard.sources.base import Item, Skip, Source
from guard.tablefile import Kind, write_lines, write_rows

if TYPE_CHECKING:
    from guard.embedders.base import Embedder

__all__ = ["CheckReport", "ListedItem", "check_items", "write_items"]

COLUMNS: Mapping[str, Kind] = MappingProxyType(
    {
        "uri": "text",
        "url": "text",
        "sha256": "text",
        "by": "texts",
        "entry": "text",
        "collection": "text",
        "pdq_bits": "whole",
        "similarity": "number",
    }
)
GROUP = 16  # items that one thread takes at a time, and that an embedder sees in one batch


@dataclass(frozen=True, slots=True)
class ListedItem:
    """An item of the training set that is on the list."""

    uri: str
    url: str
    sha256: str
    """"" where nobody asked for it."""
    meetings: tuple[Meeting, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one row: the first mark that was met in columns, all of them in `by`."""
        first = self.meetings[0]
        return {
            "uri": self.uri,
            "url": self.url,
            "sha256": self.sha256,
            "by": [meeting.by for meeting in self.meetings],
            "entry": first.entry.place,
            "collection": first.entry.collection,
            "pdq_bits": next((m.bits for m in self.meetings if m.bits is not None), None),
            "similarity": next((round(m.similarity, 6) for m in self.meetings if m.similarity is not None), None),
        }


@dataclass(slots=True)
class CheckReport:
    items: int = 0
    """Looked at, those that could not be read included."""
    listed: list[ListedItem] = field(default_factory=list)
    by: Counter[str] = field(default_factory=Counter)
    """How many items met the list by each mark; one item may by several."""
    skipped: list[Skip] = field(default_factory=list)
    unseen: int = 0
    """Items without the picture that the list asks for: only addresses and known SHA-256 were compared."""


@dataclass(slots=True, eq=False)
class _Known:
    item: Item
    meetings: list[Meeting]
    sha256: str = ""
    rgb: RGBArray | None = None


def check_items(
    source: Source,
    listed: DoNotTrain,
    *,
    embedder: Embedder | None = None,
    similarity: float | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> CheckReport:
    """Hold every item of a source against a list.

    embedder: the one whose descriptors the list holds, for copies that neither bytes nor hash tell. similarity: cosine
    from which a descriptor counts, inclusive; None: the embedder's advice for a block. A picture that cannot be read is
    listed in the report; its URL counts all the same. Raises ConfigError if descriptors are to be compared and there is
    no such advice.
    """
    at_least = _bar(embedder, similarity) if embedder is not None and listed.wants_descriptors else None
    total, report = source.survey().total, CheckReport()
    for group in _read(source.items(), listed, at_least is not None, workers or os.cpu_count() or 1):
        if embedder is not None and at_least is not None:
            _describe(group, embedder, listed, at_least)
        for known in group:
            report.items += 1
            if isinstance(known, Skip):
                report.skipped.append(known)
                continue
            report.unseen += listed.wants_pictures and known.item.data is None and known.item.path is None
            if known.meetings:
                report.by.update(meeting.by for meeting in known.meetings)
                url = _url(known.item)
                report.listed.append(ListedItem(known.item.uri, url, known.sha256, tuple(known.meetings)))
        if on_progress:
            on_progress(report.items, total)
    return report


def write_items(items: Sequence[ListedItem], path: Path) -> None:
    """Write one item a row as guard.tablefile does; a .txt holds their uris alone. Raises ConfigError."""
    if path.suffix.lower() == ".txt":
        write_lines([item.uri for item in items], path)
    else:
        write_rows([item.to_dict() for item in items], path, COLUMNS)


def _bar(embedder: Embedder, similarity: float | None) -> float:
    if similarity is not None:
        return similarity
    if embedder.spec.thresholds is None:
        raise ConfigError(
            f"{embedder.spec.name} comes with no thresholds; say from which similarity a descriptor counts"
        )
    return embedder.spec.thresholds.block


Group = list[_Known | Skip]


def _read(items: Iterable[Item | Skip], listed: DoNotTrain, pixels: bool, workers: int) -> Iterator[Group]:
    """Groups in the source's order, with what needs no embedder; few are in flight."""
    source = iter(items)
    with ThreadPoolExecutor(workers, "memguard-optout") as pool:
        pending: deque[Future[Group]] = deque()
        try:
            while True:
                group = list(islice(source, GROUP))
                if group:
                    pending.append(pool.submit(_look, group, listed, pixels))
                if not pending:
                    return
                if not group or len(pending) > 2 * workers:
                    yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _look(group: list[Item | Skip], listed: DoNotTrain, pixels: bool) -> Group:
    out: Group = []
    for item in group:
        if isinstance(item, Skip):
            out.append(item)
            continue
        known = _Known(item, [m for m in [listed.by_place(_url(item))] if m], item.sha256)
        out.append(known)
        try:
            _look_inside(known, listed, pixels)
        except ImageFileError as exc:
            if not known.meetings:
                out[-1] = Skip(item.uri, exc.reason, str(exc))
    return out


def _look_inside(known: _Known, listed: DoNotTrain, pixels: bool) -> None:
    item = known.item
    wants_pixels = pixels or listed.wants_hashes or listed.wants_plain_hashes
    if not (listed.wants_bytes or wants_pixels):
        return
    data = read_file(item.path, where=item.uri) if item.path is not None else item.data
    if data is not None:
        known.sha256 = hashlib.sha256(data).hexdigest()
        if wants_pixels:
            known.rgb = decode(data, where=item.uri).rgb
    if meeting := listed.by_bytes(known.sha256):
        known.meetings.append(meeting)
    if known.rgb is None:
        return
    if listed.wants_hashes:
        hashed = hash_images(ImageBatch(arrays=(known.rgb,)))
        if hashed.usable[0] and (meeting := listed.by_hash(hashed.vectors[0])):
            known.meetings.append(meeting)
    if listed.wants_plain_hashes:
        views = _plain_hashes(known.rgb)
        if views is not None and (meeting := listed.by_hash(views, plain=True)):
            known.meetings.append(meeting)
    if not pixels:
        known.rgb = None


def _plain_hashes(rgb: RGBArray) -> npt.NDArray[np.float32] | None:
    """(8, 256) of +-1 by PDQ's own program; None where its quality is too low."""
    import pdqhash

    bits, quality = pdqhash.compute_dihedral(np.ascontiguousarray(rgb))
    return np.where(np.array(bits, np.bool_), 1, -1).astype(np.float32) if quality >= MIN_QUALITY else None


def _describe(group: Group, embedder: Embedder, listed: DoNotTrain, at_least: float) -> None:
    """An item that the embedder cannot take keeps what its other marks said."""
    waiting = [known for known in group if isinstance(known, _Known) and known.rgb is not None]
    rows = _embedded(waiting, embedder)
    for known, row in zip(waiting, rows, strict=True):
        known.rgb = None
        if row is not None and (meeting := listed.by_descriptor(row, at_least)):
            known.meetings.append(meeting)
    for one in group:
        vector = one.item.vector if isinstance(one, _Known) else None
        if isinstance(one, _Known) and vector is not None and (meeting := listed.by_descriptor(vector, at_least)):
            one.meetings.append(meeting)


def _embedded(waiting: list[_Known], embedder: Embedder) -> list[npt.NDArray[np.float32] | None]:
    batch = ImageBatch(arrays=tuple(known.rgb for known in waiting if known.rgb is not None))
    if not len(batch):
        return []
    try:
        rows: Any = embedder.embed(batch)
        found = rows if isinstance(rows, np.ndarray) else rows.detach().float().cpu().numpy()
        return [None if plain else row for row, plain in zip(found, is_plain(batch), strict=True)]
    except CheckError:
        if len(batch) == 1:
            return [None]
    return [row for known in waiting for row in _embedded([known], embedder)]


def _url(item: Item) -> str:
    return item.url or (item.uri if is_url(item.uri) else "")
