"""Pairs of references -> are they copies? Compares thumbnails on several threads, and remembers what they said.

Knows thumbnails and the file that remembers; the rule that decides is guard.dedup.rule.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.decode import decode
from guard.dedup.material import Material
from guard.dedup.recoloured import recoloured
from guard.dedup.rule import Comparison, Pixels, Rule, same_frame
from guard.errors import GuardError, InputError
from guard.indexes.cluster_rows import Ids
from guard.pixels import RGBArray
from guard.types import Evidence, EvidenceKind
from guard.verification.verifier import Verifier

__all__ = ["Judge", "Remembered"]

PREPARED = 256  # pictures kept ready to be compared; some 0.5 MB each with their keypoints
NOTHING: Pixels = (None, None, False, 0.0)
STEP = 512  # pairs compared before they are written down: as many are compared again after a kill


class Remembered:
    """What the pixels of pairs said, in a file that a killed run goes on from; of one version of an index alone."""

    def __init__(self, path: Path | None, of: str) -> None:
        """path: None to remember nothing on disk. of: names the version and the verifier; what another run left of
        others is dropped. Raises GuardError if the file cannot be written.
        """
        self._path = path
        try:
            self._open(of)
        except sqlite3.DatabaseError:  # cut off by a full disk: it holds nothing that cannot be found again
            if path is None:
                raise
            path.unlink(missing_ok=True)
            try:
                self._open(of)
            except sqlite3.Error as exc:
                raise GuardError(f"{path} cannot be written ({exc}); make room, or name another folder") from exc

    def _open(self, of: str) -> None:
        self._db = sqlite3.connect(self._path or ":memory:", check_same_thread=False)
        with self._db:
            self._db.execute("CREATE TABLE IF NOT EXISTS of (name TEXT)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS compared (first INTEGER, second INTEGER, kind TEXT, keypoints INTEGER, "
                "same_frame INTEGER, agreement REAL, PRIMARY KEY (first, second)) WITHOUT ROWID"
            )
            if self._db.execute("SELECT name FROM of").fetchall() != [(of,)]:
                self._db.execute("DELETE FROM of")
                self._db.execute("DELETE FROM compared")
                self._db.execute("INSERT INTO of VALUES (?)", (of,))

    def get(self, first: int, second: int) -> Pixels | None:
        sql = "SELECT kind, keypoints, same_frame, agreement FROM compared WHERE first = ? AND second = ?"
        found = self._db.execute(sql, (first, second)).fetchone()
        return (EvidenceKind(found[0]) if found[0] else None, found[1], bool(found[2]), found[3]) if found else None

    def add(self, found: dict[tuple[int, int], Pixels]) -> None:
        rows = [(*pair, kind.value if kind else None, *rest) for pair, (kind, *rest) in found.items()]
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO compared VALUES (?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as exc:
            raise GuardError(f"{self._path} cannot be written ({exc}); make room, then run the same again") from exc

    def close(self) -> None:
        self._db.close()


class Judge:
    """Use it in a `with`: it holds threads."""

    def __init__(
        self,
        rule: Rule,
        material: Material,
        *,
        verifier: Verifier | None,
        remembered: Remembered,
        workers: int,
    ) -> None:
        """verifier: None to compare no pixels."""
        self.rule, self._material = rule, material
        self._verifier, self._remembered = verifier, remembered
        self._pool = ThreadPoolExecutor(workers, "memguard-dedup")
        self._prepared = lru_cache(PREPARED)(self._prepare)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._remembered.close()

    def copies(
        self, first: Ids, second: Ids, *, on_progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> npt.NDArray[np.bool_]:
        """(p,) which pairs of ids are copies. on_progress: pairs done, and p."""
        out = np.zeros(len(first), np.bool_)
        for at in range(0, len(first), STEP):
            some = slice(at, at + STEP)
            out[some] = [self.rule.copies(one) for one in self._compare(first[some], second[some])]
            on_progress(min(at + STEP, len(first)), len(first))
        return out

    def agree(self, centre: int, others: Sequence[int]) -> list[bool]:
        """Which of the others are copies of the centre."""
        ids = np.array(others, np.int64)
        return [bool(copy) for copy in self.copies(np.minimum(ids, centre), np.maximum(ids, centre))]

    def compare(self, first: int, second: int) -> Comparison:
        """All that is known of one pair, in whichever order."""
        one, other = min(first, second), max(first, second)
        return next(self._compare(np.array([one]), np.array([other])))

    def _compare(self, first: Ids, second: Ids) -> Iterator[Comparison]:
        """first < second."""
        similarity, bits = self._material.similarity(first, second), self._material.bits(first, second)
        pairs = list(zip(first.tolist(), second.tolist(), strict=True))
        known = list(zip(pairs, similarity.tolist(), bits, strict=True))
        worth = [pair for pair, s, b in known if self._verifier is not None and self.rule.worth_a_look(s, b)]
        pixels = self._pixels(worth)
        for pair, s, b in known:
            yield Comparison.of(s, b, pixels.get(pair))

    def _pixels(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Pixels]:
        found = {pair: known for pair in pairs if (known := self._remembered.get(*pair)) is not None}
        missing = [pair for pair in pairs if pair not in found]
        new = dict(zip(missing, self._pool.map(self._look, missing), strict=True))
        self._remembered.add(new)
        return found | new

    def _look(self, pair: tuple[int, int]) -> Pixels:
        """NOTHING where either has no thumbnail that can be read, or OpenCV fails on them."""
        assert self._verifier is not None
        try:
            one, other = (self._prepared(i) for i in pair)
            if one is None or other is None:
                return NOTHING
            evidence = self._verifier.verify(one[1], other[1])
            framed = same_frame(evidence.transform)
            if framed and evidence.kind is EvidenceKind.EDITED and recoloured(_turned(one[0], evidence), other[0]):
                return EvidenceKind.SAME_TEMPLATE, None, framed, evidence.agreement
        except InputError:
            return NOTHING
        except GuardError:
            raise
        except Exception:  # OpenCV's own; descriptor and hash decide then
            return NOTHING
        keypoints = min(evidence.keypoints) if evidence.keypoints else None
        return evidence.kind, keypoints, framed, evidence.agreement

    def _prepare(self, reference: int) -> tuple[RGBArray, Any] | None:
        """Its thumbnail, and what the verifier makes of it."""
        assert self._verifier is not None
        encoded = self._material.thumbnail(reference)
        if encoded is None:
            return None
        rgb = decode(encoded, where=f"thumbnail {reference}").rgb
        return rgb, self._verifier.prepare(rgb)


def _turned(query: RGBArray, evidence: Evidence) -> RGBArray:
    """The query as the reference shows it, in frames that coincide."""
    return np.ascontiguousarray(query[:, ::-1]) if evidence.mirrored else query
