"""Related pictures alone: what a guard's decision at given thresholds makes of them, without any picture of a user."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from guard.cli.main import app
from guard.errors import ConfigError
from guard.evaluation.edits import EDITS
from guard.evaluation.entrants import Entrant, entrants_of
from guard.evaluation.kin import AS_IT_IS, LISTED, KinPairs, kin_described
from guard.evaluation.kin_decided import KinSettings, evaluate_kin, kin_standings
from guard.evaluation.related import InCommon, Related
from guard.evaluation.run import takes_part
from guard.types import Decision, Evidence, EvidenceKind, Match, Record
from tests.support.deciding import decide
from tests.support.toys import ToyEmbedder

SETTINGS = KinSettings(1, workers=1, edits=(EDITS["jpeg_30"],))
RELATIONS = ("sibling", "variant", "near")


@pytest.fixture(scope="module")
def entrants() -> dict[str, Entrant]:
    return {one.name: one for one in entrants_of("toy", ToyEmbedder())} | takes_part(["pdq"], with_baselines=False)


def test_all_is_counted_at_the_advised_thresholds_or_at_those_that_are_given(entrants: dict[str, Entrant]) -> None:
    document = evaluate_kin(entrants, ["toy"], SETTINGS)
    json.dumps(document, allow_nan=False)
    assert document["protocol"]["thresholds"] == {"toy": {"flag": 0.8, "block": 0.95}}
    names = {"toy", "toy+verifier", "toy+pdq", "toy+pdq+verifier"}
    assert set(document["false_matches"]) == names
    given = evaluate_kin(entrants, ["toy"], replace(SETTINGS, at=(-1.0, 0.8)))
    assert given["pixels"] == document["pixels"]
    for name in names:
        assert given["false_matches"][name]["0.8"] == document["false_matches"][name]["flag"]
    assert all(given["false_matches"]["toy"]["-1"][relation]["either"]["false"] == 1 for relation in RELATIONS)


def test_an_embedder_without_advice_needs_thresholds() -> None:
    entrants = {one.name: one for one in entrants_of("toy", ToyEmbedder(thresholds=None))}
    with pytest.raises(ConfigError, match="--at"):
        evaluate_kin(entrants, ["toy"], SETTINGS)


@pytest.mark.parametrize("flag", [0.3, 0.5, 0.7, 0.9])
def test_what_stands_at_a_threshold_is_what_a_guard_flags_or_blocks(flag: float) -> None:
    rng = np.random.default_rng(3)
    similarity = rng.uniform(0, 1, (40, 6)).astype(np.float32)
    pairs = KinPairs(
        tuple(range(40)),
        RELATIONS,
        ((AS_IT_IS,) * 6,) * 40,
        tuple(tuple(_evidence(rng) for _ in range(6)) for _ in range(40)),
        ((Related(0, 0, 0, 0),) * 3,) * 40,
        {"toy": similarity},
    )
    values = kin_standings(pairs, {"toy": 0.6})["toy+verifier"]
    for i in range(40):
        for j in range(6):
            match = Match(Record(0, "a", ""), float(similarity[i, j]), None, pairs.evidence[i][j])
            verdict = decide([match], flag=flag, block=max(flag, 0.6), verified=True)
            assert (verdict.decision is not Decision.ALLOW) is bool(values[i, j] >= flag)


def test_matches_are_counted_by_what_the_pair_has_in_common_and_false_ones_are_listed_first() -> None:
    n = 120
    rng = np.random.default_rng(4)
    kinds = (Related(0.9, 0, 0, 0), Related(0, 0.9, 0.9, 64), Related(0, 0, 0.9, 0), Related(0, 0, 0, 20))
    none = Related(0.4, 0.4, 0.1, 3)
    common = tuple(tuple(kinds[rng.integers(4)] if rng.random() < 0.4 else none for _ in RELATIONS) for _ in range(n))
    copy = Evidence(EvidenceKind.EDITED, inliers=20, agreement=0.7, strength=0.2)
    evidence = tuple(
        tuple(copy if rng.random() < 0.15 else Evidence(EvidenceKind.NONE) for _ in range(6)) for _ in range(n)
    )
    pairs = KinPairs(tuple(range(n)), RELATIONS, ((AS_IT_IS,) * 6,) * n, evidence, common, {})
    found = kin_described(pairs, {}, {})
    for i, relation in enumerate(RELATIONS):
        for of in InCommon:
            rows = [k for k in range(n) if common[k][i].in_common is of]
            counted = found["pixels"][relation][of.value]
            assert counted["programs"] == len(rows) == found["in_common"][relation][of.value] > 0
            assert counted["false"] == sum(evidence[k][i].is_copy or evidence[k][3 + i].is_copy for k in rows)
    of_other_content = [one["in_common"] == "other_content" for one in found["listed"]]
    assert len(of_other_content) == LISTED
    assert of_other_content == sorted(of_other_content, reverse=True)
    counted = sum(found["pixels"][relation]["other_content"]["false"] for relation in ("sibling", "variant"))
    assert 0 < counted <= sum(of_other_content)  # a program counts once, and is listed as it is and edited
    assert {one["relation"] for one in found["listed"]} == {"sibling", "variant"}


def _evidence(rng: np.random.Generator) -> Evidence:
    if rng.random() < 0.2:
        return Evidence(EvidenceKind.EDITED, inliers=20, agreement=0.7, strength=float(rng.uniform(0, 1)))
    kind = EvidenceKind(rng.choice([EvidenceKind.NONE.value, EvidenceKind.SAME_TEMPLATE.value]))
    points = (int(rng.integers(30, 300)), int(rng.integers(30, 300)))
    return Evidence(kind, agreement=0.4, keypoints=points, strength=-float(rng.uniform(0, 0.5)) - 1e-6)


def test_the_command_writes_what_it_prints(tmp_path: Path) -> None:
    target = tmp_path / "kin.json"
    command = ["eval", "kin", "--programs", "1", "--at", "0.7", "--workers", "1", "--json", str(target)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    assert document["programs"] == 1
    assert "procedural+pdq+verifier at 0.7" in result.stdout
    assert document["false_matches"]["default"] == document["false_matches"]["procedural"]
    missing = CliRunner().invoke(app, ["eval", "kin", "--json", str(tmp_path / "no" / "kin.json")])
    assert missing.exit_code == 2
