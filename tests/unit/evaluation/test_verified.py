"""The guard's decision as a similarity: pair by pair what weigh.standing says; the candidates that a check compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.embedders.base import unit_rows
from guard.evaluation.comparing import KINDS, NOT_COMPARED, Compared
from guard.evaluation.edits import EDITS
from guard.evaluation.evidence_found import MISSED, evidence_found
from guard.evaluation.pictures import PictureFile
from guard.evaluation.protocol import Plan, plan
from guard.evaluation.scores import Embedded, inner_products, score
from guard.evaluation.verified import Verified, nearest, standings, walked
from guard.types import Evidence, EvidenceKind, Match, Record
from guard.verification.weigh import refutes, settles, standing

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
    seen = found.kind != NOT_COMPARED
    for with_bits in (bits, None):
        values = standings(similarity, found, seen, block, with_bits)
        for v in range(VARIANTS):
            for j in range(N):
                same = int(bits[v, j]) if with_bits is not None and bits[v, j] <= 31 else None
                one = Match(Record(j, "", ""), float(similarity[v, j]), same, known.get((v, j)))
                assert values[v, j] == pytest.approx(standing(one, block=block), abs=1e-5)


def test_candidates_are_compared_until_one_settles() -> None:
    found = Compared.nothing(1, 6)
    found.settles[0, 3] = True
    order = np.array([[4, 3, 2, -1]])
    assert np.flatnonzero(walked(order, found)[0]).tolist() == [3, 4]
    assert np.flatnonzero(walked(np.array([[4, 2, -1, -1]]), found)[0]).tolist() == [2, 4]


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
    verified = Verified("toy", 2, float("inf"), every)
    assert verified.name == "toy+verifier"
    similarities = verified.similarities({"toy": embedded}, drawn)
    scores = score(similarities, drawn.sources, drawn.is_reference)
    order = nearest(inner_products(embedded), drawn, 2)
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
