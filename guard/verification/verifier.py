"""One query and one reference -> evidence: cheap comparisons first, dear ones only while nothing is found.

Knows the order of the steps; each step lives in a file of its own. Nothing here is random: a pair of pictures always
gives the same evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from guard.pixels import RGBArray
from guard.types import Evidence, EvidenceKind
from guard.verification import dense
from guard.verification.agreement import Comparison, compare
from guard.verification.classify import judged
from guard.verification.features import Prepared
from guard.verification.geometry import align
from guard.verification.limits import Limits
from guard.verification.opencv import opencv
from guard.verification.repeats import shown_elsewhere
from guard.verification.screening import WHOLE_CORRELATION, Shortlist
from guard.verification.stored import restore

__all__ = ["PixelVerifier", "SupportsShortlist", "SupportsStored", "Verifier", "identity_of"]

PART_CORRELATION = 0.5
_DECIDING = ("examiner.py", "picture.py", "stored.py", "weigh.py")  # what makes use of evidence, and does not change it
FEW_KEYPOINTS = 60  # on either side: a copy could have gone unseen, and a part is looked for without them


@runtime_checkable
class Verifier(Protocol):
    """Compares pixels. Thread-safe."""

    def prepare(self, picture: RGBArray) -> Any:
        """(h, w, 3) uint8 RGB -> what `verify` also takes in its place; worth keeping if it is compared often."""
        ...

    def verify(self, query: Any, reference: Any) -> Evidence:
        """Say whether the query shows the reference. Each is (h, w, 3) uint8 RGB of any size, or prepared."""
        ...


@runtime_checkable
class SupportsShortlist(Protocol):
    """A verifier that can tell at a glance which of many references are worth `verify`."""

    def shortlist(self, query: Any, references: Sequence[Any], in_time: Callable[[], bool]) -> Shortlist:
        """query, references: prepared; see Shortlist."""
        ...

    def dismissed(self, query: Any, reference: Any) -> Evidence:
        """What a glance in vain says."""
        ...


@runtime_checkable
class SupportsStored(Protocol):
    """A verifier that makes use of what an index keeps of a reference beside its thumbnail."""

    def restore(self, stored: bytes, load: Callable[[], RGBArray]) -> Any:
        """What `prepare` makes of the picture that load gives, without it as long as it is not needed.

        stored: see guard.verification.stored. Raises InputError for what was made in another way, or is damaged.
        """
        ...


class PixelVerifier:
    """Structure, keypoints and a dense fallback; needs OpenCV.

    limits: thresholds of the kinds. Raises MissingExtraError without OpenCV.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        opencv()
        self.limits = limits or Limits()

    def __repr__(self) -> str:
        return f"PixelVerifier({self.limits!r})"

    def prepare(self, picture: RGBArray) -> Prepared:
        return Prepared(picture)

    def restore(self, stored: bytes, load: Callable[[], RGBArray]) -> Prepared:
        """See SupportsStored."""
        return restore(stored, load)

    def verify(self, query: RGBArray | Prepared, reference: RGBArray | Prepared) -> Evidence:
        """See Verifier.verify. A picture too small or too plain to compare gives kind `none`."""
        q = query if isinstance(query, Prepared) else Prepared(query)
        r = reference if isinstance(reference, Prepared) else Prepared(reference)
        whole = dense.whole(q, r)
        laid: _Found | None = None
        if whole.correlation >= WHOLE_CORRELATION:
            laid = _found(q, r, dense.refined(q, r, whole.matrix))
            if laid is not None:
                evidence = self._evidence(laid)
                if evidence.is_copy:
                    return evidence
        counts = (len(q.keypoints), len(r.keypoints))
        fewest = min(counts)
        few = fewest < FEW_KEYPOINTS
        aligned = align(q.keypoints, r.keypoints)
        founds = [laid, _found(q, r, aligned.matrix, aligned.inliers) if aligned else None]
        if few and not any(self._evidence(f, fewest).is_copy for f in founds if f is not None):
            part = dense.part(q, r)
            if part.correlation >= PART_CORRELATION:
                founds.append(_found(q, r, dense.refined(q, r, part.matrix)))
        answers = [self._evidence(f, fewest) for f in founds if f is not None]
        best = max(answers, key=_rank, default=Evidence(EvidenceKind.NONE))
        return replace(best, keypoints=counts)

    def shortlist(
        self, query: Prepared, references: Sequence[Prepared], in_time: Callable[[], bool] = lambda: True
    ) -> Shortlist:
        """See SupportsShortlist."""
        return Shortlist(query, references, few_keypoints=FEW_KEYPOINTS, in_time=in_time)

    def dismissed(self, query: Prepared, reference: Prepared) -> Evidence:
        """Nothing was found; as in `verify`, with few keypoints that means little."""
        return Evidence(EvidenceKind.NONE, keypoints=(len(query.keypoints), len(reference.keypoints)))

    def _evidence(self, found: _Found, keypoints: int | None = None) -> Evidence:
        """keypoints: of the picture with fewer; None if nobody looked."""
        comparison, unit = found.comparison, found.unit
        kind, strength = judged(
            comparison,
            inliers=found.inliers,
            few_keypoints=keypoints is not None and keypoints < FEW_KEYPOINTS,
            upright=_upright(unit),
            limits=self.limits,
            keypoints=keypoints or 0,
            moved=dense.moved(unit),
            repeats=found.repeats,
            simple=found.simple,
        )
        a, b, c, d, e, f = (float(value) for value in unit.ravel())
        return Evidence(
            kind,
            transform=(a, b, c, d, e, f),
            inliers=found.inliers,
            copied_area_query=comparison.copied_query,
            copied_area_reference=comparison.copied_reference,
            mask=comparison.mask,
            tiled_l2=comparison.tiled_l2,
            agreement=comparison.agreement,
            strength=strength,
        )


