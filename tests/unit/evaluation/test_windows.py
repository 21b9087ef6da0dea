"""Windows of a query in an evaluation: what counts, what the entrant is called, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guard.embedders.base import Thresholds
from guard.embedders.registry import DEFAULT, load_embedder
from guard.embedders.views import CROPS, embed_views, has_windows
from guard.evaluation.edits import EDITS
from guard.evaluation.entrants import Entrant, entrants_of, similarities_of, with_regions
from guard.evaluation.pictures import PictureFile
from guard.evaluation.protocol import plan
from guard.evaluation.run import Settings, evaluate_descriptors, takes_part
from guard.evaluation.scores import Embedded, inner_products
from guard.evaluation.transformed import Transformed, beside
from guard.indexes.faiss_index import FaissFlatIndex
from guard.indexes.rivals import Rivals
from guard.indexes.transform import POWER, Transform, fit_whitening
from guard.indexes.transformed import TransformedIndex
from guard.pixels import to_batch
from tests.support.references import unit_rows
from tests.support.toys import ToyEmbedder, Windowed, picture

SOME = tuple(EDITS[name] for name in ("jpeg_30", "crop_25", "inset_0.6", "collage"))
VIEWS, D = 1 + len(CROPS), 16
SEEN = Thresholds(0.7, 0.9, "windows, by construction")


def part(name: str, embedder: ToyEmbedder) -> dict[str, Entrant]:
    return {one.name: one for one in entrants_of(name, embedder)}


def test_the_windows_are_those_of_a_check() -> None:
    embedder = Windowed(thresholds=Thresholds(0.8, 0.95, "whole", windows=SEEN))
    whole, windows = entrants_of("toy", embedder)
    arrays = [np.asarray(picture(seed, 80, 64)) for seed in range(18)]  # more than one batch
    looked = embed_views(embedder, to_batch(arrays), "windows")
    np.testing.assert_array_equal(windows.queries(arrays), looked.vectors)
    np.testing.assert_array_equal(windows.references(arrays), whole.references(arrays))
    assert looked.handicap is not None
    assert looked.handicap.tolist() == pytest.approx([0.0, *[windows.handicap] * len(CROPS)])
    assert (windows.name, windows.against, windows.advice) == ("toy+windows", "toy", SEEN)
    assert (whole.handicap, whole.against) == (0, "")
    assert whole.identity != windows.identity
    unadvised = entrants_of("toy", Windowed())[1]
    assert unadvised.advice == ToyEmbedder().thresholds
    assert [one.name for one in entrants_of("toy", ToyEmbedder())] == ["toy"]


def test_a_window_counts_less_than_the_whole() -> None:
    queries, references = unit_rows(3 * 4, D, seed=1).reshape(3, 4, D), unit_rows(5 * 2, D, seed=2).reshape(5, 2, D)
    found = similarities_of(queries, references, 0.05)
    for i, query in enumerate(queries):
        for j, reference in enumerate(references):
            inner = query @ reference.T
            assert found[i, j] == pytest.approx(max(inner[0].max(), inner[1:].max() - 0.05), abs=1e-6)
    plain = np.einsum("qvd,rwd->qrvw", queries, references).max((2, 3))
    np.testing.assert_allclose(similarities_of(queries, references), plain, atol=1e-6)
    embedded = Embedded(references, [queries], handicap=0.05)
    np.testing.assert_array_equal(inner_products(embedded)(0)[0], found)


def test_whitened_a_window_counts_as_in_an_index_and_then_less() -> None:
    drawn = plan([PictureFile(Path(f"{i}.png"), "photographs", f"{i:064}", i) for i in range(24)], splits=3)
    n = len(drawn.pictures)
    queries = [unit_rows(3 * VIEWS, D, seed=i).reshape(3, VIEWS, D) for i in range(n)]
    embedded = Embedded(unit_rows(n, D, seed=99)[:, None], queries, handicap=0.05)
    similarities = Transformed("e", whitened=True).similarities({"e": embedded}, drawn)
    rows = embedded.references[:, 0]
    for split, chosen in enumerate(drawn.is_reference):
        transform = Transform(fit_whitening(rows[chosen], power=POWER))
        index = TransformedIndex(FaissFlatIndex(transform.rows(rows)), transform, D, FaissFlatIndex)
        compared = index.compare(queries[7].reshape(-1, D), rows).reshape(3, VIEWS, n)
        expected = np.maximum(compared[:, 0], compared[:, 1:].max(axis=1) - 0.05)
        np.testing.assert_allclose(similarities(7)[split], expected, atol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for seed in range(14):
        picture(seed, 80, 64).save(root / f"{seed}.png")
    return root


def run(folder: Path, entrants: dict[str, Entrant], derived: Sequence[Transformed] = (), **more: Any) -> dict[str, Any]:
    settings = Settings(edits=SOME, resamples=20, splits=2, **more)
    return evaluate_descriptors({"photographs": [folder]}, entrants, settings, derived=derived)


def names(document: dict[str, Any]) -> list[str]:
    return [name for name in document["results"] if not name.startswith(("default", "pdq"))]


def test_the_default_looks_at_windows_where_it_has_them(folder: Path) -> None:
    entrants = part(DEFAULT, Windowed()) | takes_part(["pdq"], with_baselines=False)
    document = run(folder, entrants)
    windows = f"{DEFAULT}+windows"
    assert document["protocol"]["default"] == f"{windows}+pdq"
    assert names(document) == [DEFAULT, windows, f"{windows}+pdq"]
    for key in ("results", "thresholds", "look_alikes", "false_positive_rates"):
        for more in ("", "+pdq"):
            assert document[key][f"default{more}"] == document[key][f"{windows}+pdq"]
    assert document["paired"][windows]["against"] == DEFAULT
    found = {name: document["results"][name]["photographs"]["collage"]["recall_at_1"]["value"] for name in entrants}
    assert found[windows] > found[DEFAULT]


def test_regions_share_the_queries_and_count_less(folder: Path, tmp_path: Path) -> None:
    embedder = Windowed()
    regions, _ = with_regions(entrants_of("toy", embedder)[-1], embedder)
    assert (regions.name, regions.looks_as, regions.against) == ("toy+windows+regions", "toy+windows", "toy+windows")
    arrays = [np.asarray(picture(seed, 80, 64)) for seed in range(3)]
    expected = embed_views(embedder, to_batch(arrays), "crops", own=False).vectors
    np.testing.assert_array_equal(regions.references(arrays), expected)
    run(folder, part("toy", embedder), cache=tmp_path)
    asked = embedder.asked
    document = run(folder, part("toy", embedder) | {regions.name: regions}, cache=tmp_path)
    assert embedder.asked == asked  # only references were embedded
    of = document["results"]
    found = {name: of[name]["photographs"]["crop_25"]["recall_at_1"]["value"] for name in names(document)}
    assert found["toy+windows+regions"] > found["toy+windows"]
    again = run(folder, part("toy", embedder) | {regions.name: regions})
    assert again["results"] == document["results"]
    queries, references = unit_rows(3 * 4, D, seed=1).reshape(3, 4, D), unit_rows(5 * 2, D, seed=2).reshape(5, 2, D)
    inner = np.einsum("qvd,rwd->qrvw", queries, references) - [[0, 0.1], *[[0.05, 0.15]] * 3]
    np.testing.assert_allclose(similarities_of(queries, references, 0.05, 0.1), inner.max((2, 3)), atol=1e-6)


def test_equalised_copies_are_compared_as_an_index_of_regions_does() -> None:
    embedder = Windowed()
    windows = entrants_of("toy", embedder)[-1]
    regions, levels = with_regions(windows, embedder)
    assert (levels.name, levels.against, levels.looks_as) == ("toy+windows+regions+levels", regions.name, "")
    assert len({windows.identity, regions.identity, levels.identity}) == 3
    arrays = [np.asarray(picture(seed, 80, 64)) for seed in range(18)]
    looked = embed_views(embedder, to_batch(arrays), "windows+levels")
    np.testing.assert_array_equal(levels.queries(arrays), looked.vectors)
    known = embed_views(embedder, to_batch(arrays), "crops+levels", own=False).vectors
    np.testing.assert_array_equal(levels.references(arrays), known)
    assert looked.handicap is not None
    assert looked.handicap.tolist() == pytest.approx([0.0, *[levels.handicap] * (len(CROPS) + 1)])
    asked, others = embedder.asked, arrays[::-1]
    regions.queries(others)
    levels.queries(others)
    assert embedder.asked == asked + 2  # pictures in two batches: what the one looked at, the other need not


def test_regions_whitened_beside_rivals_are_as_in_an_index(tmp_path: Path) -> None:
    drawn = plan([PictureFile(Path(f"{i}.png"), "photographs", f"{i:064}", i) for i in range(40)], splits=2)
    n = len(drawn.pictures)
    queries = [unit_rows(3 * VIEWS, D, seed=i).reshape(3, VIEWS, D) for i in range(n)]
    known = unit_rows(n * 4, D, seed=99).reshape(n, 4, D)
    embedded = Embedded(known, queries, handicap=0.05, region_handicap=0.1)
    similarities = Transformed("e", whitened=True, rivals=True).similarities({"e": embedded}, drawn)
    for split, chosen in enumerate(drawn.is_reference):
        transform = Transform(fit_whitening(known[chosen, 0], power=POWER))
        rows = transform.rows(known.reshape(-1, D)).reshape(n, 4, -1)
        inner = np.einsum("qd,rwd->qrw", transform.rows(queries[7].reshape(-1, D)), rows) - [0, 0.1, 0.1, 0.1]
        weighed = beside(Rivals(), inner.max(axis=2).astype(np.float32), rows[:, 0] @ rows[:, 0].T, chosen)
        expected = weighed.reshape(3, VIEWS, n) - np.array([0, *[0.05] * (VIEWS - 1)])[:, None]
        np.testing.assert_allclose(similarities(7)[split], expected.max(axis=1), atol=1e-5)


def test_many_references_give_all_six_pairs_of_thresholds(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0.png").symlink_to(folder / "0.png")
    inside = picture(70, 160, 128)
    inside.paste(picture(0, 80, 64).resize((72, 58)), (88, 0))  # the upper right one of nine
    inside.save(tmp_path / "inside.png")
    (tmp_path / "pairs.tsv").write_text("query\treference\tlabel\ninside.png\t0.png\tinset\n", encoding="utf-8")
    monkeypatch.setattr("guard.evaluation.run.ABOVE", 3)
    entrants = part(DEFAULT, Windowed()) | takes_part(["pdq"], with_baselines=False)
    document = run(folder, entrants, real_pairs=tmp_path / "pairs.tsv")
    four = [DEFAULT, f"{DEFAULT}+windows", f"{DEFAULT}+whitened", f"{DEFAULT}+windows+whitened"]
    beside = [f"{name}+rivals" for name in four[2:]]
    assert names(document) == [*four, *beside, f"{beside[1]}+pdq"]
    assert set(four + beside) <= set(document["thresholds"])
    assert document["protocol"]["default"] == f"{beside[1]}+pdq"
    assert document["results"]["default"] == document["results"][f"{beside[1]}+pdq"]
    assert document["results"]["default+pdq"] == document["results"][f"{beside[1]}+pdq"]
    assert {name: document["paired"][name]["against"] for name in [*four[1:], *beside]} == {
        four[1]: four[0], four[2]: four[0], four[3]: four[1], beside[0]: four[0], beside[1]: four[1]
    }  # fmt: skip
    (whole, windows) = (document["real_pairs"][name]["rows"][0]["similarity"] for name in four[:2])
    assert windows > 0.8 > whole
    own = [Transformed(four[1], whitened=True, shrinkage=0.9)]
    assert run(folder, entrants, own)["protocol"]["default"] == f"{four[1]}+pdq"


def test_the_cache_keeps_windows_apart(folder: Path, tmp_path: Path) -> None:
    embedder = Windowed()
    first = run(folder, part("toy", embedder), cache=tmp_path)
    asked = embedder.asked
    assert asked
    again = run(folder, part("toy", embedder), cache=tmp_path)
    assert embedder.asked == asked
    assert again["results"] == first["results"]
    assert first["results"]["toy"] != first["results"]["toy+windows"]
    assert first["results"]["toy"] == run(folder, part("toy", ToyEmbedder()))["results"]["toy"]

    embedder.seen_at = 24
    smaller = run(folder, part("toy", embedder), cache=tmp_path)
    assert embedder.asked == 2 * asked
    assert smaller["results"]["toy"] == first["results"]["toy"]
    assert smaller["results"]["toy+windows"] != first["results"]["toy+windows"]


def test_the_default_knows_regions_of_no_large_number_of_references(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Windowed()
    entrants = part(DEFAULT, embedder)
    entrants |= {one.name: one for one in with_regions(entrants[f"{DEFAULT}+windows"], embedder)}
    entrants |= takes_part(["pdq"], with_baselines=False)
    windows = f"{DEFAULT}+windows"
    for least, most, usual in (
        (3, 100, f"{windows}+regions+levels+whitened+rivals+pdq"),
        (3, 4, f"{windows}+whitened+rivals+pdq"),
        (100, 1000, f"{windows}+regions+levels+pdq"),
    ):
        monkeypatch.setattr("guard.evaluation.run.ABOVE", least)
        monkeypatch.setattr("guard.evaluation.run.REGIONS_UP_TO", most)
        assert run(folder, entrants)["protocol"]["default"] == usual


def test_the_shipped_one_takes_part_with_its_windows_if_it_has_them() -> None:
    found = list(takes_part([], with_baselines=False))
    assert found == [DEFAULT, *([f"{DEFAULT}+windows"] if has_windows(load_embedder()) else [])]
