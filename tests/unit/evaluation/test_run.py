"""From folders of drawn pictures to the document, with real entrants; caches and real pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guard.embedders.registry import load_embedder
from guard.embedders.views import has_windows
from guard.errors import ConfigError
from guard.evaluation.benchmarks import copydays, correlation, disc21, drep, score_benchmark
from guard.evaluation.edits import EDITS
from guard.evaluation.entrants import Entrant, baselines, entrants_of, l2_entrant, multi_view_entrants, phash_entrant
from guard.evaluation.run import Settings, evaluate_descriptors, takes_part
from guard.evaluation.transformed import Transformed
from guard.evaluation.untrained import untrained
from tests.support.toys import ToyEmbedder, picture

SOME = [EDITS[name] for name in ("jpeg_30", "flip_horizontal", "inset_0.6", "elastic", "repost")]
ONE_OF_EACH = ["family:photometric", "family:geometric", "family:overlay", "family:generation", "family:combination"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for name, seeds in (("photos", range(12)), ("scans", range(50, 58))):
        (root / name).mkdir()
        for seed in seeds:
            picture(seed, 80, 64).save(root / name / f"{seed}.png")
    return root


def run(folder: Path, entrants: dict[str, Entrant] | None = None, **settings: Any) -> dict[str, Any]:
    groups = {"photographs": [folder / "photos"], "scans": [folder / "scans"]}
    chosen = Settings(edits=SOME, resamples=20, splits=2, **settings)
    return evaluate_descriptors(groups, entrants or takes_part([]), chosen)


def test_the_document_has_the_promised_shape(folder: Path) -> None:
    document = run(folder)
    json.dumps(document, allow_nan=False)
    own = [
        "procedural",
        *(["procedural+windows", "procedural+windows+pdq"] if has_windows(load_embedder()) else ["procedural+pdq"]),
    ]
    others = {"pdq", "pdq+views", "phash", "l2", "untrained"}
    assert {name for name in document["results"] if not name.startswith("default")} == {*own, *others}
    assert document["results"]["default"] == document["results"][document["protocol"]["default"]]
    for by_group in document["results"].values():
        assert set(by_group) == {"photographs", "scans", "pooled"}
        for by_edit in by_group.values():
            assert list(by_edit) == [*(edit.name for edit in SOME), *ONE_OF_EACH, "all_edits"]
            for figures in by_edit.values():
                assert set(figures["recall_at_fpr"]) == {"0.01", "0.001", "0.0001"}
                for one in (figures["recall_at_1"], figures["micro_ap"], *figures["recall_at_fpr"].values()):
                    assert 0 <= one["low"] <= one["value"] <= one["high"] <= 1
    assert document["results"]["pdq"]["pooled"]["jpeg_30"]["recall_at_1"]["value"] == 1
    assert document["results"]["pdq"]["pooled"]["flip_horizontal"]["recall_at_1"]["value"] < 0.5
    assert document["results"]["pdq+views"]["pooled"]["flip_horizontal"]["recall_at_1"]["value"] == 1
    counts = document["protocol"]["groups"]["pooled"]
    assert counts["pictures"] == counts["sources"] == 19  # and one carrier
    assert document["protocol"]["edits"]["inset_0.6"] == {"family": "overlay", "parameters": {"scale": 0.6}}


def test_the_default_compares_as_an_index_of_so_many_references(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entrants = takes_part([])
    picture(0, 80, 64).transpose(0).save(tmp_path / "flipped.png")
    (tmp_path / "0.png").symlink_to(folder / "photos" / "0.png")
    (tmp_path / "pairs.tsv").write_text("query\treference\tlabel\nflipped.png\t0.png\tflip\n", encoding="utf-8")
    monkeypatch.setattr("guard.evaluation.run.ABOVE", 5)
    document = run(folder, entrants, real_pairs=tmp_path / "pairs.tsv")
    views = "procedural+windows" if "procedural+windows" in entrants else "procedural"
    assert document["protocol"]["default"] == f"{views}+whitened+rivals+pdq"
    for key in ("results", "thresholds", "look_alikes", "false_positive_rates", "real_pairs"):
        for more in ("", "+pdq"):
            assert document[key][f"default{more}"] == document[key][f"{views}+whitened+rivals+pdq"]
    assert document["results"]["default"] != document["results"]["procedural"]
    assert document["paired"]["default+pdq"]["against"] == f"{views}+whitened+rivals"
    assert document["real_pairs"]["default"]["recall_at_1"]["value"] == 1
    groups = {"photographs": [folder / "photos"], "scans": [folder / "scans"]}
    own = [Transformed("procedural", whitened=True, shrinkage=0.9)]
    settings = Settings(edits=SOME, resamples=20, splits=2)
    document = evaluate_descriptors(groups, entrants, settings, derived=own)
    assert document["results"]["default"] == document["results"][f"{views}+pdq"]


def test_a_run_repeats_and_the_cache_spares_the_embedder(folder: Path, tmp_path: Path) -> None:
    plain = run(folder, {e.name: e for e in entrants_of("toy", ToyEmbedder())})
    calls = 0
    toy = entrants_of("toy", ToyEmbedder())[0]

    def counted(images: Any) -> Any:
        nonlocal calls
        calls += 1
        return toy.queries(images)

    entrant = Entrant("toy", toy.identity, toy.references, counted)
    first = run(folder, {"toy": entrant}, cache=tmp_path)
    assert calls == 19
    (damaged, *_) = sorted(tmp_path.rglob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:40])
    again = run(folder, {"toy": entrant}, cache=tmp_path)
    assert calls == 20  # only the damaged one
    for document in (first, again):
        assert document["results"] == plain["results"]
    run(folder, {"toy": entrant}, cache=tmp_path, seed=1)
    assert calls > 30  # another seed, other edits


def test_real_pairs_are_looked_up_and_are_no_negatives(folder: Path, tmp_path: Path) -> None:
    picture(0, 80, 64).transpose(0).save(tmp_path / "flipped.png")
    picture(1, 40 * 2, 64).resize((60, 48)).save(tmp_path / "small.png")
    for seed in (0, 1):
        (tmp_path / f"{seed}.png").symlink_to(folder / "photos" / f"{seed}.png")
    table = tmp_path / "pairs.tsv"
    table.write_text("query\treference\tlabel\nflipped.png\t0.png\tflip\nsmall.png\t1.png\tsize\n", encoding="utf-8")
    document = run(folder, real_pairs=table)
    found = document["real_pairs"]
    assert [row["found"]["recall_at_1"] for row in found["pdq+views"]["rows"]] == [True, True]
    assert [row["found"]["recall_at_1"] for row in found["pdq"]["rows"]] == [False, True]
    assert found["pdq"]["recall_at_1"]["value"] == 0.5
    assert found["pdq"]["sources"] == 2
    table.write_text("query\treference\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="lists no pair"):
        run(folder, real_pairs=table)


def test_the_untrained_network_has_the_shape_of_the_shipped_one_and_other_weights() -> None:
    network, again = untrained(), untrained()
    assert network is not None
    assert again is not None
    shipped = load_embedder().spec
    assert (network.spec.dim, network.spec.preprocessing) == (shipped.dim, shipped.preprocessing)
    assert network.spec.weights_sha256 == again.spec.weights_sha256 != shipped.weights_sha256
    assert "untrained" in [entrant.name for entrant in baselines()]


def test_views_find_what_one_view_misses(folder: Path) -> None:
    entrants = {e.name: e for e in [*entrants_of("pdq", load_embedder("pdq"))[:1],
                                    *multi_view_entrants("pdq", load_embedder("pdq"))]}  # fmt: skip
    edits = tuple(EDITS[name] for name in ("collage", "crop_25", "rotate_90"))
    groups = {"photographs": [folder / "photos"], "scans": [folder / "scans"]}
    document = evaluate_descriptors(groups, entrants, Settings(edits=edits, resamples=20, splits=2))

    def found(name: str, edit: str) -> float:
        return float(document["results"][name]["pooled"][edit]["recall_at_1"]["value"])

    assert found("pdq+turns", "rotate_90") == 1 > found("pdq", "rotate_90")
    assert found("pdq+crops", "collage") > found("pdq", "collage")
    assert found("pdq+regions", "crop_25") > found("pdq", "crop_25")
    assert found("pdq+crops+regions", "crop_25") >= found("pdq+regions", "crop_25")


def test_without_baselines_only_the_named_take_part() -> None:
    assert list(takes_part(["pdq"], with_baselines=False)) == ["pdq", "pdq+views"]
    with pytest.raises(ConfigError, match="unknown embedder"):
        takes_part(["nothing"])


def test_l2_is_the_distance_of_thumbnails() -> None:
    a, b = (np.asarray(picture(seed, 90, 70)) for seed in (0, 1))
    entrant = l2_entrant()
    inner = entrant.queries([a, b])[:, 0] @ entrant.references([a, b])[:, 0].T
    assert np.diag(inner) == pytest.approx([0, 0], abs=1e-4)
    assert inner[0, 1] == pytest.approx(inner[1, 0], abs=1e-4)
    assert inner[0, 1] < -0.1


def test_phash_is_the_sign_of_low_frequencies() -> None:
    a = np.asarray(picture(0, 90, 70))
    entrant = phash_entrant()
    vectors = entrant.queries([a, np.clip(a * 0.8 + 20, 0, 255).astype(np.uint8), np.asarray(picture(1))])[:, 0]
    assert np.abs(vectors).tolist() == np.full((3, 64), 1 / 8).tolist()
    assert (vectors > 0).sum(axis=1).tolist() == [32, 32, 32]  # half above the median
    assert vectors[0] @ vectors[1] > 0.9
    assert vectors[0] @ vectors[2] < 0.6


@pytest.mark.parametrize("layout", ["disc21", "copydays"])
def test_readers_of_published_benchmarks(layout: str, tmp_path: Path) -> None:
    def save(name: str, seed: int) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed, 80, 64).save(tmp_path / name)

    if layout == "disc21":
        for seed in range(3):
            save(f"references/R00000{seed}.jpg", seed)
        for query, seed in (("Q00000", 1), ("Q00001", 9)):
            save(f"dev_queries/{query}.jpg", seed)
        table = tmp_path / "dev_ground_truth.csv"
        table.write_text("query_id,reference_id\nQ00000,R000001\nQ00001,\n", encoding="utf-8")
        benchmark = disc21(tmp_path)
        assert len(benchmark.queries) == 2
        assert [(q.stem, r.stem) for q, r in benchmark.truth.items()] == [("Q00000", "R000001")]
        table.write_text("Q00000,R999999\n", encoding="utf-8")
        with pytest.raises(ConfigError, match="R999999"):
            disc21(tmp_path)
    else:
        for seed in range(3):
            save(f"original/20{seed}00.jpg", seed)
            save(f"strong/20{seed}01.jpg", seed)
        benchmark = copydays(tmp_path, "strong")
        assert {q.stem: r.stem for q, r in benchmark.truth.items()} == {f"20{i}01": f"20{i}00" for i in range(3)}
        save("strong/299901.jpg", 0)
        with pytest.raises(ConfigError, match="no original"):
            copydays(tmp_path, "strong")
        (tmp_path / "strong/299901.jpg").unlink()
    figures = score_benchmark(benchmark, entrants_of("toy", ToyEmbedder())[0])
    assert figures == {"recall_at_1": 1.0, "micro_ap": 1.0}


def test_rated_pairs(tmp_path: Path) -> None:
    for seed in range(3):
        picture(seed, 80, 64).save(tmp_path / f"{seed}.png")
    table = tmp_path / "pairs.csv"
    table.write_text("generated,real,level\n0.png,0.png,5\n1.png,1.png,5\n0.png,2.png,0\n", encoding="utf-8")
    rated = drep(table)
    assert rated.levels == (5, 5, 0)
    assert correlation(rated, entrants_of("toy", ToyEmbedder())[0]) == pytest.approx(1, abs=0.01)
    table.write_text("0.png,0.png\n0.png,1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected rows"):
        drep(table)
