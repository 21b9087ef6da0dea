"""The candidates of one image, nearest first, compared until one settles the matter or time is up.

Knows the index's thumbnails, originals in their place, and what was prepared of them; no thresholds of a decision.
What cannot be compared is said, and never an error: the similarity is still there to decide.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from guard.decode import decode
from guard.errors import GuardError, IndexLoadError, InputError, MissingExtraError
from guard.indexes.base import SupportsKeypoints, SupportsThumbnails
from guard.originals import OriginalError, Originals, unread
from guard.pixels import ImageBatch, RGBArray
from guard.types import Evidence, Match
from guard.verification.walk import Walk
from guard.verification.weigh import settles

if TYPE_CHECKING:
    from guard.verification.verifier import Verifier

__all__ = ["CANDIDATES", "KEPT", "Examined", "Examiner"]

KEPT = 512  # prepared references; some 0.3 MB each with their keypoints
CANDIDATES = 30  # looked at for one image, unless something else is asked for; a few of them are compared in full


@dataclass(frozen=True, slots=True)
class Examined:
    """The candidates of one image after their pixels were compared."""

    candidates: tuple[Match, ...]
    """All that were given, in their order; those that were compared have evidence."""
    verified: bool | None
    """True: a copy was found, or all that could matter were compared. False: not all could be. None: none mattered."""
    reason: str = ""
    """Of False: why, in words."""


class Examiner:
    """Safe for threads.

    index: where the references' thumbnails come from, and their keypoints if it keeps some; an index without any
    thumbnails makes nothing verified.
    verifier: None for `PixelVerifier`, made when it is first needed.
    kept: how many prepared references stay in memory; the least recently used go first.
    originals: read where the index has no thumbnail of a reference; None: they are not.
    """

    def __init__(
        self, index: Any, verifier: Verifier | None = None, *, kept: int = KEPT, originals: Originals | None = None
    ) -> None:
        self._verifier = verifier
        self.originals = originals
        self._thumbnails = index if isinstance(index, SupportsThumbnails) else None
        self._stored = index if isinstance(index, SupportsKeypoints) else None
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._most = kept
        self._lock = threading.Lock()

    @property
    def verifier(self) -> Verifier | None:
        """None until the first comparison, if none was given."""
        return self._verifier

    def ready(self) -> Verifier:
        """Raises MissingExtraError if the verifier lacks a package."""
        with self._lock:
            if self._verifier is None:
                from guard.verification.verifier import PixelVerifier

                self._verifier = PixelVerifier()
            return self._verifier

    def examine(
        self,
        picture: ImageBatch,
        candidates: Sequence[Match],
        *,
        gate: Callable[[Match], float],
        conclusive: Callable[[Match], bool] = lambda _: True,
        missed: Callable[[Match], bool] = lambda _: True,
        until: float,
        most: int = CANDIDATES,
    ) -> Examined:
        """Compare the candidates whose similarity is at least their gate, at most so many of them, nearest first.

        picture: a batch of one; taken off its device only if there is something to compare.
        conclusive: whether a strong copy of this one makes the others not matter.
        missed: whether it is to be said of this one that it was not compared, for want of a thumbnail or of `most`.
        until: time.perf_counter() from which no further comparison begins; one that is running is not broken off.
        Raises MissingExtraError where the verifier lacks a package; nothing else.
        """
        worth = sorted((m for m in candidates if m.similarity >= gate(m)), key=lambda m: -m.similarity)
        if not worth:
            return Examined(tuple(candidates), None)
        verifier = self.ready()
        reasons = ["more candidates than are compared"] if any(map(missed, worth[most:])) else []
        matches, references = self._references(verifier, worth[:most], missed, until, reasons)
        if not matches and not reasons:
            return Examined(tuple(candidates), None)
        found: dict[int, Evidence] = {}
        conclusion = False
        if matches:
            try:
                query = verifier.prepare(picture.as_arrays()[0])
                walk = Walk(verifier, query, references, lambda: time.perf_counter() < until)
                for i in walk.order():
                    if time.perf_counter() >= until:
                        break
                    evidence = _compared(verifier, query, references[i], reasons)
                    if evidence is not None:
                        found[i] = evidence
                        conclusion = settles(evidence) and conclusive(matches[i])
                    if conclusion:
                        break
                else:
                    found |= {i: evidence for i, evidence in walk.dismissed() if i not in found}
            except GuardError:
                raise
            except Exception as exc:  # OpenCV's own; the similarity still decides
                reasons.append(f"comparing failed ({type(exc).__name__})")
            if not conclusion and not reasons and len(found) < len(matches):
                reasons.append("out of time")
        copied = any(evidence.is_copy for evidence in found.values())
        of = {id(matches[i]): replace(matches[i], evidence=evidence) for i, evidence in found.items()}
        seen = tuple(of.get(id(match), match) for match in candidates)
        return Examined(seen, copied or not reasons, "" if copied else ", ".join(dict.fromkeys(reasons)))

    def _references(
        self,
        verifier: Verifier,
        worth: Sequence[Match],
        missed: Callable[[Match], bool],
        until: float,
        reasons: list[str],
    ) -> tuple[list[Match], list[Any]]:
        """Those that can be compared, and what is prepared of them; why the others cannot goes to reasons."""
        matches, prepared = [], []
        for match in worth:
            if time.perf_counter() >= until:
                reasons.append("out of time")
                break
            try:
                reference = self._prepared(verifier, match.record.id)
            except OriginalError as exc:
                if missed(match):
                    reasons.append(unread(exc))
                continue
            except (InputError, IndexLoadError) as exc:
                reasons.append(unread(exc))
                continue
            if reference is None:
                if missed(match):
                    reasons.append("no thumbnail")
                continue
            matches.append(match)
            prepared.append(reference)
        return matches, prepared

    def thumbnail(self, reference: int) -> bytes | None:
        """The encoded thumbnail of a reference, made of its original if none is stored; None without one.

        Raises IndexLoadError for a damaged file, OriginalError (an InputError) for an original that cannot be had.
        """
        stored = self._stored_thumbnail(reference)
        return self.originals.thumbnail(reference) if stored is None and self.originals is not None else stored

    def compare(self, picture: ImageBatch, match: Match) -> tuple[Evidence | None, str]:
        """What the pixels of one match say, whatever its similarity; None, and why, if they cannot be compared.

        picture: a batch of one. Raises nothing.
        """
        try:
            verifier = self.ready()
            reference = self._prepared(verifier, match.record.id)
            if reference is None:
                return None, "no thumbnail to compare with"
            return verifier.verify(verifier.prepare(picture.as_arrays()[0]), reference), ""
        except MissingExtraError:
            return None, "OpenCV is not installed to compare pixels"
        except (InputError, IndexLoadError) as exc:
            return None, unread(exc)
        except Exception as exc:  # OpenCV's own
            return None, f"comparing failed ({type(exc).__name__})"

    def explain(self, picture: RGBArray, match: Match, *, originals: bool = False) -> tuple[RGBArray, Evidence] | None:
        """The thumbnail of a match, and its evidence, compared now if it was not; None without a thumbnail.

        originals: whether one that was made of an original may be shown: who keeps no thumbnails may not want pictures
        to be seen by whoever reads a page. Raises InputError or IndexLoadError if the thumbnail is damaged.
        """
        encoded = self.thumbnail(match.record.id) if originals else self._stored_thumbnail(match.record.id)
        if encoded is None:
            return None
        reference = decode(encoded, where=f"thumbnail {match.record.id}").rgb
        return reference, match.evidence or self.ready().verify(picture, reference)

    def _stored_thumbnail(self, reference: int) -> bytes | None:
        return self._thumbnails.thumbnail(reference) if self._thumbnails else None

    def _prepared(self, verifier: Verifier, reference: int) -> Any:
        with self._lock:
            if reference in self._kept:
                self._kept.move_to_end(reference)
                return self._kept[reference]
        prepared = self._restored(verifier, reference)
        if prepared is None:
            encoded = self.thumbnail(reference)
            if encoded is None:
                return None
            prepared = verifier.prepare(decode(encoded, where=f"thumbnail {reference}").rgb)
        with self._lock:
            self._kept[reference] = prepared
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return prepared

    def _restored(self, verifier: Verifier, reference: int) -> Any:
        """None without stored keypoints, or with damaged or older ones: the thumbnail says the same."""
        from guard.verification.verifier import SupportsStored

        if self._stored is None or not isinstance(verifier, SupportsStored):
            return None
        try:
            stored = self._stored.keypoints(reference)
            return None if stored is None else verifier.restore(stored, partial(self._pixels, reference))
        except (InputError, IndexLoadError):
            return None

    def _pixels(self, reference: int) -> RGBArray:
        encoded = self.thumbnail(reference)
        if encoded is None:
            raise IndexLoadError(f"the thumbnail {reference} is gone")
        return decode(encoded, where=f"thumbnail {reference}").rgb


def _compared(verifier: Verifier, query: Any, reference: Any, reasons: list[str]) -> Evidence | None:
    try:
        return verifier.verify(query, reference)
    except (InputError, IndexLoadError) as exc:  # of a reference whose pixels were not needed before
        reasons.append(unread(exc))
        return None
    except GuardError:
        raise
    except Exception as exc:  # OpenCV's own; the other references may do
        reasons.append(f"comparing failed ({type(exc).__name__})")
        return None
