"""Items of a source -> rows of an index, on several threads, in the source's order. Knows decoding and embedding.

Pillow and PDQ release the GIL, so that plain threads fill the cores. At most a few small
groups of items are in flight: memory does not grow with the source.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.decode import MAX_BYTES, MAX_PIXELS, ImageFileError, decode, read_file
from guard.embedders.base import Embedder
from guard.embedders.pdq import packed_hash
from guard.embedders.views import ViewKind, embed_views
from guard.errors import CheckError
from guard.pixels import ImageBatch, RGBArray
from guard.sources.base import Item, Skip
from guard.types import Record

__all__ = ["GROUP", "LeftOut", "Limits", "Row", "Rows", "prepare", "thumbnail_of"]

GROUP = 16  # items that one worker takes at a time, and that an embedder sees in one batch


@dataclass(frozen=True, slots=True)
class Limits:
    """What is read of one picture, and what is kept of it."""

    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    thumbnail_px: int = 0
    """Longer side of the stored thumbnail; 0 for none."""
    hashes: bool = False
    """Whether a PDQ hash is kept."""
    keypoints: bool = False
    """Whether what guard.verification.stored makes of the thumbnail is kept too."""
    views: ViewKind = "one"
    """What is embedded of it: one of guard.embedders.views.REGION_KINDS."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    item: Item
    record: Record
    """Its id and collections are given when it is stored."""
    thumbnail: bytes | None = None
    vector: npt.NDArray[np.float32] | None = None
    """(dim,), or (regions, dim), the picture itself first; set once it is embedded."""
    rgb: RGBArray | None = None
    """Until it is embedded."""
    hash: bytes | None = None
    """32 bytes; None if none was asked for, or the picture has no usable one."""
    keypoints: bytes | None = None


@dataclass(slots=True, eq=False)
class Rows:
    """What became of some consecutive items."""

    items: int = 0
    rows: list[Row] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def vectors(self, dim: int) -> npt.NDArray[np.float32]:
        """(n * regions, dim)."""
        return np.array([row.vector for row in self.rows], np.float32).reshape(-1, dim)

    def records(self, first: int, collections: Sequence[str]) -> list[Record]:
        return [
            replace(r.record, id=first + i, collections=r.item.collections or tuple(collections))
            for i, r in enumerate(self.rows)
        ]

    def extend(self, other: Rows) -> None:
        self.items += other.items
        self.rows += other.rows
        self.skipped += other.skipped
        self.notes += other.notes


LeftOut = Callable[[Item, str], Skip | None]
"""Called with an item and the SHA-256 of its bytes, "" for a vector without, by several threads: why it is not wanted,
or None if it is."""


def prepare(
    items: Iterable[Item | Skip], embedder: Embedder, limits: Limits, *, workers: int, left_out: LeftOut | None = None
) -> Iterator[Rows]:
    """Yield the outcome of each group of items, in their order. What is left out is neither decoded nor embedded.

    An embedder without weights (PDQ) is plain code that runs on one core, so the workers call it, a
    picture at a time; one with weights has threads or a device of its own and is called here, a group at a time.
    Raises CheckError(stage="embed") if the embedder fails for every picture of a group.
    """
    in_workers = not embedder.spec.weights_sha256
    with ThreadPoolExecutor(workers, "memguard-decode") as pool:
        pending: deque[Future[Rows]] = deque()
        source = iter(items)
        try:
            while True:
                group = list(islice(source, GROUP))
                if group:
                    pending.append(pool.submit(_read_group, group, embedder if in_workers else None, limits, left_out))
                if not pending:
                    return
                if not group or len(pending) > 2 * workers:
                    rows = pending.popleft().result()
                    yield rows if in_workers else _embed(rows, embedder, limits.views)
        finally:
            for future in pending:
                future.cancel()


def _read_group(
    group: Sequence[Item | Skip], embedder: Embedder | None, limits: Limits, left_out: LeftOut | None
) -> Rows:
    rows = Rows(items=len(group))
    for item in group:
        if isinstance(item, Skip):
            rows.skipped.append(item)
            continue
        try:
            read = _read(item, limits, rows.notes, left_out)
        except ImageFileError as exc:
            rows.skipped.append(Skip(item.uri, exc.reason, str(exc)))
            continue
        if isinstance(read, Skip):
            rows.skipped.append(read)
        elif embedder is None:
            rows.rows.append(read)
        else:
            one = _embed_singly([read], embedder, limits.views)  # now, so that the pixels are dropped at once
            rows.rows += one.rows
            rows.skipped += one.skipped
    if embedder is not None and not rows.rows and len(rows.skipped) > 1:
        _refuse_if_broken(rows.skipped)
    return rows


