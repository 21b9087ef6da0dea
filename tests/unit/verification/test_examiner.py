"""The order, the budget and the thumbnails of comparing candidates."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from guard.pixels import ImageBatch, to_batch
from guard.types import Evidence, EvidenceKind, Match, Record
from guard.verification.examiner import Examiner
from guard.verification.verifier import PixelVerifier, Verifier
from tests.support.photographs import photograph

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
FOREVER = float("inf")


def jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


class Thumbnails:
    """What an index is to the examiner."""

    def __init__(self, names: tuple[str, ...] = NAMES) -> None:
        self.stored = {i: jpeg(photograph(name)) for i, name in enumerate(names)}
        self.asked: list[int] = []

    def thumbnail(self, id: int) -> bytes | None:  # noqa: A002 - the protocol's word
        self.asked.append(id)
        return self.stored.get(id)


class Counting:
    """The pixel verifier, and how often it was asked; slow on demand."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.inner = PixelVerifier()
        self.prepared = self.verified = 0
        self.pause_s = pause_s

    def prepare(self, picture: Any) -> Any:
        self.prepared += 1
        return self.inner.prepare(picture)

    def verify(self, query: Any, reference: Any) -> Evidence:
        self.verified += 1
        if self.pause_s:
            time.sleep(self.pause_s)
        return self.inner.verify(query, reference)


class Broken(Counting):
    def verify(self, query: Any, reference: Any) -> Evidence:
        raise RuntimeError("no")


def candidates(*similarities: float) -> list[Match]:
    return [Match(Record(i, f"{i}.png", ""), s) for i, s in enumerate(similarities)]


def at(value: Any) -> Callable[[Match], Any]:
    """The same of every match."""
    return lambda _: value


def query(name: str = "coffee") -> ImageBatch:
    return to_batch([photograph(name, 320)])


def test_the_first_copy_ends_the_comparison() -> None:
    verifier = Counting()
    assert isinstance(verifier, Verifier)
    found = Examiner(Thumbnails(), verifier).examine(
        query(), candidates(0.6, 0.5, 0.45, 0.4), gate=at(0.1), until=FOREVER
    )
    assert found.verified is True
    assert [m.evidence.kind if m.evidence else None for m in found.candidates] == [
        EvidenceKind.NONE,
        EvidenceKind.NONE,
        EvidenceKind.NEAR_IDENTICAL,
        None,
    ]
    assert verifier.verified == 3


def test_only_what_reaches_the_gate_is_compared_nearest_first() -> None:
    thumbnails = Thumbnails()
    found = Examiner(thumbnails, Counting()).examine(
        query("rocket"), candidates(0.3, 0.5, 0.2), gate=at(0.3), until=FOREVER
    )
    assert thumbnails.asked == [1, 0]
    assert [m.evidence is not None for m in found.candidates] == [True, True, False]
    nothing = Examiner(thumbnails, Counting()).examine(query(), candidates(0.1), gate=at(0.3), until=FOREVER)
    assert nothing.verified is None
    assert nothing.candidates == tuple(candidates(0.1))


def test_no_more_than_most_are_compared() -> None:
    verifier = Counting()
    found = Examiner(Thumbnails(), verifier).examine(
        query(), candidates(0.5, 0.5, 0.5), gate=at(0), until=FOREVER, most=2
    )
    assert verifier.verified == 2
    assert found.verified is False
    assert "more candidates" in found.reason


def test_references_are_prepared_once_and_forgotten_in_turn() -> None:
    verifier = Counting()
    examiner = Examiner(Thumbnails(), verifier, kept=2)
    for ids in ((0, 1), (1,), (3,), (0,)):
        wanted = [Match(Record(i, "", ""), 0.5) for i in ids]
        examiner.examine(query(), wanted, gate=at(0), until=FOREVER)
    assert verifier.prepared == 4 + 4  # four queries; 0, 1, 3 and, forgotten meanwhile, 0 again


def test_without_thumbnails_nothing_is_verified() -> None:
    for index in (object(), Thumbnails(())):
        found = Examiner(index, Counting()).examine(query(), candidates(0.9), gate=at(0), until=FOREVER)
        assert found.verified is False
        assert found.reason == "no thumbnail"
        assert found.candidates[0].evidence is None


def test_what_is_not_missed_is_not_said() -> None:
    found = Examiner(Thumbnails(()), Counting()).examine(
        query(), candidates(0.9, 0.2), gate=at(0), missed=lambda match: match.similarity > 0.95, until=FOREVER
    )
    assert (found.verified, found.reason) == (None, "")
    many = Examiner(Thumbnails(), Counting()).examine(
        query("rocket"), candidates(0.9, 0.2), gate=at(0), missed=lambda match: match.similarity > 0.5, until=FOREVER,
        most=1,
    )  # fmt: skip
    assert (many.verified, many.reason) == (True, "")


def test_out_of_time_is_said() -> None:
    verifier = Counting()
    found = Examiner(Thumbnails(), verifier).examine(
        query(), candidates(0.9), gate=at(0), until=time.perf_counter() - 1
    )
    assert (found.verified, found.reason, verifier.verified) == (False, "out of time", 0)


def test_a_damaged_thumbnail_and_a_broken_verifier_are_said_and_no_errors() -> None:
    thumbnails = Thumbnails()
    thumbnails.stored[0] = thumbnails.stored[0][:100]
    found = Examiner(thumbnails, Counting()).examine(query("rocket"), candidates(0.9, 0.8), gate=at(0), until=FOREVER)
    assert found.verified is False
    assert found.reason == "a thumbnail cannot be read"
    assert found.candidates[1].evidence is not None
    found = Examiner(Thumbnails(), Broken()).examine(query(), candidates(0.9, 0.8), gate=at(0), until=FOREVER)
    assert (found.verified, found.reason) == (False, "comparing failed (RuntimeError)")


def test_a_copy_makes_up_for_what_could_not_be_compared() -> None:
    thumbnails = Thumbnails()
    del thumbnails.stored[0]
    found = Examiner(thumbnails, Counting()).examine(query("chelsea"), candidates(0.9, 0.8), gate=at(0), until=FOREVER)
    assert found.verified is True
    assert found.reason == ""


def test_explain_compares_what_the_check_did_not() -> None:
    examiner = Examiner(Thumbnails(), Counting())
    plain = candidates(0.9)[0]
    explained = examiner.explain(photograph("astronaut", 320), plain)
    assert explained is not None
    assert explained[0].shape == photograph("astronaut").shape
    assert explained[1].kind is EvidenceKind.NEAR_IDENTICAL
    assert examiner.explain(photograph("astronaut"), Match(Record(99, "", ""), 0.9)) is None
