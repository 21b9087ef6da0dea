"""Pictures whose verdict is known beforehand, checked again and again through the whole path of a check.

Knows which pictures, and what their verdicts must say; no clock and no server. A few references are encoded anew from
their thumbnails, or pictures of a folder are taken, which must be in the index; and one is drawn that nobody was ever
trained on. The former must be found by their similarity, the latter must pass: that fails with another index, another
preprocessing or other weights, an embedder that breaks, or a threshold that lets everything or nothing through.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.decode import decode
from guard.embedders.base import embed_query
from guard.errors import ConfigError, GuardError, InputError
from guard.flat import FLAT_DETAIL, detail_of
from guard.indexes.base import SupportsThumbnails
from guard.indexes.overlay import key_of
from guard.pixels import MIN_SIDE, RGBArray, to_batch
from guard.types import Collection, Decision, Match, Record, Status, Verdict
from guard.unseen import unseen

if TYPE_CHECKING:
    from guard.guard import Guard

__all__ = ["PIPELINE", "Canaries", "Canary", "Outcome"]

PIPELINE = "canary"
TRIED = 24  # references that are looked at for each set
QUALITY = (
    60  # of the JPEG that a reference is encoded anew as, at three quarters of its size: what a copy on the web is
)
STRANGERS = 8  # of which the one that is least like the index is taken


@dataclass(frozen=True, slots=True, eq=False)
class Canary:
    """One picture and what must be found in it."""

    name: str
    data: bytes
    """Encoded: decoding is a part of the path."""
    reference: Record | None
    """What it must be found to show; None: nothing."""
    anything: bool = False
    """It must be found to show something, whatever that is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one canary's check went."""

    canary: str
    result: str
    """One of guard.metrics.CANARY_RESULTS."""
    text: str
    """What is wrong, in words; "" if nothing is."""