def identity_of(verifier: Verifier | None = None) -> str:
    """Changes whenever evidence may: with the limits and the code of a `PixelVerifier` (None: with its own limits).

    Of another class its name and repr are all that is known.
    """
    if verifier is None:
        said = f"PixelVerifier({Limits()!r})"
    else:
        said = (
            f"{type(verifier).__module__}.{verifier!r}" if not isinstance(verifier, PixelVerifier) else repr(verifier)
        )
    return hashlib.sha256(f"{_code()}\n{said}".encode()).hexdigest()[:16]


@cache
def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in _DECIDING:
            digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """One way to lay the reference on the query, and what it shows."""

    comparison: Comparison
    unit: npt.NDArray[np.float64]
    """(2, 3) in shares of the sides; see Evidence.transform."""
    inliers: int
    repeats: Callable[[float], bool]
    """Whether both pictures show this share of their structure in another place, on average."""
    simple: Callable[[int], bool]
    """Whether the reference has fewer keypoints than this."""


def _found(query: Prepared, reference: Prepared, matrix: npt.NDArray[np.float64], inliers: int = 0) -> _Found | None:
    comparison = compare(query, reference, matrix)
    if comparison is None:
        return None
    unit = dense.in_shares(matrix, query, reference)

    def repeats(share: float) -> bool:
        theirs = shown_elsewhere(reference)
        return theirs + 1 >= 2 * share and theirs + shown_elsewhere(query) >= 2 * share

    return _Found(comparison, unit, inliers, repeats, lambda keypoints: len(reference.keypoints) < keypoints)


def _upright(unit: npt.NDArray[np.float64]) -> bool:
    """True if right stays right and down stays down."""
    a, b, d, e = unit[0, 0], unit[0, 1], unit[1, 0], unit[1, 1]
    return bool(a > 4 * abs(b) and e > 4 * abs(d))


def _rank(evidence: Evidence) -> tuple[int, float]:
    """A copy before a template, a template before nothing, then the stronger."""
    return (2 if evidence.is_copy else int(evidence.kind is EvidenceKind.SAME_TEMPLATE), evidence.strength)
