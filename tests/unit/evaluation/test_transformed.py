"""Whitening and score normalisation in an evaluation, against the index that does the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guard.errors import ConfigError
from guard.evaluation.edits import EDITS
from guard.evaluation.entrants import entrants_of
from guard.evaluation.pictures import PictureFile
from guard.evaluation.protocol import Plan, plan
from guard.evaluation.run import Settings, evaluate_descriptors
from guard.evaluation.scores import Embedded, inner_products, score
from guard.evaluation.transformed import Transformed, outside, transformed
from guard.indexes.faiss_index import FaissFlatIndex
from guard.indexes.rivals import DEPTH, beside_rivals
from guard.indexes.store import open_index
from guard.indexes.transform import POWER, Normalisation, Transform, fit_whitening
from guard.indexes.transformed import TransformedIndex
from guard.indexes.transforming import transform_index
from tests.support.overlays import index_of_rows
from tests.support.references import unit_rows
from tests.support.toys import ToyEmbedder, picture

SOME = [EDITS[name] for name in ("jpeg_30", "crop_60")]
D = 16


def made(views: int = 2) -> tuple[Plan, Embedded]:
    drawn = plan([PictureFile(Path(f"{i}.png"), "photographs", f"{i:064}", i) for i in range(24)], splits=3)
    n = len(drawn.pictures)
    queries = [unit_rows(3 * views, D, seed=i).reshape(3, views, D) for i in range(n)]
    return drawn, Embedded(unit_rows(n, D, seed=99)[:, None], queries, unit_rows(30, D, seed=77))


@pytest.mark.parametrize(("whitened", "normalised"), [(True, False), (False, True), (True, True)])
def test_similarities_are_those_of_an_index_of_the_split(whitened: bool, normalised: bool) -> None:
    drawn, embedded = made()
    entrant = Transformed("e", whitened, normalised, beta=0.6, nearest=4)
    similarities = entrant.similarities({"e": embedded}, drawn)
    rows = embedded.references[:, 0]
    for split, chosen in enumerate(drawn.is_reference):
        assert embedded.background is not None
        transform = Transform(
            fit_whitening(rows[chosen], power=POWER) if whitened else None,
            Normalisation(embedded.background, 0.6, 4, "") if normalised else None,
        )
        index = TransformedIndex(FaissFlatIndex(transform.rows(rows)), transform, D, FaissFlatIndex)
        for picture_ in (0, 7):
            found = similarities(picture_)
            assert found.shape == (3 if whitened else 1, 3, len(rows))
            expected = index.compare(embedded.queries[picture_].reshape(-1, D), rows).reshape(3, 2, -1).max(axis=1)
            np.testing.assert_allclose(found[split % len(found)], expected, atol=1e-5)


def test_beside_rivals_an_evaluation_finds_what_a_check_finds(tmp_path: Path) -> None:
    drawn, embedded = made()
    similarities = Transformed("e", whitened=True, rivals=True).similarities({"e": embedded}, drawn)
    rows = embedded.references[:, 0]
    for split, chosen in enumerate(drawn.is_reference):
        place = tmp_path / str(split)
        place.mkdir()
        path = index_of_rows(place, rows[chosen])
        transform_index(path, whiten=True, rivals=True)
        with open_index(path) as index:
            found = beside_rivals(index, embedded.queries[7].reshape(-1, D), DEPTH)
        for variant, (ids, values) in enumerate(zip(found.ids, found.similarity, strict=True)):
            if variant % 2 == 0:  # two views each: the better one counts
                best = dict(zip(ids.tolist(), values.tolist(), strict=True))
                continue
            for i, value in zip(ids.tolist(), values.tolist(), strict=True):
                best[i] = max(best.get(i, -2), value)
            expected = np.array([best.get(i, np.nan) for i in range(chosen.sum())])
            one = similarities(7)[split, variant // 2, chosen]
            known = np.isfinite(expected) & (expected >= 0)  # what no view finds is weighed otherwise, and lies below
            assert known.any()
            np.testing.assert_allclose(one[known], expected[known], atol=1e-5)


def test_other_pictures_are_weighed_as_those_of_the_plan() -> None:
    drawn, embedded = made()
    one, rows = Transformed("e", whitened=True, rivals=True), embedded.references
    chosen = drawn.is_reference[0]
    found = one.compared(embedded.queries[3], rows[chosen], 0.05)
    expected = one.similarities({"e": replace(embedded, handicap=0.05)}, drawn)(3)[0][:, chosen]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_only_the_references_of_a_split_are_fitted_on() -> None:
    drawn, embedded = made()
    before = Transformed("e", whitened=True).similarities({"e": embedded}, drawn)(0)
    moved = embedded.references.copy()
    out = ~drawn.is_reference[0]
    moved[out] = unit_rows(int(out.sum()), D, seed=5)[:, None]  # negatives of the first split, others look the same
    changed = Embedded(moved, embedded.queries)
    after = Transformed("e", whitened=True).similarities({"e": changed}, drawn)(0)
    np.testing.assert_allclose(after[0][:, ~out], before[0][:, ~out], atol=1e-5)
    assert np.abs(after[1][:, ~out] - before[1][:, ~out]).max() > 0.01


def test_a_picture_that_can_match_nothing_still_can_not() -> None:
    drawn, embedded = made(views=1)
    embedded.queries[0][1] = 0
    found = Transformed("e", whitened=True).similarities({"e": embedded}, drawn)(0)
    assert (found[:, 1] == 0).all()
    assert (found[:, 0] != 0).all()


def test_scores_of_every_split_are_counted() -> None:
    drawn, embedded = made()
    similarities = Transformed("e", whitened=True).similarities({"e": embedded}, drawn)
    scores = score(similarities, drawn.sources, drawn.is_reference)
    assert scores.own.shape == (3, len(drawn.pictures), 3)
    for split, chosen in enumerate(drawn.is_reference):
        others = [j for j in np.flatnonzero(chosen) if j != 5]
        np.testing.assert_allclose(scores.best_other[split, 5], similarities(5)[split][:, others].max(axis=1))
        np.testing.assert_allclose(scores.own[split, 5], similarities(5)[split][:, 5])
    plain = score(inner_products(embedded), drawn.sources, drawn.is_reference)
    assert plain.own.shape == (1, len(drawn.pictures), 3)


def test_near_copies_leave_the_background() -> None:
    drawn, embedded = made()
    near = np.concatenate([embedded.references[:2, 0], unit_rows(2, D, seed=3)])
    assert len(outside(Embedded(embedded.references, embedded.queries, near))) == 2
    with pytest.raises(ConfigError, match="2 pictures that are no near-copies"):
        Transformed("e", normalised=True).similarities(
            {"e": Embedded(embedded.references, embedded.queries, near)}, drawn
        )


def test_who_takes_part() -> None:
    found = transformed(["a", "pdq", "a", "missing"], ["a", "pdq", "b"], whitened=True, normalised=True)
    assert [one.name for one in found] == ["a+whitened", "a+normalised", "a+whitened+normalised"]
    assert transformed(["pdq"], ["pdq"]) == []
    with pytest.raises(ConfigError, match="floating-point"):
        transformed(["pdq"], ["pdq"], whitened=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for name, seeds in (("photos", range(14)), ("others", [3, *range(50, 60)])):
        (root / name).mkdir()
        for seed in seeds:
            picture(seed, 80, 64).save(root / name / f"{seed}.png")
    return root


def run(folder: Path, background: Sequence[Path], **how: Any) -> dict[str, Any]:
    entrants = {"toy": entrants_of("toy", ToyEmbedder())[0]}
    derived = transformed(["toy"], entrants, whitened=True, normalised=True, **how)
    settings = Settings(edits=SOME, resamples=20, splits=2, background=background)
    return evaluate_descriptors({"photographs": [folder / "photos"]}, entrants, settings, derived=derived)


def test_the_document_compares_each_with_its_base(folder: Path) -> None:
    document = run(folder, [folder / "others"])
    names = ["toy+whitened", "toy+normalised", "toy+whitened+normalised"]
    assert list(document["results"]) == ["toy", *names]
    assert list(document["paired"]) == names
    assert document["background"] == {"pictures": 10, "left_out": {"of_one_source": 1, "near_copies": {"toy": 0}}}
    assert document["protocol"]["groups"]["photographs"]["pictures"] == 13  # and one carrier: the background is apart
    for name in names:
        one = document["paired"][name]
        assert one["against"] == "toy"
        assert list(one["differences"]["photographs"]) == ["family:photometric", "family:geometric", "all_edits"]
        for figure in ("0.01", "0.001"):
            found = one["differences"]["photographs"]["all_edits"]["recall_at_fpr"][figure]
            apart = [
                document["results"][which]["photographs"]["all_edits"]["recall_at_fpr"][figure]["value"]
                for which in (name, "toy")
            ]
            assert found["value"] == pytest.approx(apart[0] - apart[1], abs=2e-6)
            assert found["low"] <= found["value"] <= found["high"]
    limits = document["thresholds"]
    assert limits["toy+normalised"]["pooled"]["0.01"] < limits["toy"]["pooled"]["0.01"]


def test_a_limit_is_on_the_evaluated_pictures_and_the_others_may_serve(folder: Path) -> None:
    entrants = {"toy": entrants_of("toy", ToyEmbedder())[0]}
    derived = transformed(["toy"], entrants, normalised=True)
    settings = Settings(edits=SOME, resamples=5, splits=1, limit=8, background=[folder / "photos"])
    document = evaluate_descriptors({"photographs": [folder / "photos"]}, entrants, settings, derived=derived)
    assert document["protocol"]["groups"]["photographs"]["pictures"] == 7
    assert document["background"]["pictures"] == 14 - 8


def test_a_background_of_evaluated_pictures_is_none(folder: Path) -> None:
    with pytest.raises(ConfigError, match="0 pictures that are no near-copies"):
        run(folder, [folder / "photos"])
