"""Crops and equalised copies of references in the index: stored together, found as one, carried along, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard import Guard
from guard.cli.index_report import regions_line
from guard.embedders.pdq import PdqEmbedder
from guard.embedders.views import CROPS, REGION_HANDICAP, REGIONS, embed_views, view_count
from guard.errors import ConfigError
from guard.indexes.best import best_of_each
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.edit import merge_indexes, remove_from_index
from guard.indexes.faissfile import VECTORS, FlatLayout, map_rows
from guard.indexes.layout import IndexFolder
from guard.indexes.manifest import MANIFEST, Manifest
from guard.indexes.overlaid import open_overlaid
from guard.indexes.overlay import Addition, Overlay
from guard.indexes.store import open_index
from guard.indexes.transforming import remove_transform, transform_index
from guard.indexes.verify import verify_index
from guard.pixels import to_batch
from guard.types import Decision
from tests.support.toys import ToyEmbedder, picture


def folder_of(path: Path, seeds: range) -> Path:
    path.mkdir()
    for seed in seeds:
        picture(seed, 160, 128).save(path / f"{seed:02}.png")
    return path


def fine(path: Path) -> bool:
    return not any(finding.problem for finding in verify_index(path))


def stored(path: Path) -> tuple[Manifest, np.ndarray]:
    """The rows as (references, regions, width)."""
    with open_index(path) as index:
        manifest = index.manifest
        layout = FlatLayout(manifest.vectors, manifest.dim, manifest.regions)
        rows = np.array(map_rows(index.folder / VECTORS, layout, manifest.count))
    return manifest, rows.reshape(manifest.count, manifest.regions, -1)


@pytest.mark.parametrize("embedder", [ToyEmbedder(), PdqEmbedder()], ids=["float", "bits"])
def test_each_picture_is_stored_with_its_crops(tmp_path: Path, embedder: ToyEmbedder | PdqEmbedder) -> None:
    photos = folder_of(tmp_path / "photos", range(5))
    report = build_index(photos, tmp_path / "my.index", embedder, regions=True, batch=2)
    manifest, rows = stored(tmp_path / "my.index")
    assert report.count == manifest.count == 5
    assert manifest.regions == rows.shape[1] == REGIONS
    assert fine(tmp_path / "my.index")
    expected = embed_views(
        embedder, to_batch([picture(seed, 160, 128) for seed in range(5)]), "crops+levels", own=False
    )
    flat = expected.vectors.reshape(5 * REGIONS, -1)
    with open_index(tmp_path / "my.index") as index:
        found = index.search(flat, 3)
        assert (found.ids[:, 0] == np.repeat(np.arange(5), REGIONS)).all()
        assert all(len(set(row)) == 3 for row in found.ids.tolist())  # a reference once
        less = np.where(np.arange(REGIONS) > 0, manifest.region_handicap, 0)
        assert (manifest.region_handicap > 0) == (embedder.spec.metric == "cosine")
        own = (expected.vectors @ expected.vectors.transpose(0, 2, 1) - less).max(axis=2)
        np.testing.assert_allclose(found.similarity[:, 0], own.ravel(), atol=1e-5)
        every = index.similarity(flat[:4], range(5))
        np.testing.assert_allclose(np.sort(every)[:, ::-1][:, :3], found.similarity[:4], atol=1e-5)
        assert index.search(flat[:1], 9).ids[0].tolist()[5:] == [-1] * 4


def test_a_guard_finds_an_image_that_shows_a_part_of_a_reference(tmp_path: Path) -> None:
    (photos := tmp_path / "photos").mkdir()
    blocks = np.random.default_rng(0).integers(0, 256, (6, 16, 20, 3), np.uint8)  # enough detail for PDQ in each crop
    pictures = [np.kron(one, np.ones((8, 8, 1), np.uint8)) for one in blocks]
    for i, one in enumerate(pictures):
        Image.fromarray(one).save(photos / f"{i:02}.png")
    for name, regions in (("whole", False), ("regions", True)):
        build_index(photos, tmp_path / name, PdqEmbedder(), regions=regions)
    top, left, side = CROPS[-1]
    array = pictures[4]
    part = array[round(top * 128) :, round(left * 160) :][: round(side * 128), : round(side * 160)]
    assert Guard.open(tmp_path / "whole", verify=False).check(part).verdicts[0].decision is Decision.ALLOW
    verdict = Guard.open(tmp_path / "regions", verify=False).check(part).verdicts[0]
    assert verdict.decision is Decision.BLOCK
    assert verdict.nearest is not None
    assert verdict.nearest.record.uri == "04.png"


def test_added_removed_and_merged_references_keep_their_crops(tmp_path: Path) -> None:
    toy, path = ToyEmbedder(), tmp_path / "my.index"
    build_index(folder_of(tmp_path / "a", range(4)), path, toy, regions=True)
    _, first = stored(path)
    add_to_index(folder_of(tmp_path / "b", range(4, 7)), path, toy)
    manifest, both = stored(path)
    assert manifest.count == 7
    np.testing.assert_array_equal(both[:4], first)
    remove_from_index(path, ids=[1, 5])
    _, left = stored(path)
    np.testing.assert_array_equal(left, both[[0, 2, 3, 4, 6]])
    build_index(tmp_path / "b", tmp_path / "other", toy, regions=True)
    merge_indexes(path, tmp_path / "other", tmp_path / "merged", duplicates=True)
    _, merged = stored(tmp_path / "merged")
    np.testing.assert_array_equal(merged, np.concatenate([left, both[4:]]))
    assert fine(path)
    assert fine(tmp_path / "merged")
    build_index(tmp_path / "b", tmp_path / "plain", toy)
    # Crops of some references alone would favour these.
    merge_indexes(path, tmp_path / "plain", tmp_path / "mixed", duplicates=True)
    manifest, mixed = stored(tmp_path / "mixed")
    assert manifest.regions == 1
    np.testing.assert_array_equal(mixed, np.concatenate([left, both[4:]])[:, :1])
    assert fine(tmp_path / "mixed")


def test_an_index_of_before_equalised_copies_goes_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, path, crops = ToyEmbedder(), tmp_path / "old.index", view_count("crops")
    with monkeypatch.context() as then:
        then.setattr("guard.indexes.builder.REGIONS", crops)
        build_index(folder_of(tmp_path / "a", range(4)), path, toy, regions=True)
    add_to_index(folder_of(tmp_path / "b", range(4, 7)), path, toy)
    manifest, rows = stored(path)
    assert (manifest.count, manifest.regions) == (7, crops)
    assert regions_line(manifest) == "14 crops of each picture, which count 0.05 less"
    whole = embed_views(toy, to_batch([picture(seed, 160, 128) for seed in range(7)]), "crops", own=False)
    np.testing.assert_allclose(rows, whole.vectors, atol=1e-6)
    assert fine(path)
    build_index(tmp_path / "b", tmp_path / "new.index", toy, regions=True)
    # What both have is kept: the crops.
    merge_indexes(path, tmp_path / "new.index", tmp_path / "merged", duplicates=True)
    manifest, merged = stored(tmp_path / "merged")
    assert (manifest.count, manifest.regions) == (10, crops)
    new, new_rows = stored(tmp_path / "new.index")
    np.testing.assert_array_equal(merged[7:], new_rows[:, :crops])
    assert regions_line(new) == "14 crops and an equalised copy of each picture, which count 0.05 less"
    assert fine(tmp_path / "merged")


def test_another_number_of_vectors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard.indexes.builder.REGIONS", 9)
    with pytest.raises(ConfigError, match="9 vectors a picture"):
        build_index(folder_of(tmp_path / "a", range(2)), tmp_path / "my.index", ToyEmbedder(), regions=True)


def test_crops_of_an_overlay_count_less_where_they_were_merged_into_an_index_without(tmp_path: Path) -> None:
    toy = ToyEmbedder()
    build_index(folder_of(tmp_path / "a", range(4)), tmp_path / "crops", toy, regions=True)
    build_index(folder_of(tmp_path / "b", range(4, 7)), tmp_path / "plain", toy)
    rows = np.asarray(embed_views(toy, to_batch(picture(9, 160, 128)), "crops+levels", own=False).vectors)[0]
    Overlay(tmp_path / "crops").add([Addition("new.png", "", rows)], ["opt-out"], who="ops")
    merge_indexes(tmp_path / "plain", tmp_path / "crops", tmp_path / "merged")
    with open_overlaid(tmp_path / "merged") as index:
        assert index.manifest.regions == 1
        found = index.search(rows[[0, 7]], 1)
        assert {record.uri for record in index.records(found.ids[:, 0].tolist())} == {"new.png"}
        np.testing.assert_allclose(found.similarity[:, 0], [1, 1 - REGION_HANDICAP], atol=1e-5)


def test_a_crop_counts_less_than_the_picture_it_was_cut_from(tmp_path: Path) -> None:
    toy, path = ToyEmbedder(), tmp_path / "my.index"
    build_index(folder_of(tmp_path / "a", range(4)), path, toy, regions=True)
    _, rows = stored(path)
    with open_index(path) as index:
        cosines = rows[2, 7] @ rows.transpose(0, 2, 1)  # (references, regions)
        counted = cosines - np.where(np.arange(REGIONS) > 0, np.float32(REGION_HANDICAP), 0)
        np.testing.assert_allclose(index.similarity(rows[2, 7:8], range(4))[0], counted.max(axis=1), atol=1e-5)
        found = index.search(rows[2, 7:8], 4)
        np.testing.assert_allclose(found.similarity[0], counted.max(axis=1)[found.ids[0]], atol=1e-5)


def test_what_was_added_to_an_index_of_before_counts_as_there(tmp_path: Path) -> None:
    toy, path = ToyEmbedder(), tmp_path / "my.index"
    build_index(folder_of(tmp_path / "a", range(4)), path, toy, regions=True)
    at = path / "versions" / IndexFolder(path).current() / MANIFEST
    said = json.loads(at.read_text("utf-8"))
    del said["region_handicap"]  # as it was written before crops counted less
    at.write_text(json.dumps(said), "utf-8")
    add_to_index(folder_of(tmp_path / "b", range(4, 7)), path, toy)
    manifest, rows = stored(path)
    assert manifest.region_handicap == 0
    with open_index(path) as index:
        np.testing.assert_allclose(index.search(rows[5, 3:4], 1).similarity, 1, atol=1e-5)


def test_a_transform_takes_all_rows_and_gives_them_back(tmp_path: Path) -> None:
    toy, path = ToyEmbedder(), tmp_path / "my.index"
    build_index(folder_of(tmp_path / "a", range(12)), path, toy, regions=True)
    _, before = stored(path)
    transform_index(path, whiten=True, dim=4)
    manifest, white = stored(path)
    assert white.shape == (12, REGIONS, 4)
    assert manifest.transform is not None
    assert manifest.transform.whitening is not None
    assert manifest.transform.whitening.references == 12
    assert fine(path)
    with open_index(path) as index:
        found = index.search(before[3], 12)
        assert found.ids[0, 0] == 3
        own = found.similarity[found.ids == 3]  # in four dimensions another one's picture may come before a crop
        inner = white[3] @ white[3].T - np.where(np.arange(REGIONS) > 0, np.float32(REGION_HANDICAP), 0)
        np.testing.assert_allclose(own, inner.max(axis=1), atol=1e-5)
    remove_transform(path)
    np.testing.assert_array_equal(stored(path)[1], before)


def test_a_resumed_build_is_the_same(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, _total: int | None) -> None:
        if done >= 32:
            raise Stop

    toy, photos = ToyEmbedder(), folder_of(tmp_path / "a", range(40))
    build_index(photos, tmp_path / "whole", toy, regions=True)
    with pytest.raises(Stop):
        build_index(photos, tmp_path / "halves", toy, regions=True, batch=16, on_progress=stop)
    with pytest.raises(ConfigError, match="regions"):
        build_index(photos, tmp_path / "halves", toy, batch=16)
    report = build_index(photos, tmp_path / "halves", toy, regions=True, batch=16)
    assert report.resumed_at >= 16
    np.testing.assert_array_equal(stored(tmp_path / "halves")[1], stored(tmp_path / "whole")[1])


def test_finished_descriptors_have_no_crops(tmp_path: Path) -> None:
    toy = ToyEmbedder()
    rows = np.eye(3, toy.spec.dim, dtype=np.float32)
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(ConfigError, match="no crops can be indexed"):
        build_index(tmp_path / "rows.npy", tmp_path / "my.index", toy, regions=True)


def test_the_best_of_each() -> None:
    ids = np.array([[1, 1, 2, -1], [5, -1, -1, -1]])
    similarity = np.array([[0.1, 0.7, 0.7, -np.inf], [0.2, -np.inf, -np.inf, -np.inf]], np.float32)
    found, best = best_of_each(ids, similarity, 3)
    assert found.tolist() == [[1, 2, -1], [5, -1, -1]]
    np.testing.assert_allclose(best, [[0.7, 0.7, -np.inf], [0.2, -np.inf, -np.inf]])
