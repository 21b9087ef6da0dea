"""A small set that holds crops of its pictures: measured as a check looks it up, added to, overlaid, cut down."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard import Decision, Guard
from guard.decode import decode
from guard.embedders.base import Embedder
from guard.embedders.registry import load_embedder
from guard.embedders.views import CROPS, REGIONS
from guard.indexes import add_to_index, build_index, open_index
from guard.indexes.edit import remove_from_index
from guard.indexes.overlay import Overlay, key_of
from guard.indexes.transformed_rows import original_rows, read_transform
from guard.optout.additions import add_pictures
from guard.pixels import RGBArray
from guard.small import alike
from guard.small.build import measure_small, small_transform
from guard.small.record import read_small, small_of
from guard.sources import open_source
from tests.support.scans import scan_folder

COUNT = 10


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder()


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Path:
    """Ten scans as a small set with crops ("x.index") and without ("whole.index"), and two others beside it."""
    tmp_path = tmp_path_factory.mktemp("scans")
    scan_folder(tmp_path / "set", COUNT + 2)
    (tmp_path / "others").mkdir()
    for i in range(COUNT, COUNT + 2):
        name = f"scan-{i:03}.png"
        (tmp_path / "set" / name).rename(tmp_path / "others" / name)
    transform, why = small_transform(embedder.spec)
    assert transform is not None, why
    for name, regions in (("x.index", True), ("whole.index", False)):
        build_index(tmp_path / "set", tmp_path / name, embedder, transform=transform, regions=regions)
        measure_small(tmp_path / name, embedder)
    return tmp_path


@pytest.fixture
def changed(scans: Path, tmp_path: Path) -> Path:
    """A copy of the index that a test may change."""
    shutil.copytree(scans / "x.index", tmp_path / "x.index")
    return tmp_path / "x.index"


def part(path: Path) -> RGBArray:
    """The middle of a scan as its file: a fifth of the area."""
    picture = decode(path).rgb
    top, left, side = CROPS[-5]
    height, width = picture.shape[:2]
    y, x = round(height * top), round(width * left)
    return np.ascontiguousarray(picture[y : y + round(height * side), x : x + round(width * side)])


def test_similarities_are_those_of_whole_pictures_and_of_crops_that_count_less(scans: Path, embedder: Embedder) -> None:
    """Crops are whitened as pictures are; what the background takes off depends on the query alone."""
    with open_index(scans / "x.index") as index:
        rows = np.array(original_rows(index.folder, index.manifest), np.float32)
        transform = read_transform(index.folder, index.manifest)
        assert transform is not None
        assert transform.normalisation is not None
        assert transform.background is not None
        stored = transform.rows(rows)
        asked = stored[::REGIONS]
        near = np.sort(asked @ transform.background.T, axis=1)[:, -transform.normalisation.nearest :].mean(axis=1)
        inner = (asked @ stored.T).reshape(COUNT, COUNT, REGIONS)
        inner[:, :, 1:] -= np.float32(index.manifest.region_handicap)
        expected = inner.max(axis=2) - transform.normalisation.beta * near[:, None]
        np.testing.assert_allclose(index.similarity(rows[::REGIONS], range(COUNT)), expected, atol=1e-4)
        found = index.search(rows[::REGIONS], COUNT)
        by_id = np.take_along_axis(found.similarity, np.argsort(found.ids, axis=1), 1)
        np.testing.assert_allclose(by_id, expected, atol=1e-4)
        np.fill_diagonal(expected, -np.inf)  # a picture with all its crops
        small = read_small(index.folder, index.manifest)
        as_one = alike.measure(index, embedder)
    assert small is not None
    assert (small.regions, small.count) == (REGIONS, COUNT)
    assert small.alike == 0
    assert as_one.strangers == pytest.approx(float(expected.max()), abs=1e-4)
    assert small.strangers >= as_one.strangers - 1e-5  # a window of one may be nearer to a crop of another
    assert small.flag > small.strangers
    assert small.edited == 4 * COUNT
    assert small.told >= 0.9 * small.edited


def test_many_references_are_looked_up_in_blocks(
    scans: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_index(scans / "x.index") as index:
        whole = alike.measure(index, embedder)
        monkeypatch.setattr(alike, "_ROWS", 3)
        blocks = alike.measure(index, embedder)
    assert (blocks.strangers, blocks.own) == pytest.approx((whole.strangers, whole.own), abs=1e-5)
    assert (blocks.told, blocks.pairs) == (whole.told, whole.pairs)


def test_a_part_of_a_picture_is_found_and_strangers_are_left_alone(scans: Path) -> None:
    parts = [part(path) for path in sorted((scans / "set").iterdir())]
    strangers = [decode(path).rgb for path in sorted((scans / "others").iterdir())]
    near = {}
    for name in ("x.index", "whole.index"):
        verdicts = Guard.open(scans / name, deadline_s=None, verify=False).check(parts).verdicts
        assert name == "whole.index" or all(verdict.decision is not Decision.ALLOW for verdict in verdicts)
        near[name] = [verdict.nearest.similarity for verdict in verdicts if verdict.nearest]
    assert (np.array(near["x.index"]) > near["whole.index"]).all()
    guard = Guard.open(scans / "x.index", deadline_s=None, verify_budget_ms=60_000)
    assert guard.config.verify
    assert all(verdict.decision is not Decision.ALLOW for verdict in guard.check(parts))
    assert [verdict.decision for verdict in guard.check(strangers)] == [Decision.ALLOW] * len(strangers)


def test_what_is_added_has_crops_and_is_measured(scans: Path, changed: Path, embedder: Embedder) -> None:
    add_to_index(scans / "others", changed, embedder)
    with open_index(changed) as index:
        before = small_of(index)
        assert before is not None
        assert before.count == COUNT
    assert measure_small(changed, embedder).small.count == COUNT + 2
    picture = part(scans / "others" / f"scan-{COUNT:03}.png")
    verdict = Guard.open(changed, deadline_s=None, verify=False).check(picture).verdicts[0]
    assert verdict.nearest is not None
    assert verdict.nearest.record.uri == f"scan-{COUNT:03}.png"
    assert verdict.decision is not Decision.ALLOW
    remove_from_index(changed, uris=[verdict.nearest.record.uri])
    with open_index(changed) as index:
        assert small_of(index) is not None  # the thresholds of before stand
    again = Guard.open(changed, deadline_s=None, verify=False).check(picture).verdicts[0]
    assert again.nearest is not None
    assert again.nearest.similarity < verdict.nearest.similarity


def test_overlay(scans: Path, changed: Path, embedder: Embedder) -> None:
    """Crops of what is added at once are searched too, and those of what is buried no more."""
    add_pictures(changed, open_source(scans / "others"), embedder, ("opt-out",), who="ops")
    new, old = part(scans / "others" / f"scan-{COUNT:03}.png"), part(scans / "set" / "scan-003.png")
    guard = Guard.open(changed, deadline_s=None, verify=False)
    added, known = guard.check([new, old]).verdicts
    assert added.nearest is not None
    assert added.nearest.record.uri == f"scan-{COUNT:03}.png"
    assert added.decision is Decision.BLOCK
    assert known.nearest is not None
    assert known.nearest.record.uri == "scan-003.png"
    Overlay(changed).bury([key_of(known.nearest.record)], who="ops")
    other = guard.check(old).verdicts[0].nearest
    assert other is not None
    assert other.similarity < known.nearest.similarity


def test_duplicates_that_show_a_part_are_no_strangers(tmp_path: Path, embedder: Embedder) -> None:
    """A detail that stands in the set beside its picture is nearest to a crop of it: the pixels say that, and it sets
    no threshold."""
    folder = scan_folder(tmp_path / "set", 5)
    Image.fromarray(part(folder / "scan-000.png")).resize((176, 176)).save(folder / "detail.png")
    build_index(folder, tmp_path / "x.index", embedder, transform=small_transform(embedder.spec)[0], regions=True)
    report = measure_small(tmp_path / "x.index", embedder)
    assert sorted(report.alike[0]) == ["detail.png", "scan-000.png"]
    with open_index(tmp_path / "x.index") as index:
        rows = np.array(original_rows(index.folder, index.manifest))[::REGIONS]
        assert report.small.flag < index.similarity(rows, range(6))[0, 1]