def _read(item: Item, limits: Limits, notes: Counter[str], left_out: LeftOut | None) -> Row | Skip:
    if item.vector is not None:
        unwanted = left_out(item, item.sha256) if left_out else None
        if unwanted is not None:
            return unwanted
        return Row(item, Record(-1, item.uri, item.sha256, item.caption), vector=item.vector)
    data, modified = item.data, item.modified
    if data is None:
        assert item.path is not None
        data = read_file(item.path, where=item.uri, max_bytes=limits.max_bytes)
        modified = _modified(item.path)
    sha256 = hashlib.sha256(data).hexdigest()
    unwanted = left_out(item, sha256) if left_out else None
    if unwanted is not None:
        return unwanted
    picture = decode(data, where=item.uri, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)
    notes.update(picture.notes)
    thumbnail = thumbnail_of(picture.rgb, limits.thumbnail_px) if limits.thumbnail_px else None
    kept = Item(item.uri, data=b"", caption=item.caption, collections=item.collections)  # not the encoded bytes
    pdq = _hash(picture.rgb) if limits.hashes else None
    height, width = picture.rgb.shape[:2]
    record = Record(
        -1,
        item.uri,
        sha256,
        item.caption,
        width=width,
        height=height,
        file_bytes=len(data),
        modified=modified,
        pixels_sha256=_of_pixels(picture.rgb),
    )
    keypoints = _keypoints(thumbnail) if limits.keypoints and thumbnail else None
    return Row(kept, record, thumbnail, rgb=picture.rgb, hash=pdq, keypoints=keypoints)


def _of_pixels(rgb: RGBArray) -> str:
    """The same for two files that show the same pixels, however they are encoded."""
    digest = hashlib.sha256(repr(rgb.shape).encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def _modified(path: Path) -> int:
    """0 if it went away meanwhile, or lies before 1970."""
    try:
        return max(0, int(path.stat().st_mtime))
    except OSError:
        return 0


def _hash(rgb: RGBArray) -> bytes | None:
    """None also if PDQ fails: the descriptor finds the picture without it."""
    try:
        return packed_hash(rgb)
    except CheckError:
        return None


def _keypoints(thumbnail: bytes) -> bytes | None:
    """None if OpenCV fails on this one: a check then prepares the thumbnail itself."""
    from guard.verification.opencv import opencv
    from guard.verification.stored import pack_thumbnail

    try:
        return pack_thumbnail(thumbnail)
    except opencv().error:
        return None


def _embed(rows: Rows, embedder: Embedder, views: ViewKind) -> Rows:
    """Embed a group; a picture that the embedder cannot take is skipped, the others are not."""
    waiting = [row for row in rows.rows if row.rgb is not None]
    if waiting:
        done = Rows(rows.items, skipped=rows.skipped, notes=rows.notes)
        try:
            done.rows = [_embedded(row, v) for row, v in zip(waiting, _run(embedder, waiting, views), strict=True)]
        except CheckError:
            if len(waiting) == 1:
                raise
            done.extend(_embed_singly(waiting, embedder, views))
            if not done.rows:
                raise
        return done
    return rows


def _embed_singly(waiting: Sequence[Row], embedder: Embedder, views: ViewKind) -> Rows:
    done = Rows()
    for row in waiting:
        if row.rgb is None:  # it came with its vector
            done.rows.append(row)
            continue
        try:
            done.rows.append(_embedded(row, _run(embedder, [row], views)[0]))
        except CheckError as exc:
            done.skipped.append(Skip(row.item.uri, "embed_failed", str(exc)))
    return done


def _embedded(row: Row, vector: npt.NDArray[np.float32]) -> Row:
    return replace(row, vector=vector, rgb=None)


def _run(embedder: Embedder, rows: Sequence[Row], views: ViewKind) -> npt.NDArray[np.float32]:
    """(n, dim), or (n, regions, dim)."""
    batch = ImageBatch(arrays=tuple(row.rgb for row in rows if row.rgb is not None))
    vectors: Any = embed_views(embedder, batch, views, own=False).vectors
    if hasattr(vectors, "detach"):
        vectors = vectors.detach().cpu().numpy()
    return np.asarray(vectors, np.float32)


def _refuse_if_broken(skipped: Sequence[Skip]) -> None:
    if all(skip.reason == "embed_failed" for skip in skipped):
        raise CheckError(skipped[0].detail, stage="embed", reason="embed_failed")


def thumbnail_of(rgb: RGBArray, side: int) -> bytes:
    """JPEG of the picture, its longer side at most `side` px."""
    from PIL import Image

    image = Image.fromarray(rgb)
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=1.0)  # averages by whole factors first
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
