"""Several views of a picture that is looked up: quarter turns, parts of it for partial copies, and other levels.

A copy that fills a part of a picture is far from its original as a whole, and near to it as a crop. Crops of a query
find a reference that stands within it (inset, collage); crops of a reference find a query that shows a part of it.
Windows are the same parts of a query, but the picture is embedded once more instead of fourteen times, larger, and
the network's last maps are averaged over each part. A copy whose levels are others is near to its original where both
are equalised. Knows pixels and embedders; what an index does with the rows is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from guard.embedders.base import Embedder, QueryDescriptors, SupportsWindows, check_rows, embed_query
from guard.embedders.levels import equalised
from guard.errors import ConfigError
from guard.pixels import ImageBatch, RGBArray

__all__ = [
    "CROPS",
    "REGIONS",
    "REGION_HANDICAP",
    "REGION_KINDS",
    "VIEW_KINDS",
    "WINDOW_HANDICAP",
    "AskedViews",
    "Box",
    "ViewKind",
    "embed_views",
    "has_windows",
    "is_plain",
    "looks_at_windows",
    "require_views",
    "usual_views",
    "view_count",
    "views_of",
    "windows_identity",
]

ViewKind = Literal["one", "turns", "crops", "turns+crops", "windows", "levels", "crops+levels", "windows+levels"]
VIEW_KINDS: tuple[ViewKind, ...] = (
    "one", "turns", "crops", "turns+crops", "windows", "levels", "crops+levels", "windows+levels"
)  # fmt: skip
AskedViews = ViewKind | Literal["auto"]
"""auto: usual_views."""

WINDOW_HANDICAP = 0.05
"""By how much less the similarity of a window counts: chosen among 0 to 0.3 with 96 real pictures (docs/results.md);
and that of an equalised copy beside windows."""
REGION_HANDICAP = 0.05
"""The same of a crop or an equalised copy of a reference in an index; not chosen anew, and compared with 0 and 0.1."""

Box = tuple[float, float, float]
"""Top, left and side, as shares of height and width: a crop has the aspect of its picture."""

LEVELS = (
    (0.65, 2),
    (0.45, 3),
)  # side of the crops, and how many in a row and in a column; the first also in the middle
PLAIN_SIDE, PLAIN_LEVELS = 32, 6.0  # px; grey levels (of 255) of standard deviation below which a picture is plain
TURNS = (1, 2, 3)  # quarters


def _boxes() -> tuple[Box, ...]:
    found: list[Box] = []
    for side, along in LEVELS:
        offsets = np.linspace(0, 1 - side, along).tolist()
        found += [(top, left, side) for top in offsets for left in offsets]
        if along % 2 == 0:
            found.append(((1 - side) / 2, (1 - side) / 2, side))
    return tuple(found)


CROPS: tuple[Box, ...] = _boxes()
"""Five of 0.65 of each side (corners and middle), nine of 0.45 (a grid)."""


def looks_at_windows(kind: AskedViews) -> bool:
    """Whether windows are among the views."""
    return "windows" in kind


def view_count(kind: ViewKind) -> int:
    """How many views a picture has, itself included: rows that are looked up, and, but for windows, embeddings."""
    parts = "crops" in kind or looks_at_windows(kind)
    return 1 + (len(TURNS) if "turns" in kind else 0) + (len(CROPS) if parts else 0) + ("levels" in kind)


_OF_REFERENCES: tuple[ViewKind, ...] = ("one", "crops", "crops+levels")
REGION_KINDS: dict[int, ViewKind] = {view_count(kind): kind for kind in _OF_REFERENCES}
"""How many rows an index has of each reference -> which views of it these are. Those that were built before equalised
copies were among them have 15."""
REGIONS = max(REGION_KINDS)
"""Rows of each reference in an index that is built with regions now."""


def has_windows(embedder: Embedder) -> bool:
    """Whether `embed_views` can look at the windows of a picture."""
    return getattr(embedder, "windows", 0) > 0


def require_views(embedder: Embedder, kind: ViewKind) -> None:
    """Raise ConfigError for windows of an embedder that has none: at the beginning, and not at each picture."""
    if looks_at_windows(kind) and not has_windows(embedder):
        raise ConfigError(f"the embedder {embedder.spec.name} has no windows; look pictures up as one, or by crops")


def windows_identity(embedder: Embedder) -> str:
    """What the windows of a picture depend on beside the embedder's identity, in one line; "": it has none."""
    if not has_windows(embedder):
        return ""
    assert isinstance(embedder, SupportsWindows)
    return f"{embedder.windows_identity()} {CROPS}"


