"""How alike the pictures of a set are: each looked up among the others, with its pixels and lightly edited copies.

Knows an open index and its embedder; sets no threshold. Pictures with equal bytes, or PDQ hashes within 31 bits, are
one picture and no strangers; the descriptor's own similarity says nothing of that here, since it is what is measured.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from guard.decode import ImageFileError, decode
from guard.embedders.base import Embedder, QueryDescriptors
from guard.embedders.views import ViewKind, embed_views, view_count
from guard.errors import IndexLoadError, MissingExtraError
from guard.indexes.hashes import IDENTICAL_BITS, map_hashes
from guard.indexes.store import OpenIndex
from guard.indexes.transformed_rows import original_rows
from guard.pixels import ImageBatch, RGBArray
from guard.small.record import LOWEST_FLAG

__all__ = ["MOST", "Alike", "measure"]

MOST = 1000  # references that are looked up among all
NEIGHBOURS = 3  # of each reference, whose pixels are compared
EDITED = 100  # references of which copies are made
KEPT = 256  # prepared pictures in memory, some 0.3 MB each
_BATCH = 32
_ROWS = 1024  # references whose vectors are in memory at once, those of their crops too


@dataclass(slots=True)
class Alike:
    strangers: float | None = None
    """Highest similarity of two that are not known to be one picture; None if there are no two."""
    own: float = 1.0
    """Median similarity of a reference to itself."""
    edited: int = 0
    told: int = 0
    compared: int = 0
    pairs: list[tuple[int, int]] = field(default_factory=list)
    """Different references that the pixels call copies of one another."""


def measure(
    index: OpenIndex,
    embedder: Embedder,
    *,
    views: ViewKind = "one",
    seed: int = 0,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> Alike:
    """Look each reference up among the others; of more than MOST, so many drawn by seed. Deterministic.

    views: how checks will look pictures up. Windows of a reference are those of its thumbnail.
    """
    found, count = Alike(), len(index)
    if count == 0:
        return found
    asked = np.sort(np.random.default_rng(seed).permutation(count)[:MOST])
    pictures = _Thumbnails(index)
    similarity = _with_all(index, _as_queries(index, asked, embedder, views, pictures))
    one = _one_picture(index, asked)
    found.own = float(np.median(similarity[np.arange(len(asked)), asked]))
    strangers = np.where(one, -np.inf, similarity)
    _compare(asked, strangers, pictures, found, on_progress)
    for i, j in found.pairs:  # they are reported, and no measure of how alike strangers are
        for a, b in ((i, j), (j, i)):
            strangers[np.flatnonzero(asked == a), b] = -np.inf
    if np.isfinite(strangers).any():
        found.strangers = float(strangers.max())
    edited = asked[:EDITED] if len(asked) <= EDITED else asked[:: len(asked) // EDITED]
    _edit(index, embedder, views, edited, pictures, found)
    return found


def _as_queries(
    index: OpenIndex, ids: npt.NDArray[np.int64], embedder: Embedder, views: ViewKind, pictures: _Thumbnails
) -> QueryDescriptors:
    """References as a check would look them up: descriptors as the embedder made them, and windows of thumbnails."""
    if index.manifest.vectors == "bits":
        whole = index.descriptors(ids.tolist())
    else:
        whole = np.array(original_rows(index.folder, index.manifest)[:: index.manifest.regions][ids])
    usable = np.ones(len(ids), np.bool_)
    if views == "one":
        return QueryDescriptors(whole[:, None], usable)
    vectors, handicap = np.repeat(whole[:, None], view_count(views), axis=1), None
    for start in range(0, len(ids), _BATCH):
        shown = {row: pictures(int(ids[row])) for row in range(start, min(start + _BATCH, len(ids)))}
        there = {row: picture for row, picture in shown.items() if picture is not None}
        if there:
            seen = embed_views(embedder, ImageBatch(arrays=tuple(there.values())), views)
            vectors[list(there), 1:] = np.asarray(seen.vectors)[:, 1:]
            handicap = seen.handicap
    return QueryDescriptors(vectors, usable, handicap)


def _with_all(index: OpenIndex, query: QueryDescriptors) -> npt.NDArray[np.float32]:
    """(n, count) similarities with every reference, as a check finds them: each at the best of views and regions."""
    n, views, dim = query.vectors.shape
    blocks = [list(range(i, min(i + _ROWS, len(index)))) for i in range(0, len(index), _ROWS)]
    out = np.empty((n, len(index)), np.float32)
    for start in range(0, n, _BATCH):
        rows = query.vectors[start : start + _BATCH].reshape(-1, dim)
        for ids in blocks:
            near = query.counted(index.similarity(rows, ids))
            out[start : start + _BATCH, ids] = near.reshape(-1, views, len(ids)).max(axis=1)
    return out


def _one_picture(index: OpenIndex, asked: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """(n, count) True: the same reference, bytes or PDQ hash."""
    names = np.array([record.sha256 for record in index.reader.all()])
    one = np.zeros((len(asked), len(names)), np.bool_)
    one[np.arange(len(asked)), asked] = True
    one |= (names[asked][:, None] == names[None]) & (names[None] != "")
    if index.manifest.hashes is not None:
        hashes = np.ascontiguousarray(map_hashes(index.folder, index.manifest)).view(np.uint64)
        bits = np.bitwise_count(hashes[asked][:, None] ^ hashes[None]).sum(axis=2, dtype=np.int64)
        known = np.asarray(hashes.any(axis=1))
        one |= (bits <= IDENTICAL_BITS) & known[asked][:, None] & known[None]
    return one


class _Thumbnails:
    def __init__(self, index: OpenIndex) -> None:
        self._index = index

    def __call__(self, i: int) -> RGBArray | None:
        """None if there is none, or none that can be read."""
        try:
            data = self._index.thumbnail(i)
            return None if data is None else decode(data, where=f"thumbnail {i}").rgb
        except (ImageFileError, IndexLoadError):
            return None


def _compare(
    asked: npt.NDArray[np.int64],
    strangers: npt.NDArray[np.float32],
    pictures: _Thumbnails,
    found: Alike,
    on_progress: Callable[[int, int | None], None],
) -> None:
    try:
        from guard.verification.verifier import PixelVerifier

        verifier = PixelVerifier()
    except MissingExtraError:
        return
    pairs = sorted({(min(i, j), max(i, j)) for i, j in _nearest(asked, strangers)})
    prepared: dict[int, object] = {}
    for done, pair in enumerate(pairs, 1):
        for i in pair:
            if i not in prepared:
                picture = pictures(i)
                prepared[i] = None if picture is None else verifier.prepare(picture)
                if len(prepared) > KEPT:
                    del prepared[next(old for old in prepared if old not in pair)]
        one, other = (prepared[i] for i in pair)
        if one is not None and other is not None:
            found.compared += 1
            if verifier.verify(one, other).is_copy:  # type: ignore[arg-type]
                found.pairs.append(pair)
        on_progress(done, len(pairs))


def _nearest(asked: npt.NDArray[np.int64], strangers: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    order = np.argsort(-strangers, axis=1, kind="stable")[:, :NEIGHBOURS]
    return [
        (int(asked[row]), int(other))
        for row, others in enumerate(order)
        for other in others
        if np.isfinite(strangers[row, other])
    ]


def _edit(
    index: OpenIndex,
    embedder: Embedder,
    views: ViewKind,
    chosen: npt.NDArray[np.int64],
    pictures: _Thumbnails,
    found: Alike,
) -> None:
    """Look up lightly edited copies of what thumbnails show; a copy of a picture is one of its duplicates too."""
    duplicates: dict[int, list[int]] = {}
    for i, j in found.pairs:
        duplicates.setdefault(i, []).append(j)
        duplicates.setdefault(j, []).append(i)
    copies = [(int(i), copy) for i in chosen if (shown := pictures(int(i))) is not None for copy in _copies(shown)]
    for start in range(0, len(copies), _BATCH):
        some = copies[start : start + _BATCH]
        batch = ImageBatch(arrays=tuple(copy for _, copy in some))
        seen = embed_views(embedder, batch, views)
        similarity = _with_all(index, replace(seen, vectors=np.asarray(seen.vectors)))
        one = _one_picture(index, np.array([i for i, _ in some]))
        for row, (i, _) in enumerate(some):
            one[row, duplicates.get(i, [])] = True
        own = similarity[np.arange(len(some)), [i for i, _ in some]]
        others = np.where(one, -np.inf, similarity).max(axis=1)
        found.edited += len(some)
        bar = -np.inf if found.strangers is None else max(found.strangers, LOWEST_FLAG)
        found.told += int(((own > others) & (own > bar)).sum())


def _copies(picture: RGBArray) -> list[RGBArray]:
    """What nobody would call another picture: compressed, nine tenths of each side, brighter, at half the size."""
    image = Image.fromarray(picture)
    width, height = image.size
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    x, y = round(width * 0.05), round(height * 0.05)
    edited = (
        Image.open(buffer),
        image.crop((x, y, width - x, height - y)),
        ImageEnhance.Brightness(image).enhance(1.25),
        image.resize((max(16, width // 2), max(16, height // 2))),
    )
    return [np.asarray(one.convert("RGB")) for one in edited]
