"""Queries of an evaluation, compared pixel by pixel with their candidates. Knows which pairs; no metric.

As in a check: the query at its full size, the reference as the thumbnail that an index keeps; the candidates in the
verifier's order, until one settles the matter. A pair is compared once, whichever split or entrant asks.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from guard.decode import decode
from guard.evaluation.edits import Edit
from guard.evaluation.pictures import PictureFile, load
from guard.evaluation.scores import ahead, context_of, variants_of
from guard.indexes.builder import THUMBNAIL_PX
from guard.indexes.preparation import thumbnail_of
from guard.pixels import RGBArray
from guard.types import Evidence, EvidenceKind
from guard.verification.verifier import Verifier, identity_of
from guard.verification.walk import Walk
from guard.verification.weigh import refutes, settles

__all__ = ["KINDS", "NOT_COMPARED", "Asked", "Compared", "Look", "References", "compare_all"]

KINDS = tuple(EvidenceKind)
NOT_COMPARED = -1
KEPT = 2048  # prepared references in memory, at some 0.3 MB

Asked = Callable[[int], npt.NDArray[np.intp]]
"""Picture i -> (rows, variants, k) positions of its candidates, nearest first; -1 for none. Rows stand alone."""
Columns = npt.NDArray[Any]


class Look(IntEnum):
    """What became of a candidate."""

    NONE = 0
    """Another one had settled the matter before."""
    COMPARED = 1
    REFUTED = 2
    """Dismissed at a glance, with keypoints enough on both sides."""
    DISMISSED = 3
    """Dismissed, with too few to say so."""


_PAIRS = np.dtype(
    [
        ("variant", np.int16),
        ("reference", "S64"),
        ("kind", np.int8),
        ("strength", np.float32),
        ("inliers", np.int32),
        ("agreement", np.float32),
        ("keypoints", np.int32, (2,)),  # -1: they were not needed
    ]
)
_KEY_BYTES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One picture's variants against others."""

    kind: npt.NDArray[np.int8]
    """(variants, pictures) position in KINDS, or NOT_COMPARED."""
    refutes: npt.NDArray[np.bool_]
    """(variants, pictures), as the next two."""
    settles: npt.NDArray[np.bool_]
    strength: npt.NDArray[np.float32]
    looks: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    """One (rows, variants, k) of each `Asked`: what became of each candidate, a `Look`."""

    @property
    def copies(self) -> npt.NDArray[np.bool_]:
        return self.strength >= 0

    @classmethod
    def nothing(cls, variants: int, pictures: int) -> Compared:
        shape = (variants, pictures)
        return cls(
            np.full(shape, NOT_COMPARED, np.int8),
            np.zeros(shape, np.bool_),
            np.zeros(shape, np.bool_),
            np.full(shape, -1, np.float32),
        )

    def put(self, variant: int, reference: int, row: Any) -> None:
        """row: of a cache, see _PAIRS."""
        query, other = row["keypoints"].tolist()
        evidence = Evidence(
            KINDS[row["kind"]],
            inliers=int(row["inliers"]),
            agreement=float(row["agreement"]),
            keypoints=(query, other) if query >= 0 else None,
            strength=float(row["strength"]),
        )
        self.kind[variant, reference] = row["kind"]
        self.refutes[variant, reference] = refutes(evidence)
        self.settles[variant, reference] = settles(evidence)
        self.strength[variant, reference] = evidence.strength


class References:
    """Pictures as an index keeps them, prepared for comparison. Safe for threads."""

    def __init__(self, verifier: Verifier, pictures: Sequence[Callable[[], RGBArray]], kept: int = KEPT) -> None:
        self._verifier, self._pictures, self._most = verifier, pictures, kept
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, i: int) -> Any:
        with self._lock:
            if i in self._kept:
                self._kept.move_to_end(i)
                return self._kept[i]
        small = decode(thumbnail_of(self._pictures[i](), THUMBNAIL_PX), where=f"thumbnail {i}").rgb
        prepared = self._verifier.prepare(small)
        with self._lock:
            self._kept[i] = prepared
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return prepared


