"""The whitening that an index has by default: when it has one, what is advised for it, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from guard import Guard
from guard.config import GuardConfig
from guard.embedders.base import Thresholds
from guard.embedders.views import REGIONS
from guard.errors import ConfigError
from guard.indexes import usual
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.edit import merge_indexes, remove_from_index
from guard.indexes.layout import IndexFolder
from guard.indexes.manifest import MANIFEST, Manifest
from guard.indexes.store import open_index
from guard.indexes.transform import POWER
from guard.indexes.transforming import remove_transform, transform_index
from guard.indexes.usual import advised, has_usual_regions, is_usual
from guard.indexes.verify import verify_index
from guard.pixels import to_batch
from guard.thresholds import advice_of, rules_of
from tests.support.references import photo_folder, unit_rows
from tests.support.toys import ToyEmbedder, picture

WHITE = Thresholds(0.45, 0.55, "whitened, by construction")
ADVISED = ToyEmbedder(thresholds=Thresholds(0.8, 0.95, "by construction", WHITE))
PLAIN = ToyEmbedder()
MANY = 20


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usual, "ABOVE", MANY - 1)


def manifest(index: Path) -> Manifest:
    folder = IndexFolder(index)
    return Manifest.read(folder.version(folder.current()) / MANIFEST)


def whitened(index: Path) -> bool:
    found = manifest(index)
    assert not [f for f in verify_index(index) if f.problem]
    return found.transform is not None and is_usual(found.transform, found.embedder.dim)


def test_a_large_set_is_whitened_and_has_thresholds_for_it(tmp_path: Path) -> None:
    index = tmp_path / "x.index"
    build_index(photo_folder(tmp_path / "photos", MANY), index, ADVISED, thumbnails=0)
    assert whitened(index)
    entry = manifest(index).transform
    assert entry is not None
    assert entry.whitening is not None
    assert (entry.whitening.references, entry.whitening.power) == (MANY, POWER)
    assert advised(manifest(index).spec, entry) == WHITE
    guard = Guard.open(index, embedder=ADVISED)
    assert [v.decision.value for v in guard.check([picture(3), picture(700)])] == ["block", "allow"]
    assert "flag 0.450" in guard.check([picture(700)])[0].reasons[0]
    assert build_index(tmp_path / "photos", index, ADVISED, thumbnails=0).unchanged


@pytest.mark.parametrize(
    ("embedder", "pictures", "whiten", "expected"),
    [
        (ADVISED, MANY - 1, None, False),
        (ADVISED, MANY, False, False),
        (PLAIN, MANY, None, False),
        (PLAIN, MANY, True, True),
        (ADVISED, MANY - 1, True, True),
    ],
)
def test_who_has_one(tmp_path: Path, embedder: ToyEmbedder, pictures: int, whiten: bool | None, expected: bool) -> None:
    index = tmp_path / "x.index"
    photos = photo_folder(tmp_path / "photos", pictures)
    build_index(photos, index, embedder, thumbnails=0, whiten=whiten)
    assert whitened(index) is expected
    thresholds = advised(embedder.spec, manifest(index).transform)
    assert thresholds == ((WHITE if embedder is ADVISED else None) if expected else embedder.thresholds)


def test_checks_with_windows_have_thresholds_of_their_own_where_the_embedder_has_them(tmp_path: Path) -> None:
    index = tmp_path / "x.index"
    build_index(photo_folder(tmp_path / "photos", MANY), index, ADVISED, thumbnails=0)
    entry = manifest(index).transform
    seen, seen_white = Thresholds(0.7, 0.9, "windows"), Thresholds(0.35, 0.5, "whitened windows")
    all_four = Thresholds(0.8, 0.95, "by construction", replace(WHITE, windows=seen_white), seen)
    spec = replace(ADVISED.spec, thresholds=all_four)
    assert advised(spec, None, windows=True) == seen
    assert advised(spec, entry, windows=True) == seen_white
    assert advised(spec, None) == all_four
    assert advised(ADVISED.spec, None, windows=True) == ADVISED.thresholds
    assert advised(ADVISED.spec, entry, windows=True) == WHITE
    assert advised(replace(spec, thresholds=None), entry, windows=True) is None
    with open_index(index, embedder=ADVISED) as opened:
        for kind, expected in (("one", (WHITE.flag, WHITE.block)), ("windows", (0.35, 0.5))):
            config = GuardConfig().model_copy(update={"query_views": kind})
            rules = rules_of(config, opened, ToyEmbedder(thresholds=all_four), None, "x.index")
            assert rules.of_the_policy == expected


def test_a_set_that_is_not_large_has_regions_and_thresholds_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usual, "REGIONS_UP_TO", MANY + 5)
    known = Thresholds(0.6, 0.7, "whitened, with regions")
    few = Thresholds(0.82, 0.97, "with regions")
    knows = ToyEmbedder(thresholds=replace(ADVISED.thresholds, regions=few, whitened=replace(WHITE, regions=known)))
    counts = {None: False, 1: True, MANY: True, MANY + 5: True, MANY + 6: False}
    assert {count: has_usual_regions(knows.spec, count) for count in counts} == counts
    assert not has_usual_regions(ADVISED.spec, MANY)
    photos, index = photo_folder(tmp_path / "photos", MANY), tmp_path / "x.index"
    build_index(photos, index, knows, thumbnails=0)
    assert whitened(index)
    assert manifest(index).regions == REGIONS
    assert manifest(index).spec.thresholds == knows.spec.thresholds
    for kind in ("one", "crops"):
        config = GuardConfig().model_copy(update={"query_views": kind})
        with open_index(index) as opened:
            rules = rules_of(config, opened, knows, None, "x.index")
            assert rules.of_the_policy == (known.flag, known.block)
            assert advice_of(opened, knows.spec) == known
    add_to_index(photo_folder(tmp_path / "more", 10, first=500), index, knows)
    assert manifest(index).regions == REGIONS  # it goes on as it was built
    build_index(photos, tmp_path / "without.index", knows, thumbnails=0, regions=False)
    assert manifest(tmp_path / "without.index").regions == 1
    build_index(photo_folder(tmp_path / "few", 3), tmp_path / "few.index", knows, thumbnails=0)
    assert manifest(tmp_path / "few.index").regions == REGIONS
    with open_index(tmp_path / "few.index") as opened:
        assert advice_of(opened, knows.spec) == few
    np.save(tmp_path / "rows.npy", unit_rows(MANY, knows.spec.dim, seed=0))
    build_index(tmp_path / "rows.npy", tmp_path / "rows.index", knows)
    assert manifest(tmp_path / "rows.index").regions == 1


def test_without_advice_thresholds_are_asked_for(tmp_path: Path) -> None:
    index = tmp_path / "x.index"
    build_index(photo_folder(tmp_path / "photos", MANY), index, PLAIN, thumbnails=0, whiten=True)
    with pytest.raises(ConfigError, match="set policy"):
        Guard.open(index, embedder=PLAIN)


def test_a_hundred_times_the_same_picture_is_compared_by_cosines(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(MANY):
        picture(1).save(photos / f"{i}.png")
    build_index(photos, tmp_path / "x.index", ADVISED, thumbnails=0)
    assert manifest(tmp_path / "x.index").transform is None
    with pytest.raises(ConfigError, match="without variance"):
        build_index(photos, tmp_path / "y.index", ADVISED, thumbnails=0, whiten=True)


def test_bits_are_not_whitened(tmp_path: Path) -> None:
    from guard.embedders.registry import load_embedder

    with pytest.raises(ConfigError, match="bits"):
        build_index(photo_folder(tmp_path / "photos", 3), tmp_path / "x.index", load_embedder("pdq"), whiten=True)


def test_it_stays_when_references_come_and_go(tmp_path: Path) -> None:
    index = tmp_path / "x.index"
    build_index(photo_folder(tmp_path / "photos", MANY), index, ADVISED, thumbnails=0)
    fitted = manifest(index).transform
    add_to_index(photo_folder(tmp_path / "more", 3, first=500), index, ADVISED)
    assert manifest(index).transform == fitted
    remove_from_index(index, ids=[0])
    assert manifest(index).transform == fitted


def test_a_merged_index_has_its_own(tmp_path: Path) -> None:
    for name, n in (("a", MANY), ("b", MANY + 2), ("c", 3)):
        build_index(photo_folder(tmp_path / name, n), tmp_path / f"{name}.index", ADVISED, thumbnails=0)
    merge_indexes(tmp_path / "a.index", tmp_path / "b.index", tmp_path / "ab.index", duplicates=True)
    merge_indexes(tmp_path / "ab.index", tmp_path / "c.index", tmp_path / "abc.index", duplicates=True)
    assert whitened(tmp_path / "abc.index")
    entry = manifest(tmp_path / "abc.index").transform
    assert entry is not None
    assert entry.whitening is not None
    assert entry.whitening.references == 2 * MANY + 5
    once = tmp_path / "once.index"
    photos = photo_folder(tmp_path / "a", MANY)
    build_index(photos, once, ADVISED, thumbnails=0)
    with open_index(once, embedder=ADVISED) as first, open_index(tmp_path / "abc.index", embedder=ADVISED) as merged:
        asked = ADVISED.embed(to_batch(picture(1)))
        for open_ in (first, merged):
            assert open_.search(asked, 1).similarity > 0.99
    transform_index(tmp_path / "a.index", whiten=True, power=1)
    with pytest.raises(ConfigError, match="transforms differ"):
        merge_indexes(tmp_path / "a.index", tmp_path / "b.index", tmp_path / "no.index")


def test_what_was_taken_off_is_fitted_again_as_it_was(tmp_path: Path) -> None:
    index = tmp_path / "x.index"
    build_index(photo_folder(tmp_path / "photos", MANY), index, ADVISED, thumbnails=0)
    fitted = manifest(index).transform
    remove_transform(index)
    assert advised(ADVISED.spec, manifest(index).transform) == ADVISED.thresholds
    transform_index(index, whiten=True)
    assert manifest(index).transform == fitted
