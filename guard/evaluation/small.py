"""A small set of look-alikes under three guards: copies that are found, strangers that are flagged. Knows no table.

In each of a few seeded splits half of the sources (patients), or so many pictures as are asked for, are the private
set, and the pictures of the others are strangers, as they are and edited. Each split is indexed as a small set, also
with images looked up as one view and with crops of its pictures, and the usual way: without and with pixels compared.
Intervals come from a bootstrap over sources. What was decided is written down as it goes (small_journal).
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from guard._version import __version__
from guard.config import GuardConfig
from guard.embedders.base import Embedder
from guard.embedders.views import ViewKind, windows_identity
from guard.errors import ConfigError
from guard.evaluation.edits import VERSION as EDITS_VERSION
from guard.evaluation.edits import Edit
from guard.evaluation.intervals import clopper_pearson, clustered_mean
from guard.evaluation.pictures import PictureFile, load
from guard.evaluation.remembering import Remembering
from guard.evaluation.small_journal import Journal, journal
from guard.guard import Guard
from guard.indexes.builder import build_index
from guard.indexes.store import open_index
from guard.pixels import RGBArray
from guard.small.build import measure_small, small_transform
from guard.small.record import SmallSet
from guard.sources.base import Item, Skip, Survey
from guard.types import Decision, Evidence, Mode, Status
from guard.verification.features import Prepared
from guard.verification.verifier import PixelVerifier, identity_of

__all__ = ["EDITS_EACH", "WAYS", "Way", "evaluate_small"]


@dataclass(frozen=True, slots=True)
class Way:
    """An index of the private set, and the settings of the guard on it."""

    small: bool
    regions: bool | None
    """None: as such an index has them by default."""
    settings: Mapping[str, Any]
    views: ViewKind | None = None
    """As which a small set is looked up in itself, and images in it; None: as by default."""


WAYS: Mapping[str, Way] = {
    "small": Way(True, False, {}),
    "small, one view": Way(True, False, {}, "one"),
    "small, regions": Way(True, True, {}),
    "usual": Way(False, None, {"verify": False}),
    "usual, verified": Way(False, None, {"verify": True}),
}
"""The first is what `index build` makes of so few pictures; each set is said to be what it says of itself."""
MIN_SOURCES = 4
MIN_STRANGERS = 2
AS_IT_IS = "as_it_is"
EDITS_EACH = 12  # of each picture, unless something else is asked for: intervals come from sources, not from edits
_BATCH = 16
_KEPT = 512  # prepared pictures and compared pairs, of which the guards of one batch share most


@dataclass(frozen=True, slots=True)
class _Split:
    """A private set."""

    references: frozenset[int]
    """Numbers of pictures."""
    sources: frozenset[int]
    """Of these: their other pictures are no strangers."""


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One query before it is made."""

    picture: int
    """Number of it."""
    source: int
    edit: Edit | None
    """None: as it is."""
    copy: bool
    """True: of a reference."""

    @property
    def name(self) -> str:
        return self.edit.name if self.edit else AS_IT_IS

    @property
    def family(self) -> str:
        return self.edit.family if self.edit else AS_IT_IS


class _Pictures:
    """A source of files."""

    def __init__(self, pictures: Sequence[PictureFile]) -> None:
        self._pictures = pictures

    def survey(self) -> Survey:
        return Survey(f"{len(self._pictures)} pictures", "", len(self._pictures))

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        for picture in islice(self._pictures, start, None):
            yield Item(str(picture.path), path=picture.path)


class _Comparing:
    """A verifier that knows what it was asked last: two of the guards compare the same pairs."""

    def __init__(self) -> None:
        verifier = PixelVerifier()
        self.shortlist, self.dismissed = verifier.shortlist, verifier.dismissed  # as a guard's own verifier is asked
        self._prepared: Callable[[bytes, tuple[int, ...]], Prepared] = lru_cache(_KEPT)(
            lambda data, shape: verifier.prepare(np.frombuffer(data, np.uint8).reshape(shape))
        )
        self._compared: Callable[[Prepared, Prepared], Evidence] = lru_cache(_KEPT)(verifier.verify)

    def prepare(self, picture: RGBArray) -> Prepared:
        return self._prepared(picture.tobytes(), picture.shape)

    def verify(self, query: RGBArray | Prepared, reference: RGBArray | Prepared) -> Evidence:
        one, other = (side if isinstance(side, Prepared) else self.prepare(side) for side in (query, reference))
        return self._compared(one, other)