def compare_all(
    pictures: Sequence[PictureFile],
    carriers: Sequence[RGBArray],
    edits: Sequence[Edit],
    asked: Sequence[Asked],
    verifier: Verifier,
    *,
    seed: int,
    side: int,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> list[Compared]:
    """Edit every picture again and compare it with what is asked for. cache: as in embed_all."""
    references = References(verifier, [_loader(p, side) for p in pictures])
    context = f"{identity_of(verifier)}\n{context_of(carriers, edits, seed, side)}"
    names = [p.sha256 for p in pictures]

    def one(i: int) -> Compared:
        path, orders = _cached(cache, context, pictures[i]), [of(i) for of in asked]
        work = _Work(
            verifier, references, names, lambda: variants_of(pictures[i], carriers, edits, seed, side), 1 + len(edits)
        )
        work.load(path)
        for order in orders:
            looks = np.zeros(order.shape, np.uint8)
            for variant in range(order.shape[1]):
                for row in range(len(order)):
                    members = order[row, variant][order[row, variant] >= 0]
                    looks[row, variant, : len(members)] = work.look(variant, members.tolist())
            work.known.looks.append(looks)
        work.save(path)
        return work.known

    found = []
    for compared in ahead(one, len(pictures), workers):
        found.append(compared)
        progress()
    return found


class _Work:
    """The comparisons of one picture's variants."""

    def __init__(
        self,
        verifier: Verifier,
        references: References,
        names: Sequence[str],
        make: Callable[[], list[RGBArray]],
        variants: int,
    ) -> None:
        self.verifier, self.references, self.names, self.make = verifier, references, names, make
        self.known = Compared.nothing(variants, len(names))
        self.made: list[RGBArray] = []
        self.prepared: tuple[int, Any] = (-1, None)  # of one variant at a time
        self.pairs: dict[tuple[int, int], Columns] = {}
        self.seen: dict[bytes, bytes] = {}
        self.fresh = False

    def look(self, variant: int, members: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(k,) what becomes of these candidates; what must be compared for it, is."""
        named = "\n".join([str(variant), *(self.names[j] for j in members)])
        key = hashlib.sha256(named.encode()).digest()[:_KEY_BYTES]
        if key not in self.seen:
            self.seen[key] = self._walk(variant, members).tobytes()
            self.fresh = True
        return np.frombuffer(self.seen[key], np.uint8)

    def _walk(self, variant: int, members: Sequence[int]) -> npt.NDArray[np.uint8]:
        query, looks = self._query(variant), np.full(len(members), Look.NONE, np.uint8)
        walk = Walk(self.verifier, query, [self.references[j] for j in members])
        for at in walk.order():
            reference = members[at]
            if (variant, reference) not in self.pairs:
                evidence = self.verifier.verify(query, self.references[reference])
                self._put(variant, reference, _row(variant, self.names[reference], evidence))
            looks[at] = Look.COMPARED
            if self.known.settles[variant, reference]:
                return looks
        for at, evidence in walk.dismissed():
            looks[at] = Look.REFUTED if refutes(evidence) else Look.DISMISSED
        return looks

    def _query(self, variant: int) -> Any:
        if self.prepared[0] != variant:
            self.made = self.made or self.make()
            self.prepared = variant, self.verifier.prepare(self.made[variant])
        return self.prepared[1]

    def _put(self, variant: int, reference: int, row: Columns) -> None:
        self.pairs[variant, reference] = row
        self.known.put(variant, reference, row)

    def load(self, path: Path | None) -> None:
        """What a run before this one has found out; nothing, if that cannot be read."""
        if path is None or not path.exists():
            return
        damaged = (OSError, ValueError, KeyError, EOFError, BadZipFile)
        with suppress(*damaged), path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            pairs, keys, sizes, looks = (file[name] for name in ("pairs", "keys", "sizes", "looks"))
            if pairs.dtype != _PAIRS:
                return
            positions: dict[bytes, list[int]] = {}
            for position, name in enumerate(self.names):
                positions.setdefault(name.encode(), []).append(position)
            for row in pairs:
                for position in positions.get(bytes(row["reference"]), ()):
                    self._put(int(row["variant"]), position, row)
            ends = np.cumsum(sizes)
            self.seen = {
                bytes(key): looks[end - size : end].tobytes() for key, size, end in zip(keys, sizes, ends, strict=True)
            }

    def save(self, path: Path | None) -> None:
        if path is None or not self.fresh:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        keys = np.frombuffer(b"".join(self.seen), np.uint8).reshape(-1, _KEY_BYTES)
        looks = np.frombuffer(b"".join(self.seen.values()), np.uint8)
        with part.open("wb") as file:
            np.savez(
                file, pairs=np.array(list(self.pairs.values()), _PAIRS), keys=keys,
                sizes=np.array([len(one) for one in self.seen.values()], np.int64), looks=looks,
            )  # fmt: skip
        part.replace(path)


def _row(variant: int, reference: str, evidence: Evidence) -> Columns:
    row = np.zeros((), _PAIRS)
    row["variant"], row["reference"] = variant, reference.encode()
    row["kind"] = KINDS.index(evidence.kind)
    row["strength"], row["inliers"], row["agreement"] = evidence.strength, evidence.inliers, evidence.agreement
    row["keypoints"] = evidence.keypoints or (-1, -1)
    return row


def _loader(picture: PictureFile, side: int) -> Callable[[], RGBArray]:
    return lambda: load(picture.path, side)


def _cached(cache: Path | None, context: str, picture: PictureFile) -> Path | None:
    if cache is None:
        return None
    key = hashlib.sha256(f"pixels\n{context}\n{picture.sha256}".encode()).hexdigest()
    return cache / key[:2] / f"{key}.npz"