class Canaries:
    """The canaries of one guard. Its metrics and its log see nothing of them.

    most: references. folder: pictures that must be found, in place of references; their originals are in the index.
    Raises ConfigError for a folder without a readable picture.
    """

    def __init__(self, guard: Guard, *, most: int = 3, folder: Path | None = None) -> None:
        self._guard = unseen(guard)
        self._most = most
        self._folder = folder
        self._chosen: list[Canary] = []
        self.choose()

    @property
    def chosen(self) -> Sequence[Canary]:
        return self._chosen

    @property
    def references(self) -> int:
        """How many must be found; 0: the index holds no thumbnails, and no folder was named."""
        return sum(canary.reference is not None or canary.anything for canary in self._chosen)

    def choose(self) -> None:
        """Take references that are in the index now."""
        found = self._of_folder(self._folder) if self._folder is not None else self._of_index()
        self._chosen = [*found, self._stranger()] if found else []

    def check(self) -> list[Outcome]:
        """Check all of them. A reference that has left the index meanwhile, or holds nothing against an image any
        longer, is replaced first. Raises nothing."""
        try:
            if not all(self._counts(canary) for canary in self._chosen):
                self.choose()
            return [self._check(canary) for canary in self._chosen]
        except GuardError as exc:
            return [Outcome("all", "error", str(exc))]

    def missing_from(self, guard: Guard) -> list[str]:
        """Which of these references another guard's index does not hold: all of them, if it is another training set."""
        return [c.name for c in self._chosen if c.reference is not None and _held(guard, c.reference) is None]

    def _check(self, canary: Canary) -> Outcome:
        try:
            pixels = decode(canary.data, where=canary.name).rgb
        except InputError as exc:
            return Outcome(canary.name, "error", str(exc))
        # The mode does not matter, and a deadline that is missed is an answer too.
        verdict = self._guard.check([pixels], pipeline=PIPELINE)[0]
        if verdict.status is not Status.SUCCESS:
            return Outcome(canary.name, "error", f"{canary.name}: {'; '.join(verdict.reasons)}")
        problem = self._problem(canary, verdict)
        return Outcome(canary.name, "miss" if problem else "pass", f"{canary.name}: {problem}" if problem else "")

    def _problem(self, canary: Canary, verdict: Verdict) -> str:
        if canary.reference is None and not canary.anything:
            if verdict.decision is Decision.ALLOW:
                return ""
            return f"nobody was trained on it, and it is {verdict.decision}ed: {verdict.reasons[0]}"
        match = next((m for m in verdict.matches if _shows(m, canary)), None)
        if match is None:
            nearest = verdict.nearest
            found = f"{nearest.record.uri} with similarity {nearest.similarity:.3f}" if nearest else "nothing"
            return f"its reference was not found, but {found}"
        # An identical hash alone would hide that the embedder sees something else.
        flag = self._guard.rules.lowest_flag(match.record.collections)
        if match.similarity < flag:
            return f"similarity {match.similarity:.3f} to its own reference lies below flag {flag:.3f}"
        if verdict.decision is Decision.ALLOW:
            return f"similarity {match.similarity:.3f} to its own reference, and it is allowed: {verdict.reasons[0]}"
        return ""

    # -- which ------------------------------------------------------------------------------------

    def _of_folder(self, folder: Path) -> list[Canary]:
        from guard.sources.folder import IMAGE_SUFFIXES

        files = sorted(p for p in folder.glob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not files:
            raise ConfigError(f"canaries: {folder} holds no picture")
        return [Canary(file.name, file.read_bytes(), None, anything=True) for file in files]

    def _of_index(self) -> list[Canary]:
        """Of the references tried those that are easiest to find: nearest to themselves, and no flat pictures."""
        if not isinstance(self._guard.index, SupportsThumbnails) or not hasattr(self._guard.index, "similarity"):
            return []
        index: Any = self._guard.index
        found: list[tuple[tuple[bool, bool, float], Canary]] = []
        for record in self._candidates():
            encoded = index.thumbnail(record.id)
            if encoded is None:
                continue
            data = _encode(decode(encoded, where=f"thumbnail {record.id}").rgb)
            pixels = decode(data).rgb
            vectors = np.asarray(embed_query(self._guard.embedder, to_batch([pixels])).vectors[:, 0])
            among = record.id in index.search(vectors, self._guard.config.top_k).ids
            detailed = detail_of(pixels) >= FLAT_DETAIL
            similarity = float(index.similarity(vectors, [record.id])[0, 0])
            found.append(((bool(among), detailed, similarity), Canary(record.uri, data, record)))
        found.sort(key=lambda pair: pair[0], reverse=True)
        return [canary for _, canary in found[: self._most]]

    def _candidates(self) -> Iterator[Record]:
        """Of the collection `canary` those that are there, then references spread over the whole index."""
        index: Any = self._guard.index
        count = index.manifest.count
        named = sorted(index.base.reader.ids_where(collections=[Collection.CANARY])) if hasattr(index, "base") else []
        spread = [int((i + 0.5) * count / TRIED) for i in range(TRIED)] if count else []
        ids = list(dict.fromkeys([*named[:TRIED], *spread]))[:TRIED]
        yield from (record for record in index.records(ids) if self._held(record))

    def _counts(self, canary: Canary) -> bool:
        return canary.reference is None or self._held(canary.reference)

    def _held(self, record: Record) -> bool:
        held = _held(self._guard, record)
        return held is not None and self._guard.rules.can_flag(held.collections)

    def _stranger(self) -> Canary:
        drawn = [_drawn(seed) for seed in range(STRANGERS)]
        batch = to_batch([decode(data).rgb for data in drawn])
        vectors = np.asarray(embed_query(self._guard.embedder, batch).vectors[:, 0])
        nearest = self._guard.index.search(vectors, 1).similarity[:, 0]
        least = int(np.argmin(nearest))
        return Canary(f"drawn picture {least}", drawn[least], None)


def _shows(match: Match, canary: Canary) -> bool:
    wanted = canary.reference
    if wanted is None:
        return True
    same = wanted.cluster >= 0 and match.record.cluster == wanted.cluster
    return same or key_of(match.record) == key_of(wanted)


def _held(guard: Guard, record: Record) -> Record | None:
    """The reference as the guard's index holds it now; None if it is gone."""
    index: Any = guard.index
    now = index.now() if hasattr(index, "now") else index
    reader = getattr(getattr(index, "base", index), "reader", None)
    named = {"sha256s": [record.sha256]} if record.sha256 else {"uris": [record.uri]}
    ids = sorted(reader.ids_where(**named)) if reader is not None else [record.id]
    buried = set(getattr(now, "buried", ()))
    for held in now.records([i for i in ids if i not in buried]):
        if key_of(held) == key_of(record):
            return held  # type: ignore[no-any-return]
    return None


def _encode(rgb: RGBArray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(rgb)
    size = (max(MIN_SIDE, picture.width * 3 // 4), max(MIN_SIDE, picture.height * 3 // 4))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _drawn(seed: int) -> bytes:
    """A picture with detail at every scale that nothing else makes: 256 x 256 px."""
    from PIL import Image

    rng = np.random.default_rng([seed, 0x6D67])
    total = np.zeros((256, 256, 3))
    for step in (4, 16, 64, 256):
        coarse = Image.fromarray(rng.integers(0, 256, (step, step, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize((256, 256), Image.Resampling.BICUBIC), float) * (8 / step) ** 0.5
    return _encode(np.clip(total / total.max() * 255, 0, 255).astype(np.uint8))
