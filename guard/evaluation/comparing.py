"""Queries of an evaluation, compared pixel by pixel with their candidates. Knows which pairs; no metric.

As in a check: the query at its full size, the reference as the thumbnail that an index keeps; the candidates in their
order, until one settles the matter. A pair is compared once, whichever split or entrant asks.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from guard.verification.weigh import refutes, settles

__all__ = ["KINDS", "NOT_COMPARED", "Asked", "Compared", "References", "compare_all"]

KINDS = tuple(EvidenceKind)
NOT_COMPARED = -1
KEPT = 2048  # prepared references in memory, at some 0.3 MB

Asked = Callable[[int], npt.NDArray[np.intp]]
"""Picture i -> (rows, variants, k) positions of its candidates, nearest first; -1 for none. Rows stand alone."""
Columns = npt.NDArray[Any]

_COLUMNS = np.dtype(
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


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One picture's variants against others; (variants, pictures) each."""

    kind: npt.NDArray[np.int8]
    """Position in KINDS, or NOT_COMPARED."""
    refutes: npt.NDArray[np.bool_]
    settles: npt.NDArray[np.bool_]
    strength: npt.NDArray[np.float32]

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
        """row: of a cache, see _COLUMNS."""
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
        path = _cached(cache, context, pictures[i])
        rows, known = _read(path), Compared.nothing(1 + len(edits), len(pictures))
        positions: dict[bytes, list[int]] = {}
        for position, name in enumerate(names):
            positions.setdefault(name.encode(), []).append(position)
        for row in rows:
            for position in positions.get(bytes(row["reference"]), ()):
                known.put(int(row["variant"]), position, row)
        made: list[RGBArray] = []
        prepared: dict[int, Any] = {}
        fresh = []
        for variant, reference in _walk(known, [of(i) for of in asked]):
            if variant not in prepared:
                made = made or variants_of(pictures[i], carriers, edits, seed, side)
                prepared = {variant: verifier.prepare(made[variant])}  # of one variant at a time
            evidence = verifier.verify(prepared[variant], references[reference])
            fresh.append(_row(variant, names[reference], evidence))
            known.put(variant, reference, fresh[-1])
        if fresh:
            _write(path, np.concatenate([rows, np.array(fresh, _COLUMNS)]))
        return known

    found = []
    for compared in ahead(one, len(pictures), workers):
        found.append(compared)
        progress()
    return found


def _walk(known: Compared, orders: Sequence[npt.NDArray[np.intp]]) -> Iterator[tuple[int, int]]:
    """Yield what must be compared next; whoever takes it writes the outcome into `known` before it goes on."""
    for variant in range(len(known.kind)):
        for order in orders:
            for row in order[:, variant]:
                for reference in row.tolist():
                    if reference < 0:
                        break
                    if known.kind[variant, reference] == NOT_COMPARED:
                        yield variant, reference
                    if known.settles[variant, reference]:
                        break


def _row(variant: int, reference: str, evidence: Evidence) -> Columns:
    row = np.zeros((), _COLUMNS)
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
    return cache / key[:2] / f"{key}.npy"


def _read(path: Path | None) -> Columns:
    if path is not None and path.exists():
        with suppress(OSError, ValueError, EOFError, BadZipFile):  # damaged: made anew
            found: Columns = np.load(path, allow_pickle=False)
            if found.dtype == _COLUMNS:
                return found
    return np.zeros(0, _COLUMNS)


def _write(path: Path | None, rows: Columns) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
    part.replace(path)
