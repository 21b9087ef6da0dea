"""The guard's decision as a similarity: pair by pair what weigh.standing says; the candidates that a check compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from guard.embedders.base import unit_rows
from guard.evaluation.comparing import KINDS, NOT_COMPARED, Compared, Look, compare_all
from guard.evaluation.edits import EDITS
from guard.evaluation.evidence_found import MISSED, evidence_found
from guard.evaluation.pictures import PictureFile
from guard.evaluation.protocol import Plan, plan
from guard.evaluation.scores import Embedded, inner_products, score
from guard.evaluation.verified import Verified, looked, nearest, standings
from guard.types import Evidence, EvidenceKind, Match, Record
from guard.verification.verifier import PixelVerifier
from guard.verification.weigh import refutes, settles, standing
from tests.support.photographs import photograph

EDIT = [EDITS["blur"]]
VARIANTS, N = 3, 12


def evidence(rng: np.random.Generator) -> Evidence:
    kind = EvidenceKind(rng.choice([k.value for k in EvidenceKind]))
    copy = kind in (EvidenceKind.NEAR_IDENTICAL, EvidenceKind.EDITED, EvidenceKind.PARTIAL)
    keypoints = (int(rng.integers(120)), int(rng.integers(120))) if rng.random() < 0.8 else None
    strength = rng.uniform(0, 1) if copy else rng.uniform(-1, -0.01)
    return Evidence(
        kind, inliers=int(rng.integers(40)), agreement=rng.uniform(), keypoints=keypoints, strength=strength
    )


def compared(seed: int, variants: int = VARIANTS, n: int = N) -> tuple[Compared, dict[tuple[int, int], Evidence]]:
    rng, found, known = np.random.default_rng(seed), Compared.nothing(variants, n), {}
    for v in range(variants):
        for j in rng.permutation(n)[: n // 2].tolist():
            one = known[v, j] = evidence(rng)
            found.kind[v, j], found.strength[v, j] = KINDS.index(one.kind), one.strength
            found.refutes[v, j], found.settles[v, j] = refutes(one), settles(one)
    return found, known


@pytest.mark.parametrize("block", [0.4, float("inf")])
def test_standings_are_those_of_the_guard(block: float) -> None:
    rng = np.random.default_rng(1)
    found, known = compared(1)
    similarity = rng.uniform(-1, 1, (VARIANTS, N)).astype(np.float32)
    bits = rng.integers(20, 60, (VARIANTS, N)).astype(np.float32)
    seen = np.where(found.kind != NOT_COMPARED, Look.COMPARED, Look.NONE).astype(np.uint8)
    dismissed = {}
    for v, j in np.argwhere(seen == Look.NONE)[::2].tolist():  # some at a glance, with or without keypoints enough
        dismissed[v, j] = Evidence(EvidenceKind.NONE, keypoints=(200, 100 if j % 2 else 20))
        seen[v, j] = Look.REFUTED if j % 2 else Look.DISMISSED
    for with_bits in (bits, None):
        values = standings(similarity, found, seen, block, with_bits)
        for v in range(VARIANTS):
            for j in range(N):
                same = int(bits[v, j]) if with_bits is not None and bits[v, j] <= 31 else None
                one = Match(Record(j, "", ""), float(similarity[v, j]), same, known.get((v, j), dismissed.get((v, j))))
                assert values[v, j] == pytest.approx(standing(one, block=block), abs=1e-5)


def test_what_became_of_candidates_is_put_at_their_places() -> None:
    order = np.array([[4, 3, 2, -1], [0, -1, -1, -1]])
    looks = np.array([[1, 2, 0, 0], [3, 0, 0, 0]], np.uint8)
    found = looked(order, looks, 6)
    assert found.tolist() == [[0, 0, 0, 2, 1, 0], [3, 0, 0, 0, 0, 0]]


class Counting(PixelVerifier):
    def __init__(self) -> None:
        super().__init__()
        self.compared: list[int] = []
        self.looks = 0

    def verify(self, query: Any, reference: Any) -> Evidence:
        self.compared.append(reference.width)
        return super().verify(query, reference)

    def shortlist(self, *args: Any, **keywords: Any) -> Any:
        self.looks += 1
        return super().shortlist(*args, **keywords)


def test_candidates_are_looked_at_until_one_settles_and_never_twice(tmp_path: Path) -> None:
    """Seven photographs; the query is the first of them, edited, and comes last among the candidates."""
    names = ("astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "retina")
    files = []
    for i, name in enumerate(names):
        path = tmp_path / f"{name}.png"
        Image.fromarray(photograph(name, 200)).save(path)
        files.append(PictureFile(path, "photographs", f"{i:064}", i))
    order = np.array([[[5, 4, 3, 2, 1, 0]] * 2, [[5, 4, 3, 2, 1, -1]] * 2])  # two splits: one without the copy

    def asked(picture: int) -> np.ndarray:
        return order if picture == 0 else np.full_like(order, -1)

    def run(verifier: PixelVerifier) -> list[Compared]:
        return compare_all(
            files, [photograph("page", 200)], EDIT, [asked], verifier, seed=0, side=256, cache=tmp_path / "cache",
            workers=1,
        )  # fmt: skip

    verifier = Counting()
    found = run(verifier)[0]
    with_copy, without = found.looks[0]
    assert with_copy[:, 5].tolist() == [Look.COMPARED] * 2
    assert found.settles[:, 0].all()
    assert (without[:, :5] != Look.NONE).all()  # nothing settles: each was compared or dismissed
    assert (without[:, 5] == Look.NONE).all()
    assert (without == Look.REFUTED).any()
    assert not found.copies[:, 1:].any()
    again = Counting()
    kept = run(again)[0]
    assert (again.compared, again.looks) == ([], 0)
    for name in ("kind", "refutes", "settles", "strength"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(found, name))
    np.testing.assert_array_equal(kept.looks[0], found.looks[0])


@pytest.fixture(scope="module")
def drawn() -> Plan:
    return plan([PictureFile(Path(f"{i}"), "photographs", f"{i:064}", i) for i in range(16)], splits=2)


def embedded_of(drawn: Plan) -> Embedded:
    rng, n = np.random.default_rng(2), len(drawn.pictures)
    rows = unit_rows(rng.standard_normal((n, 8)).astype(np.float32))[:, None]
    return Embedded(rows, [np.stack([rows[i], rng.standard_normal((1, 8)).astype(np.float32)]) for i in range(n)])


def test_the_nearest_are_references_of_the_split_in_order(drawn: Plan) -> None:
    of = inner_products(embedded_of(drawn))
    order = nearest(of, drawn, 4)
    for i in range(len(drawn.pictures)):
        for split, rows in enumerate(order(i)):
            for v, row in enumerate(rows):
                assert drawn.is_reference[split][row].all()
                values = of(i)[0, v]
                expected = sorted(np.flatnonzero(drawn.is_reference[split]), key=lambda j, s=values: -s[j])[:4]
                assert row.tolist() == expected
    wide = nearest(of, drawn, 99)(0)
    assert (wide == -1).any()
    assert (wide[..., : int(drawn.is_reference.sum(axis=1).min())] >= 0).all()


def test_a_copy_outside_the_candidates_keeps_its_similarity(drawn: Plan) -> None:
    embedded, n = embedded_of(drawn), len(drawn.pictures)
    every = [Compared.nothing(2, n) for _ in range(n)]
    for i, one in enumerate(every):
        one.kind[:, i], one.strength[:, i] = KINDS.index(EvidenceKind.EDITED), 0.5
    order = nearest(inner_products(embedded), drawn, 2)
    for one in every:
        one.looks.append(np.full((2, 2, 2), Look.COMPARED, np.uint8))
    verified = Verified("toy", 2, float("inf"), every)
    assert verified.name == "toy+verifier"
    similarities = verified.similarities({"toy": embedded}, drawn)
    scores = score(similarities, drawn.sources, drawn.is_reference)
    for i in range(n):
        for split in range(2):
            if drawn.is_reference[split, i]:
                assert scores.own[split, i, 0] == 1.5  # as it is, it is always its own nearest
                inside = i in order(i)[split, 1]
                assert bool(scores.own[split, i, 1] == 1.5) == inside
    found = evidence_found(drawn, EDIT, every, order)
    own = found["own"]["photographs"]["blur"]
    assert own["edited"] + own[MISSED] == pytest.approx(1)
    assert 0 < own[MISSED] < 1
    wrong = found["wrong"]["photographs"]
    assert wrong["untouched"]["false"] == wrong["edited"]["false"] == 0
    assert wrong["untouched"]["queries"] == int((~drawn.is_reference).sum())
    stranger = next(i for i in range(n) if not drawn.is_reference[0, i])
    taken = int(order(stranger)[0, 0, 0])
    every[stranger].strength[0, taken] = 0.25
    again = evidence_found(drawn, EDIT, every, order)
    assert again["wrong"]["photographs"]["untouched"]["false"] >= 1
    assert again["wrong"]["photographs"]["untouched"]["false_sources"] == 1
    assert again["listed"][0]["reference"] == str(taken) or again["listed"][0]["query"] == str(stranger)
