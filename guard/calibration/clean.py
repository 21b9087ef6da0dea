"""Clean pictures, looked up as a check does it. Knows sources, the embedder and the index; no threshold."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from guard.calibration.pixels import compare_clean, copies_of
from guard.calibration.scored import NEIGHBOURS, Scored, joined
from guard.decode import ImageFileError, decode, read_file
from guard.embedders.base import Embedder
from guard.embedders.views import ViewKind, embed_views
from guard.errors import CheckError, ConfigError
from guard.identical import hash_batch, join
from guard.indexes.best import best_of_each
from guard.indexes.preparation import GROUP, Limits
from guard.indexes.rivals import beside_rivals
from guard.indexes.store import OpenIndex
from guard.pixels import ImageBatch, RGBArray
from guard.sources.base import Item, Skip, Source
from guard.sources.opening import open_source
from guard.verification.examiner import Examiner

__all__ = ["score_clean"]


def score_clean(
    index: OpenIndex,
    source: Source | str | Path,
    embedder: Embedder,
    *,
    query_views: ViewKind = "one",
    hashes: bool = True,
    examiner: Examiner | None = None,
    candidates: int = 0,
    workers: int | None = None,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> Scored:
    """Look up pictures that are known to be no copies: generations that somebody looked at, or pictures made elsewhere.

    source: a Source, or what guard.sources.opening.open_source understands; a host that generates pictures gives a
    Source of its own. hashes: whether PDQ's verdict counts, where the index holds hashes. examiner: compares the
    pixels of so many nearest candidates; None compares none.
    A picture whose bytes are those of a reference is left out and counted; one that cannot be read is listed.
    Raises ConfigError for a source without pixels, IndexLoadError if the embedder is not the index's.
    """
    index.manifest.require(embedder.spec)
    reader: Source = open_source(source, spec=embedder.spec) if isinstance(source, str | Path) else source
    survey = reader.survey()
    if not survey.pixels:
        raise ConfigError(f"{survey.description} holds finished descriptors; clean pictures are needed as pictures")
    parts: list[Scored] = []
    done, threads = 0, workers or os.cpu_count() or 1
    looking = _Looking(index, embedder, query_views, hashes, examiner, candidates, threads)
    on_progress(0, survey.total)
    for group in _read(reader, threads):
        parts.append(_score(looking, group))
        done += len(group)
        on_progress(done, survey.total)
    return joined(parts)


class _Picture(NamedTuple):
    uri: str
    sha256: str
    rgb: RGBArray


@dataclass(frozen=True, slots=True, eq=False)
class _Looking:
    """How pictures are looked up."""

    index: OpenIndex
    embedder: Embedder
    views: ViewKind
    hashes: bool
    examiner: Examiner | None
    candidates: int
    threads: int


def _score(looking: _Looking, group: Sequence[_Picture | Skip]) -> Scored:
    skips = tuple(one for one in group if isinstance(one, Skip))
    pictures = [one for one in group if not isinstance(one, Skip)]
    clean = [one for one in pictures if not looking.index.reader.ids_where(sha256s=[one.sha256])]
    left_out = {"reference": len(pictures) - len(clean)} if len(clean) < len(pictures) else {}
    none = Scored(np.empty((0, NEIGHBOURS), np.float32), np.empty(0, np.bool_), (), left_out, skips)
    try:
        return joined([none, _look_up(looking, clean)]) if clean else none
    except CheckError as exc:
        if len(clean) > 1:  # one picture that the embedder cannot take costs no other
            return joined([none, *(_score(looking, [one]) for one in clean)])
        return joined([none, _skipped(clean[0].uri, "embed_failed", str(exc))])


def _look_up(looking: _Looking, pictures: Sequence[_Picture]) -> Scored:
    index = looking.index
    batch = ImageBatch(arrays=tuple(picture.rgb for picture in pictures))
    query = embed_views(looking.embedder, batch, looking.views)
    n, views = query.vectors.shape[:2]
    k = max(NEIGHBOURS, looking.candidates)
    found = beside_rivals(index, query.vectors.reshape(n * views, -1), k)
    ids, similarity = found.ids, query.counted(found.similarity)
    if views > 1:
        ids, similarity = best_of_each(ids.reshape(n, -1), similarity.reshape(n, -1), k)
    hashed = hash_batch(index, batch, None) if looking.hashes else None
    candidates = join(hashed, query, ids[:, :1], similarity[:, :1], 1)
    identical = [any(candidate.bits is not None for candidate in of_picture) for of_picture in candidates]
    usable = np.where(query.usable[:, None], similarity, np.float32(-np.inf)).astype(np.float32)
    uris = tuple(picture.uri for picture in pictures)
    scored = Scored(usable[:, :NEIGHBOURS], np.array(identical, np.bool_), uris)
    if looking.examiner is None:
        return scored
    held = np.where(query.usable[:, None], ids, -1)[:, : looking.candidates]  # nothing of an unusable one can count
    pixels = [picture.rgb for picture in pictures]
    compared = compare_clean(
        looking.examiner, pixels, held, usable[:, : looking.candidates], workers=looking.threads
    )  # fmt: skip
    return replace(scored, compared=compared, pairs=copies_of(index, uris, compared))


def _skipped(uri: str, reason: str, detail: str) -> Scored:
    skip = Skip(uri, reason, detail)
    return Scored(np.empty((0, NEIGHBOURS), np.float32), np.empty(0, np.bool_), skips=(skip,))


def _read(source: Source, workers: int) -> Iterator[list[_Picture | Skip]]:
    """Decode in threads, a few groups ahead, in the source's order."""
    with ThreadPoolExecutor(workers, "memguard-decode") as pool:
        waiting: deque[Future[list[_Picture | Skip]]] = deque()
        items = source.items()
        try:
            while True:
                group = list(islice(items, GROUP))
                if group:
                    waiting.append(pool.submit(_decode, group))
                if not waiting:
                    return
                if not group or len(waiting) > workers:
                    yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _decode(items: Sequence[Item | Skip]) -> list[_Picture | Skip]:
    limits = Limits()
    read: list[_Picture | Skip] = []
    for item in items:
        if isinstance(item, Skip):
            read.append(item)
            continue
        try:
            data = item.data
            if data is None:
                assert item.path is not None
                data = read_file(item.path, where=item.uri, max_bytes=limits.max_bytes)
            picture = decode(data, where=item.uri, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)
            read.append(_Picture(item.uri, hashlib.sha256(data).hexdigest(), picture.rgb))
        except ImageFileError as exc:
            read.append(Skip(item.uri, exc.reason, str(exc)))
    return read