def usual_views(embedder: Embedder, regions: int = 1) -> ViewKind:
    """How pictures are looked up where nobody says how: with windows where they can be had in one pass, and equalised
    where the index has such a row of each reference. regions: rows that it has of each."""
    if not has_windows(embedder):
        return "one"
    return "windows+levels" if "levels" in REGION_KINDS.get(regions, "one") else "windows"


def embed_views(embedder: Embedder, batch: ImageBatch, kind: ViewKind, *, own: bool = True) -> QueryDescriptors:
    """Embed the views of each picture: vectors (n, views, dim), the pictures themselves first.

    own: use the embedder's own views of a query too, where it has them; it then makes its own turns, and says which
    pictures are usable. Elsewhere a picture that shows next to nothing is not: it is like every other such picture.
    Such a part is replaced by the whole picture. Raises CheckError(stage="embed") as embed_query does, and ConfigError
    for windows of an embedder that has none.
    """
    if looks_at_windows(kind):
        return _with_windows(embedder, batch, kind)
    looks = own and hasattr(embedder, "embed_query")  # isinstance of a protocol takes as long as a small index
    if kind == "one" and looks:
        return embed_query(embedder, batch)
    if looks and "turns" in kind:
        kind = "crops" if "crops" in kind else "one"
    parts = views_of(batch, kind)
    plain = _are_plain(parts, kind)
    seen = [embed_query(embedder, part) for part in parts] if looks else _together(embedder, parts, ~plain[:, 0])
    rows = [seen[0].vectors]
    for nothing, query in zip(plain.T[1:], seen[1:], strict=True):
        rows.append(_chosen(nothing, rows[0], query.vectors) if nothing.any() else query.vectors)
    return QueryDescriptors(_joined(rows), seen[0].usable)


def views_of(batch: ImageBatch, kind: ViewKind) -> list[ImageBatch]:
    """`view_count(kind)` batches of n pictures each, the pictures themselves first. Crops share the pixels' memory.

    Not for windows, which are parts of one pass and no pictures of their own (embed_views).
    Pictures of different sizes stay arrays. A tensor stays where it is.
    """
    views = [batch]
    if "turns" in kind:
        views += [_turned(batch, turns) for turns in TURNS]
    if "crops" in kind:
        views += [_cropped(batch, box) for box in CROPS]
    if "levels" in kind:
        views.append(equalised(batch))
    return views


def is_plain(batch: ImageBatch) -> npt.NDArray[np.bool_]:
    """(n,) True: a picture that shows next to nothing, such as a piece of sky, and is like every other such piece."""
    return _are_plain([batch])[:, 0]


def _are_plain(parts: Sequence[ImageBatch], kind: ViewKind = "one") -> npt.NDArray[np.bool_]:
    """(n, v) of v views of n pictures, see is_plain; a device is waited for once.

    An equalised copy, which makes a picture of noise, is plain where its picture is.
    """
    plain = _shows_little(parts)
    if "levels" in kind:
        plain[:, -1] = plain[:, 0]
    return plain


def _shows_little(parts: Sequence[ImageBatch]) -> npt.NDArray[np.bool_]:
    if parts[0].arrays is not None:
        plain = [[_sampled(array).std() < PLAIN_LEVELS for array in part.as_arrays()] for part in parts]
        return np.array(plain, np.bool_).T
    import torch

    seen = [_greys(part.tensor) for part in parts]
    greys = np.split(torch.cat(seen, 1).cpu().numpy(), np.cumsum([one.shape[1] for one in seen])[:-1], axis=1)
    return np.stack([255 * grey.std(axis=1) < PLAIN_LEVELS for grey in greys], axis=1)