def evaluate_small(
    pictures: Sequence[PictureFile],
    embedder: Embedder,
    edits: Sequence[Edit],
    *,
    edits_each: int | None = EDITS_EACH,
    size: int | None = None,
    splits: int = 2,
    seed: int = 0,
    cache: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _total: None,
) -> dict[str, Any]:
    """Plain JSON values: of each way the copies that were found and the strangers that were flagged, and what each
    split says of itself.

    pictures: of one source never tell against one another. edits_each: of each picture so many of the edits, drawn by
    the seed; None for all. size: pictures of each private set, drawn source by source so that every source is in one
    before any is in two; None: half of the sources, in turn. cache: a folder that keeps what was decided, so that a
    stopped run goes on. Needs OpenCV, and an embedder with thresholds of its own. Raises ConfigError for fewer than
    four sources, or a size that leaves fewer than two of them strangers.
    """
    sources = sorted({picture.source for picture in pictures})
    if len(sources) < MIN_SOURCES:
        raise ConfigError(
            f"{len(sources)} sources are too few: at least {MIN_SOURCES} are needed, half of them strangers"
        )
    each = min(edits_each or len(edits), len(edits))
    names = [edit.name for edit in edits]
    said = {"pictures": [_stamp(picture) for picture in pictures], "edits": names, "each": each, "size": size,
            "seed": seed, "embedder": embedder.spec.identity(), "windows": windows_identity(embedder),
            "verifier": identity_of(),
            "version": [__version__, EDITS_VERSION],
            "ways": {name: [way.small, way.regions, dict(way.settings), way.views]
                     for name, way in WAYS.items()}}  # fmt: skip
    decisions: dict[str, dict[str, dict[int, list[Decision]]]] = {
        way: defaultdict(lambda: defaultdict(list)) for way in WAYS
    }
    sets = []
    with journal(cache, said) as known:
        for split, inside in enumerate(_splits(pictures, sources, size, splits, seed)):
            tasks = _tasks(pictures, inside, edits, each, seed)
            stage = partial(progress, f"split {split + 1} of {splits}")
            _decide(split, tasks, pictures, inside, embedder, seed, known, stage)
            sets.append(known.sets[split])
            for task in tasks:
                kind = "copies" if task.copy else "strangers"
                for way, decision in zip(WAYS, known.decided[split, task.picture, task.name], strict=True):
                    for group in (kind, f"{kind}: {task.family}"):
                        decisions[way][group][task.source].append(decision)
    return {
        "pictures": len(pictures),
        "sources": len(sources),
        "splits": splits,
        "size": size,
        "seed": seed,
        "edits": names,
        "edits_each": each,
        "embedder": embedder.spec.identity(),
        "sets": sets,
        "ways": {way: {group: _figures(by_source) for group, by_source in found.items()}
                 for way, found in decisions.items()},
    }  # fmt: skip


def _splits(
    pictures: Sequence[PictureFile], sources: Sequence[int], size: int | None, splits: int, seed: int
) -> list[_Split]:
    of_source: dict[int, list[int]] = {source: [] for source in sources}
    for i, picture in enumerate(pictures):
        of_source[picture.source].append(i)
    drawn = _halves(sources, seed) if size is None else _drawn(of_source, size, seed)
    return [
        _Split(frozenset([i for source in chosen for i in of_source[source]][:size]), frozenset(chosen))
        for chosen in islice(drawn, splits)
    ]


