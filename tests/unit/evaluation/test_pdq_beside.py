"""PDQ beside a descriptor: the combined similarity, what PDQ alone says, and the document, against plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guard.embedders.pdq import BITS
from guard.evaluation.edits import EDITS
from guard.evaluation.entrants import entrants_of
from guard.evaluation.intervals import wilson
from guard.evaluation.pdq_beside import PDQ, PdqBeside, called_identical, identical_bits, pdq_beside
from guard.evaluation.pictures import PictureFile
from guard.evaluation.protocol import Plan, plan
from guard.evaluation.run import Settings, evaluate_descriptors, takes_part
from guard.evaluation.scores import Embedded
from tests.support.toys import ToyEmbedder, picture

SOME = [EDITS[name] for name in ("jpeg_30", "grey", "flip_horizontal", "inset_0.6")]


def made(seed: int = 0) -> tuple[Plan, dict[str, Embedded]]:
    """24 pictures; hashes that differ by few or many bits, one without a hash; 2 views of 3 edits and itself."""
    rng = np.random.default_rng(seed)
    files = [PictureFile(Path(f"{i}"), f"group{i // 12}", f"{i:064}", i) for i in range(24)]
    drawn = plan(files, splits=2, seed=seed)
    n = len(drawn.pictures)
    base = rng.random((n, BITS)) < 0.5
    base[5] = base[4]  # strangers that PDQ takes for one another
    base[5, :20] ^= True

    def vectors(bits: np.ndarray) -> np.ndarray:
        return np.where(bits, 1 / 16, -1 / 16).astype(np.float32)

    queries = []
    for i in range(n):
        views = np.stack([np.stack([base[i] ^ (rng.random(BITS) < noise), rng.random(BITS) < 0.5]) for noise in
                          (0, 0.02, 0.12, 0.3)])  # fmt: skip
        queries.append(vectors(views) * np.float32(i != 7))  # as an unusable query is
    rough = [rng.standard_normal((4, 1, 6)).astype(np.float32) / 9 for _ in range(n)]
    references = rng.standard_normal((n, 1, 6)).astype(np.float32) / 9
    return drawn, {"toy": Embedded(references, rough), PDQ: Embedded(vectors(base)[:, None], queries)}


def differing(embedded: dict[str, Embedded], i: int, variant: int, j: int) -> int:
    """Of the nearest view; 256 where either picture has no hash."""
    pdq = embedded[PDQ]
    if not pdq.queries[i][variant].any() or not pdq.queries[j][0].any():
        return BITS
    return min(int((view != pdq.references[j, 0]).sum()) for view in pdq.queries[i][variant])


def test_identical_pairs_rank_above_every_cosine_and_the_rest_as_before() -> None:
    drawn, embedded = made()
    either, bits_of = PdqBeside("toy").similarities(embedded, drawn), identical_bits(embedded[PDQ])
    seen = set()
    for i in range(len(drawn.pictures)):
        combined, bits = either(i), bits_of(i)
        assert combined.shape == bits.shape == (1, 4, len(drawn.pictures))
        for variant in range(4):
            for j in range(len(drawn.pictures)):
                expected = differing(embedded, i, variant, j)
                cosine = float((embedded["toy"].queries[i][variant] @ embedded["toy"].references[j].T).max())
                if expected <= 31:
                    assert combined[0, variant, j] == pytest.approx(2 - expected / 256)
                    assert bits[0, variant, j] == expected
                else:
                    assert combined[0, variant, j] == pytest.approx(cosine, abs=1e-6)
                    assert bits[0, variant, j] > 31
                seen.add((expected <= 31, i == j))
    assert seen == {(True, True), (False, False), (True, False), (False, True)}


def test_what_pdq_alone_calls_identical_against_loops() -> None:
    drawn, embedded = made()
    called = called_identical(drawn, SOME[:3], embedded[PDQ], resamples=7)
    n, parts = len(drawn.pictures), range(len(drawn.is_reference))
    for group, mask in drawn.groups.items():
        for variant, edit in enumerate(SOME[:3], start=1):
            queries = [i for s in parts for i in range(n) if mask[i] and drawn.is_reference[s, i]]
            hits = [differing(embedded, i, variant, i) <= 31 for i in queries]
            assert called[group].found[edit.name][0] == pytest.approx(np.mean(hits))
        found = called[group].found
        mean = (found["jpeg_30"] + found["grey"]) / 2
        np.testing.assert_allclose(found["family:photometric"], mean)
        np.testing.assert_allclose(found["all_edits"], (mean + found["flip_horizontal"]) / 2)

        def false(s: int, i: int, variants: range) -> list[bool]:
            others = [j for j in range(n) if drawn.is_reference[s, j] and drawn.sources[j] != drawn.sources[i]]
            return [min(differing(embedded, i, v, j) for j in others) <= 31 for v in variants]

        negatives = [(s, i) for s in parts for i in range(n) if mask[i] and not drawn.is_reference[s, i]]
        for shares, variants in ((called[group].untouched, range(1)), (called[group].edited, range(1, 4))):
            assert shares.shape == (8,)
            assert shares[0] == pytest.approx(np.mean([false(s, i, variants) for s, i in negatives]))
        pairs = [(i, j) for i in range(n) for j in range(n) if mask[i] and mask[j] and i != j]
        alike = np.mean([differing(embedded, i, 0, j) <= 31 for i, j in pairs])
        assert called[group].look_alikes[0] == pytest.approx(alike)
    assert called["pooled"].look_alikes[0] > 0


def test_who_is_compared() -> None:
    entrants = ["toy", "toy+turns", "pdq", "pdq+views", "l2"]
    assert [one.name for one in pdq_beside(["toy", "toy+turns", "pdq", "other"], entrants)] == [
        "toy+pdq",
        "toy+turns+pdq",
    ]
    assert pdq_beside(["toy"], ["toy", "pdq"]) == []


def test_the_document(tmp_path: Path) -> None:
    for seed in range(10):
        picture(seed, 80, 64).save(tmp_path / f"{seed}.png")
    entrants = {one.name: one for one in entrants_of("toy", ToyEmbedder())}
    entrants |= takes_part(["pdq"], with_baselines=False)
    table = tmp_path / "pairs.tsv"
    table.write_text("query\treference\tlabel\n0.png\t1.png\tother\n3.png\t3.png\tsame\n", encoding="utf-8")
    document = evaluate_descriptors(
        {"photographs": [tmp_path]},
        entrants,
        Settings(edits=SOME, resamples=10, splits=2, real_pairs=table),
        derived=pdq_beside(["toy"], entrants),
    )
    figures: dict[str, Any] = document["results"]
    assert figures["toy+pdq"]["photographs"]["flip_horizontal"]["recall_at_1"]["value"] == 1  # by PDQ's views
    assert figures["toy"]["photographs"]["flip_horizontal"]["recall_at_1"]["value"] < 1
    paired = document["paired"]["toy+pdq"]
    assert paired["against"] == "toy"
    difference = paired["differences"]["photographs"]["family:geometric"]["recall_at_fpr"]["0.01"]
    ours, base = (
        figures[name]["photographs"]["family:geometric"]["recall_at_fpr"]["0.01"] for name in ("toy+pdq", "toy")
    )
    assert difference["value"] == pytest.approx(ours["value"] - base["value"], abs=1e-5)
    called = document["identical"]["photographs"]
    assert called["found"]["grey"]["value"] == called["found"]["flip_horizontal"]["value"] == 1
    assert called["found"]["inset_0.6"]["value"] == 0
    rows = {name: document["real_pairs"][name]["rows"] for name in ("toy", "toy+pdq")}
    assert rows["toy+pdq"][0]["similarity"] == rows["toy"][0]["similarity"]
    assert rows["toy+pdq"][1]["similarity"] == 2  # 0 bits
    assert called["false"]["edited"]["value"] == called["look_alikes"]["value"] == 0
    sources = document["protocol"]["groups"]["photographs"]["sources"]
    assert called["false"]["edited"]["high"] == pytest.approx(wilson(0, sources).high, abs=1e-5)
