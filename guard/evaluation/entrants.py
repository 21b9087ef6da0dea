"""What takes part in an evaluation: embedders and the plain baselines, as functions of pictures. Knows no protocol.

An entrant turns references and queries into vectors, each picture into one view or more; the similarity of two
pictures is the largest inner product of their views, windows of a query at a handicap. Baselines: PDQ with one view
and with its eight, pHash, and the distance of small grey thumbnails, and the shipped network untrained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from guard.embedders.base import Embedder, SupportsQuery, Thresholds
from guard.embedders.registry import load_embedder
from guard.embedders.views import (
    REGION_HANDICAP,
    WINDOW_HANDICAP,
    ViewKind,
    embed_views,
    has_windows,
    windows_identity,
)
from guard.evaluation.untrained import untrained
from guard.indexes.usual import advised
from guard.pixels import ImageBatch, RGBArray

__all__ = [
    "LEVELS",
    "OF_INDEX",
    "REGIONS",
    "WINDOWS",
    "Entrant",
    "baselines",
    "best_of_regions",
    "best_of_views",
    "entrants_of",
    "l2_entrant",
    "multi_view_entrants",
    "phash_entrant",
    "similarities_of",
    "with_regions",
]

WINDOWS = "+windows"
"""Ends the name of an embedder that looks at windows of a query."""
REGIONS = "+regions"
"""Ends the name of one that knows crops of each reference too."""
LEVELS = "+levels"
"""Ends the name of one that also compares equalised copies of query and reference, as an index with crops has them."""
OF_INDEX = WINDOWS + REGIONS + LEVELS
"""Ends the name of an embedder as an index of regions is looked up by default."""

BATCH = 16  # pictures embedded together
PHASH_SIDE, PHASH_KEPT = 32, 8  # px; 8 x 8 frequencies = 64 bits
THUMBNAIL = 16  # px

Vectors = npt.NDArray[np.float32]
Views = Callable[[Sequence[RGBArray]], Vectors]


@dataclass(frozen=True, slots=True)
class Entrant:
    name: str
    identity: str
    """Changes whenever its vectors do; the key of what is cached."""
    references: Views
    """n pictures -> (n, views, d) float32."""
    queries: Views
    """n pictures -> (n, views, d) float32. A row of zeros: this picture can match nothing."""
    weights_sha256: str = ""
    """Of an embedder with weights."""
    advice: Thresholds | None = None
    """The similarities from which the embedder advises to flag and to block, if it advises any."""
    handicap: float = 0.0
    """How much less the similarities of all views of a query but the first count."""
    region_handicap: float = 0.0
    """The same of the views of a reference."""
    looks_as: str = ""
    """Name of the entrant whose queries it shares, which takes part too: only the references are embedded for it."""
    against: str = ""
    """Name of the entrant that it is compared with on the same queries; "": of none."""

    @property
    def block(self) -> float:
        """+inf if it advises nothing."""
        return self.advice.block if self.advice else math.inf


def entrants_of(name: str, embedder: Embedder) -> list[Entrant]:
    """The embedder with one view; and where it has them, its own views of a query (NAME+views), and windows of it."""
    identity = repr(sorted(embedder.spec.identity().items()))

    def one_view(images: Sequence[RGBArray]) -> Vectors:
        return np.concatenate([_array(embedder.embed(batch)) for batch in _batches(images)])[:, None]

    sha256, advice = embedder.spec.weights_sha256, embedder.spec.thresholds
    found = [Entrant(name, identity, one_view, one_view, sha256, advice)]
    if isinstance(embedder, SupportsQuery):
        looks: SupportsQuery = embedder

        def own_views(images: Sequence[RGBArray]) -> Vectors:
            seen = [looks.embed_query(batch) for batch in _batches(images)]
            return np.concatenate([_array(q.vectors) * _array(q.usable)[:, None, None] for q in seen])

        found.append(Entrant(f"{name}+views", f"{identity}+views", one_view, own_views, sha256, advice))
    if has_windows(embedder):
        windows = _last_kept(embedder, "windows")
        seen_as, advice = f"{identity}{WINDOWS}{windows_identity(embedder)}", advice and advice.of(windows=True)
        found.append(
            Entrant(f"{name}{WINDOWS}", seen_as, one_view, windows, sha256, advice, WINDOW_HANDICAP, against=name)
        )
    return found


def with_regions(windows: Entrant, embedder: Embedder) -> list[Entrant]:
    """Beside an embedder with windows of a query: with crops of each reference, and with equalised copies of both as
    well, as an index of regions has them."""
    crops, levels = _last_kept(embedder, "crops"), _last_kept(embedder, "levels")
    regions = replace(
        windows,
        name=f"{windows.name}{REGIONS}",
        identity=f"{windows.identity}{REGIONS}",
        references=crops,
        advice=advised(embedder.spec, None, windows=True, regions=True),
        region_handicap=REGION_HANDICAP,
        looks_as=windows.name,
        against=windows.name,
    )

    def and_levels(views: Views) -> Views:
        return lambda images: np.concatenate([views(images), levels(images)[:, 1:]], axis=1)

    equalised = replace(
        regions,
        name=f"{regions.name}{LEVELS}",
        identity=f"{regions.identity}{LEVELS}",
        references=and_levels(crops),
        queries=and_levels(windows.queries),
        looks_as="",
        against=regions.name,
    )
    return [regions, equalised]


def multi_view_entrants(name: str, embedder: Embedder) -> list[Entrant]:
    """With quarter turns of the query; with crops of the query, of the references ("regions"), and of both.

    The views are guard.embedders.views's; an embedder's own views of a query are not added to them.
    """
    identity, sha256 = repr(sorted(embedder.spec.identity().items())), embedder.spec.weights_sha256
    one = _last_kept(embedder, "one")
    turns, crops = _last_kept(embedder, "turns"), _last_kept(embedder, "crops")
    ways = (("turns", one, turns), ("crops", one, crops), ("regions", crops, one), ("crops+regions", crops, crops))
    less = REGION_HANDICAP if embedder.spec.metric == "cosine" else 0.0  # as guard.indexes.build_job has it
    return [
        Entrant(
            f"{name}+{way}",
            f"{identity}+{way}",
            refs,
            queries,
            sha256,
            region_handicap=less if refs is crops else 0.0,
        )
        for way, refs, queries in ways
    ]


def _last_kept(embedder: Embedder, kind: ViewKind) -> Views:
    """Entrants are asked in turn about the same pictures: what was embedded last is not embedded again."""
    kept: dict[int, tuple[Sequence[RGBArray], Vectors]] = {}

    def views(images: Sequence[RGBArray]) -> Vectors:
        if id(images) not in kept:
            found = [_array(embed_views(embedder, batch, kind, own=False).vectors) for batch in _batches(images)]
            kept.clear()
            kept[id(images)] = images, np.concatenate(found)  # the pictures too, so that their id stays theirs
        return kept[id(images)][1]

    return views


def baselines() -> list[Entrant]:
    """What every run compares with."""
    found = [*entrants_of("pdq", load_embedder("pdq")), phash_entrant(), l2_entrant()]
    network = untrained()
    return found + (entrants_of(network.spec.name, network)[:1] if network else [])


def phash_entrant() -> Entrant:
    """64 signs of low frequencies against their median (Krawetz 2011); cosine = 1 - 2 * differing bits / 64."""
    k, n = np.arange(PHASH_KEPT)[:, None], np.arange(PHASH_SIDE)
    basis = np.cos(np.pi * (2 * n + 1) * k / (2 * PHASH_SIDE))  # the first rows of a DCT-II

    def views(images: Sequence[RGBArray]) -> Vectors:
        low = basis @ np.stack([_grey(image, PHASH_SIDE) for image in images]) @ basis.T
        flat = low.reshape(len(images), -1)
        bits = flat > np.median(flat, axis=1, keepdims=True)
        side = 1 / PHASH_KEPT
        return np.where(bits, side, -side).astype(np.float32)[:, None]

    return Entrant("phash", f"phash:{PHASH_SIDE}:{PHASH_KEPT}", views, views)


def l2_entrant() -> Entrant:
    """Minus the squared distance of grey thumbnails: 2ab - aa - bb = (2a, -aa, -1) · (b, 1, bb), an inner product."""

    def thumbnails(images: Sequence[RGBArray]) -> npt.NDArray[np.float64]:
        return np.stack([_grey(image, THUMBNAIL).ravel() / 255 for image in images])

    def queries(images: Sequence[RGBArray]) -> Vectors:
        a = thumbnails(images)
        columns = [2 * a, -(a * a).sum(1, keepdims=True), -np.ones((len(a), 1))]
        return np.concatenate(columns, axis=1).astype(np.float32)[:, None]

    def references(images: Sequence[RGBArray]) -> Vectors:
        b = thumbnails(images)
        columns = [b, np.ones((len(b), 1)), (b * b).sum(1, keepdims=True)]
        return np.concatenate(columns, axis=1).astype(np.float32)[:, None]

    return Entrant("l2", f"l2:{THUMBNAIL}", references, queries)


def similarities_of(
    queries: Vectors, references: Vectors, handicap: float = 0.0, region_handicap: float = 0.0
) -> Vectors:
    """(n, m) of n pictures as queries (n, v, d) with m as references (m, w, d); see best_of_views."""
    (n, views, d), (m, known, _) = queries.shape, references.shape
    inner = queries.reshape(n * views, d) @ references.reshape(m * known, d).T
    return best_of_views(best_of_regions(inner.reshape(n, views, m, known), region_handicap), handicap)


def best_of_regions(inner: Vectors, handicap: float = 0.0) -> Vectors:
    """(…, m, w) similarities with the views of references -> (…, m); changes what it is given.

    handicap: of every view of a reference but the first.
    """
    if handicap:
        inner[..., 1:] -= np.float32(handicap)
    best: Vectors = inner.max(axis=-1)
    return best


def best_of_views(similarity: Vectors, handicap: float = 0.0) -> Vectors:
    """(…, v, m) similarities of the views of queries with references -> (…, m); changes what it is given.

    handicap: of every view of a query but the first.
    """
    if handicap:
        similarity[..., 1:, :] -= np.float32(handicap)
    best: Vectors = similarity.max(axis=-2)
    return best


def _grey(image: RGBArray, side: int) -> npt.NDArray[np.float64]:
    small = Image.fromarray(image).convert("L").resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float64)


def _batches(images: Sequence[RGBArray]) -> list[ImageBatch]:
    return [ImageBatch(arrays=tuple(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]


def _array(values: Any) -> npt.NDArray[Any]:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)