def _halves(sources: Sequence[int], seed: int) -> Iterator[list[int]]:
    """Both halves in turn, so that every source is both."""
    for number in count():
        order = np.random.default_rng([seed, number]).permutation(sources).tolist()
        yield order[: len(order) // 2]
        yield order[len(order) // 2 :]


def _drawn(of_source: Mapping[int, Sequence[int]], size: int, seed: int) -> Iterator[list[int]]:
    """Sources of so many pictures and more, each source once before any comes again."""
    waiting, rounds = list[int](), count()
    while True:
        chosen: list[int] = []
        while sum(len(of_source[source]) for source in chosen) < size:
            if len(of_source) - len(chosen) <= MIN_STRANGERS:
                raise ConfigError(
                    f"sets of {size} pictures leave fewer than {MIN_STRANGERS} of {len(of_source)} sources to be "
                    "strangers; ask for a smaller --size, or bring more pictures"
                )
            if all(source in chosen for source in waiting):
                waiting += np.random.default_rng([seed, next(rounds)]).permutation(list(of_source)).tolist()
            chosen.append(next(source for source in waiting if source not in chosen))
            waiting.remove(chosen[-1])
        yield chosen


def _decide(
    split: int,
    tasks: Sequence[_Task],
    pictures: Sequence[PictureFile],
    inside: _Split,
    embedder: Embedder,
    seed: int,
    known: Journal,
    progress: Callable[[int, int], None],
) -> None:
    """Fill the journal with what is missing of a split."""
    left = [task for task in tasks if (split, task.picture, task.name) not in known.decided]
    if not left and split in known.sets:
        return
    references = [pictures[i] for i in sorted(inside.references)]
    with tempfile.TemporaryDirectory() as folder:
        guards, of_set = _guards(Path(folder), references, embedder)
        if split not in known.sets:
            known.add_set(split, {"references": len(references), **of_set})
        strangers = [picture for picture in pictures if picture.source not in inside.sources]
        for at in range(0, len(left), _BATCH):
            some = left[at : at + _BATCH]
            images = [_query(task, pictures, strangers, seed) for task in some]
            found = [_ask(guard, images) for guard in guards.values()]
            known.add({(split, task.picture, task.name): of_task
                       for task, of_task in zip(some, zip(*found, strict=True), strict=True)})  # fmt: skip
            progress(len(tasks) - len(left) + at + len(some), len(tasks))


def _guards(
    folder: Path, references: Sequence[PictureFile], embedder: Embedder
) -> tuple[dict[str, Guard], dict[str, Any]]:
    transform, note = small_transform(embedder.spec)
    paths: dict[tuple[bool, bool | None, ViewKind | None], Path] = {}
    said: list[SmallSet] = []
    for way in WAYS.values():
        if (way.small, way.regions, way.views) not in paths:
            path = paths[way.small, way.regions, way.views] = folder / str(len(paths))
            used = transform if way.small else None
            build_index(_Pictures(references), path, embedder, transform=used, regions=way.regions)
            if way.small:
                said.append(measure_small(path, embedder, note=note, views=way.views).small)
    shared, comparing = Remembering(embedder), _Comparing()
    guards = {
        name: Guard(
            open_index(paths[way.small, way.regions, way.views], embedder=shared),
            shared,
            config=GuardConfig(deadline_s=None, mode=Mode.FLAG, **way.settings),
            verifier=comparing,
        )
        for name, way in WAYS.items()
    }
    return guards, {**said[0].model_dump(mode="json"), "warnings": said[0].warnings}


def _tasks(pictures: Sequence[PictureFile], inside: _Split, edits: Sequence[Edit], each: int, seed: int) -> list[_Task]:
    """Edits of every picture; strangers as they are as well."""
    tasks = []
    for i, picture in enumerate(pictures):
        copy = i in inside.references
        if picture.source in inside.sources and not copy:
            continue
        drawn = np.random.default_rng([seed, i, 1]).permutation(len(edits))[:each]  # the same in every split
        chosen: list[Edit | None] = [edits[j] for j in sorted(drawn.tolist())]
        tasks += [_Task(i, picture.source, edit, copy) for edit in ([] if copy else [None]) + chosen]
    return tasks


def _query(task: _Task, pictures: Sequence[PictureFile], strangers: Sequence[PictureFile], seed: int) -> RGBArray:
    """With strangers laid under or beside it where the edit wants some."""
    pixels = load(pictures[task.picture].path)
    if task.edit is None:
        return pixels
    others = [picture for picture in strangers if picture.source != task.source]
    chosen = np.random.default_rng([seed, task.picture]).permutation(len(others))[:3]
    return task.edit(pixels, [load(others[j].path) for j in chosen], seed=(seed, task.picture))


def _ask(guard: Guard, images: Sequence[RGBArray]) -> list[Decision]:
    decided = []
    for verdict in guard.check(list(images)):
        if verdict.status is not Status.SUCCESS or verdict.decision is None:
            raise ConfigError(f"a check failed: {'; '.join(verdict.reasons)}")
        decided.append(verdict.decision)
    return decided


def _stamp(picture: PictureFile) -> list[Any]:
    """What changes if the picture or its patient does."""
    stat = picture.path.stat()
    return [str(picture.path), picture.source, stat.st_size, stat.st_mtime_ns]


def _figures(by_source: Mapping[int, list[Decision]]) -> dict[str, Any]:
    """Shares that were flagged or blocked, and blocked; each source weighs the same."""
    shares = {
        "flagged": [float(np.mean([d is not Decision.ALLOW for d in found])) for found in by_source.values()],
        "blocked": [float(np.mean([d is Decision.BLOCK for d in found])) for found in by_source.values()],
    }
    counts = {"queries": sum(map(len, by_source.values())), "sources": len(by_source)}
    return {**counts, **{name: _interval(values) for name, values in shares.items()}}


def _interval(shares: Sequence[float]) -> dict[str, float]:
    """Of none or all a bootstrap says nothing: the sources are counted then, as one trial each (Clopper, Pearson)."""
    found = clustered_mean(shares)
    if found.value in (0.0, 1.0):
        found = clopper_pearson(round(sum(shares)), len(shares))
    return {"value": found.value, "low": found.low, "high": found.high}