def _together(embedder: Embedder, parts: Sequence[ImageBatch], usable: npt.NDArray[np.bool_]) -> list[QueryDescriptors]:
    """One view each; arrays are embedded in one go, so that the embedder can fill its batches."""
    n = len(parts[0])
    if parts[0].arrays is None:
        vectors = [embedder.embed(part) for part in parts]
    else:
        whole = embedder.embed(ImageBatch(arrays=tuple(array for part in parts for array in part.as_arrays())))
        vectors = [whole[i : i + n] for i in range(0, n * len(parts), n)] if n else [whole] * len(parts)
    for rows in vectors:
        check_rows(rows, embedder.spec, n)
    return [QueryDescriptors(rows[:, None], usable) for rows in vectors]


def _with_windows(embedder: Embedder, batch: ImageBatch, kind: ViewKind) -> QueryDescriptors:
    require_views(embedder, kind)
    assert isinstance(embedder, SupportsWindows)
    levels = [equalised(batch)] if "levels" in kind else []
    plain = _are_plain([batch, *(_cropped(batch, box) for box in CROPS), *levels], kind)
    whole, *others = _together(embedder, [batch, *levels], ~plain[:, 0])
    n, windows, dim = len(batch), embedder.windows, embedder.spec.dim
    rows = embedder.embed_windows(batch)
    check_rows(rows.reshape(n * windows, dim), embedder.spec, n * windows)
    parts = _joined([rows, *(other.vectors for other in others)])
    if plain[:, 1:].any():
        parts = _chosen(plain[:, 1:], whole.vectors, parts)
    handicap = np.full(view_count(kind), WINDOW_HANDICAP, np.float32)
    handicap[0] = 0
    return QueryDescriptors(_joined([whole.vectors, parts]), whole.usable, handicap)


def _chosen(where: npt.NDArray[np.bool_], these: Any, others: Any) -> Any:
    """Rows of `these` where it says so: where (n,) or (n, v), these (n, 1, d) or as others (n, v, d)."""
    where = where.reshape(len(where), -1, 1)
    if isinstance(others, np.ndarray):
        return np.where(where, these, others)
    import torch

    return torch.where(torch.from_numpy(where).to(others.device), these, others)


def _joined(rows: Sequence[Any]) -> Any:
    if isinstance(rows[0], np.ndarray):
        return np.concatenate(rows, axis=1)
    import torch

    return torch.cat(list(rows), dim=1)


def _sampled(array: RGBArray) -> npt.NDArray[np.float64]:
    rows, columns = (_spread(side) for side in array.shape[:2])
    return np.asarray(array[rows[:, None], columns].mean(2))


def _greys(tensor: Any) -> Any:
    """(n, points) in [0, 1], where the tensor is."""
    rows, columns = (_spread(side) for side in tensor.shape[2:])
    return tensor.detach()[:, :, rows[:, None], columns].float().mean(1).flatten(1)


def _spread(side: int) -> npt.NDArray[np.intp]:
    return np.linspace(0, side - 1, min(side, PLAIN_SIDE)).round().astype(np.intp)


def _turned(batch: ImageBatch, turns: int) -> ImageBatch:
    if batch.arrays is not None:
        return ImageBatch(arrays=tuple(np.ascontiguousarray(np.rot90(array, turns)) for array in batch.arrays))
    tensor: Any = batch.tensor
    return ImageBatch(tensor=tensor.rot90(turns, (2, 3)))


def _cropped(batch: ImageBatch, box: Box) -> ImageBatch:
    if batch.arrays is not None:
        return ImageBatch(arrays=tuple(array[_window(array.shape[:2], box)] for array in batch.arrays))
    tensor: Any = batch.tensor
    rows, columns = _window(tensor.shape[2:], box)
    return ImageBatch(tensor=tensor[:, :, rows, columns])


def _window(shape: Sequence[int], box: Box) -> tuple[slice, slice]:
    top, left, side = box
    (h, w), height, width = shape, max(1, round(shape[0] * side)), max(1, round(shape[1] * side))
    y, x = min(round(h * top), h - height), min(round(w * left), w - width)
    return slice(y, y + height), slice(x, x + width)
