"""A small set of look-alikes: thresholds of its own, pixels of every candidate, and warnings where neither helps."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from guard import Decision, Guard
from guard.config import GuardConfig
from guard.decode import decode
from guard.embedders.registry import load_embedder
from guard.embedders.shipped import FOLDER
from guard.embedders.statistics import FILE, statistics_of
from guard.errors import IndexLoadError
from guard.indexes import build_index, open_index, transform_index
from guard.indexes.manifest import SMALL
from guard.small.alike import measure
from guard.small.build import known_report, measure_small, small_transform
from guard.small.record import LOWEST_FLAG, SmallSet, read_small
from tests.support.references import photo_folder
from tests.support.scans import scan_folder
from tests.support.toys import ToyEmbedder


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 scans as an index of a small set, and six others beside it."""
    tmp_path = tmp_path_factory.mktemp("scans")
    scan_folder(tmp_path / "all", 30)
    for folder, names in (("set", range(24)), ("others", range(24, 30))):
        (tmp_path / folder).mkdir()
        for i in names:
            (tmp_path / "all" / f"scan-{i:03}.png").rename(tmp_path / folder / f"scan-{i:03}.png")
    embedder = load_embedder()
    transform, why = small_transform(embedder.spec)
    assert transform is not None, why
    build_index(tmp_path / "set", tmp_path / "x.index", embedder, transform=transform)
    measure_small(tmp_path / "x.index", embedder)
    return tmp_path


def edited(path: Path) -> np.ndarray[Any, Any]:
    """Cropped by a twelfth of each side, brighter, compressed."""
    with Image.open(path) as image:
        w, h = image.size
        cut = image.convert("RGB").crop((w // 12, h // 12, w - w // 12, h - h // 12)).point(lambda v: min(255, v * 1.1))
    buffer = io.BytesIO()
    cut.save(buffer, "JPEG", quality=60)
    return decode(buffer.getvalue()).rgb


def test_copies_are_found_and_strangers_are_left_alone(scans: Path) -> None:
    guard = Guard.open(scans / "x.index", deadline_s=None, verify_budget_ms=60_000)
    assert guard.config.verify
    copies = guard.check([edited(path) for path in sorted((scans / "set").iterdir())])
    assert sum(verdict.decision is not Decision.ALLOW for verdict in copies) >= 22
    strangers = guard.check([decode(path).rgb for path in sorted((scans / "others").iterdir())])
    assert [verdict.decision for verdict in strangers] == [Decision.ALLOW] * 6
    assert all(match.evidence is not None for verdict in copies for match in verdict.matches[:1])


def test_its_thresholds_are_those_of_the_set(scans: Path) -> None:
    with open_index(scans / "x.index") as index:
        small = read_small(index.folder, index.manifest)
        assert small is not None
        assert index.manifest.transform is not None
        assert index.manifest.transform.normalisation is not None
        rows = [index.similarity(np.asarray([row]), range(24))[0] for row in _originals(index)]
    between = np.array(rows)
    own = np.diag(between).copy()
    np.fill_diagonal(between, -np.inf)
    assert small.count == 24
    assert small.alike == 0
    assert small.strangers >= float(between.max()) - 1e-5  # as one view; a window of one may be nearer to another
    assert small.strangers is not None
    assert small.flag > small.strangers
    assert small.own == pytest.approx(float(np.median(own)), abs=1e-5)
    assert small.flag <= small.block <= 1
    guard = Guard.open(scans / "x.index")
    assert guard.rules.of_the_policy == (small.flag, small.block)
    assert Guard.open(scans / "x.index", policy={"flag": 0.5, "block": 0.9}).rules.of_the_policy == (0.5, 0.9)
    assert not Guard.open(scans / "x.index", verify=False).config.verify


def _originals(index: Any) -> Any:
    from guard.indexes.transformed_rows import original_rows

    return np.array(original_rows(index.folder, index.manifest))


def inset(path: Path) -> np.ndarray[Any, Any]:
    """A scan at 0.45 of each side within something else, where one of the windows is."""
    side = 400
    rng = np.random.default_rng(5)
    page = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    with Image.open(path) as image:
        page.paste(image.convert("RGB").resize((180, 180)), (0, 0))
    return np.asarray(page)


def test_images_are_looked_up_by_windows_as_the_set_was(scans: Path) -> None:
    with open_index(scans / "x.index") as index:
        small = read_small(index.folder, index.manifest)
    assert small is not None
    assert small.views == "windows"
    guard, one = Guard.open(scans / "x.index", deadline_s=None), Guard.open(scans / "x.index", query_views="one")
    assert (guard.config.query_views, one.config.query_views) == ("windows", "one")
    shown = [inset(path) for path in sorted((scans / "set").iterdir())[:4]]
    seen, plain = ([verdict.matches[0].similarity for verdict in g.check(shown)] for g in (guard, one))
    assert np.median(seen) > np.median(plain) + 0.1


def test_a_set_of_before_and_other_windows_are_looked_up_as_one_view(scans: Path) -> None:
    with open_index(scans / "x.index") as index:
        fields = json.loads((index.folder / SMALL).read_text(encoding="utf-8"))
    before = {name: value for name, value in fields.items() if name not in ("views", "windows")}
    for written in (before, {**fields, "windows": "at another size"}):
        small = SmallSet.model_validate(written)
        assert small.applied(GuardConfig(), load_embedder()).query_views == "one"
    assert SmallSet.model_validate(fields).applied(GuardConfig(), load_embedder()).query_views == "windows"
    assert SmallSet.model_validate(fields).applied(GuardConfig(), ToyEmbedder()).query_views == "one"


def test_what_an_unchanged_build_knows_is_read(scans: Path) -> None:
    known = known_report(scans / "x.index")
    assert known is not None
    assert known_report(scans / "x.index", note="another") is None


def test_a_set_too_alike_is_warned_of(tmp_path: Path) -> None:
    """One picture, moved by a few pixels each time: no bytes and no hash are the same, and no pixels differ."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (24, 24), np.uint8))
    big = np.asarray(noise.resize((300, 300), Image.Resampling.BICUBIC))
    (tmp_path / "set").mkdir()
    for i in range(8):
        Image.fromarray(big[4 * i : 4 * i + 240, 3 * i : 3 * i + 240]).save(tmp_path / "set" / f"{i}.png")
    embedder = load_embedder()
    build_index(tmp_path / "set", tmp_path / "x.index", embedder, transform=small_transform(embedder.spec)[0])
    report = measure_small(tmp_path / "x.index", embedder, keep=1)
    assert report.small.alike > 0
    assert report.alike[0][0].endswith(".png")
    assert "look like copies of one another" in " ".join(report.small.warnings)


def test_without_thumbnails_it_says_that_no_pixels_are_compared(tmp_path: Path) -> None:
    build_index(photo_folder(tmp_path / "set", 6), tmp_path / "x.index", ToyEmbedder(), thumbnails=0)
    report = measure_small(tmp_path / "x.index", ToyEmbedder(), note="plain cosines are compared")
    assert (report.small.compared, report.small.edited) == (0, 0)
    assert report.small.views == "one"  # there are no pictures to take windows of
    assert report.small.warnings[0] == "plain cosines are compared"
    assert "similarity alone decides" in report.small.warnings[-1]


@pytest.mark.parametrize("count", [0, 1])
def test_next_to_nothing(tmp_path: Path, count: int) -> None:
    build_index(photo_folder(tmp_path / "set", count), tmp_path / "x.index", ToyEmbedder())
    small = measure_small(tmp_path / "x.index", ToyEmbedder()).small
    assert (small.count, small.strangers, small.flag, small.block) == (count, None, 0.8, 0.95)
    assert (small.edited, small.told) == (4 * count, 4 * count)
    assert ("no picture" if count == 0 else "no two different pictures") in small.warnings[0]
    assert len(small.warnings) == 1


def test_two_pictures_set_no_flag_that_everything_reaches(tmp_path: Path) -> None:
    """They are less alike than nothing: a threshold just above that says nothing of a third."""
    folder = tmp_path / "set"
    folder.mkdir()
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)
    coarse.save(folder / "coarse.png")
    stripes = np.tile(np.where(np.arange(256) % 16 < 8, 30, 220).astype(np.uint8), (256, 1))
    Image.fromarray(stripes).save(folder / "stripes.png")
    embedder = load_embedder()
    build_index(folder, tmp_path / "x.index", embedder, transform=small_transform(embedder.spec)[0])
    small = measure_small(tmp_path / "x.index", embedder).small
    assert small.strangers is not None
    assert small.strangers < LOWEST_FLAG / 2
    assert (small.flag, small.block) == (LOWEST_FLAG, pytest.approx((LOWEST_FLAG + small.own) / 2))
    assert "no lower than 0.2" in small.thresholds.source
    assert "thresholds rest on 2 pictures" in small.warnings[0]
    guard = Guard.open(tmp_path / "x.index", deadline_s=None, verify_budget_ms=60_000)
    assert guard.rules.of_the_policy == (small.flag, small.block)
    assert guard.check([edited(folder / "coarse.png")])[0].decision is not Decision.ALLOW


def test_one_picture_under_a_transform(tmp_path: Path) -> None:
    embedder = load_embedder()
    folder = scan_folder(tmp_path / "set", 1)
    build_index(folder, tmp_path / "x.index", embedder, transform=small_transform(embedder.spec)[0])
    small = measure_small(tmp_path / "x.index", embedder).small
    assert 0 < small.flag < small.block < small.own
    guard = Guard.open(tmp_path / "x.index")
    other = decode(scan_folder(tmp_path / "two", 2) / "scan-001.png").rgb
    assert guard.check([decode(folder / "scan-000.png").rgb, other]).blocked == (0,)


def test_equal_pictures_are_no_strangers(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "set", 4)
    (folder / "again.jpg").write_bytes((folder / "0001.jpg").read_bytes())
    Image.open(folder / "0002.jpg").resize((128, 128)).save(folder / "larger.png")
    build_index(folder, tmp_path / "x.index", ToyEmbedder())
    with open_index(tmp_path / "x.index") as index:
        found = measure(index, ToyEmbedder())
    assert found.strangers is not None
    assert found.strangers < 0.9
    assert found.pairs == []


def test_duplicates_do_not_make_a_set_too_alike(tmp_path: Path) -> None:
    """An edited copy of a picture lies as near to the crop of it that the set holds too, and that tells nothing."""
    folder = scan_folder(tmp_path / "set", 5)
    with Image.open(folder / "scan-000.png") as image:
        image.crop((9, 9, image.width - 9, image.height - 9)).save(folder / "crop.png")
    build_index(folder, tmp_path / "x.index", ToyEmbedder())
    with open_index(tmp_path / "x.index") as index:
        found = measure(index, ToyEmbedder())
    assert len(found.pairs) == 1
    assert found.told > 0.9 * found.edited  # two thirds, if the crop and what it was cut from were strangers


def test_a_transform_that_changed_is_noticed(scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import shutil

    shutil.copytree(scans / "x.index", tmp_path / "x.index")
    transform_index(tmp_path / "x.index", beta=0.25)
    with caplog.at_level(logging.WARNING), pytest.raises(Exception, match=r"policy\.flag"):
        Guard.open(tmp_path / "x.index")
    assert "the transform is another one" in caplog.text


def test_a_damaged_record_is_named(scans: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(scans / "x.index", tmp_path / "x.index")
    with open_index(tmp_path / "x.index") as index:
        path, manifest = index.folder / SMALL, index.manifest
    fields = json.loads(path.read_text(encoding="utf-8"))
    for damaged in ("{", json.dumps({**fields, "flag": 0.9, "block": 0.1}), json.dumps({**fields, "more": 1})):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(IndexLoadError, match=r"small\.json"):
            read_small(path.parent, manifest)


def test_the_statistics_are_those_of_the_shipped_weights() -> None:
    """Other weights were shipped, and this fails? `python -m guard.training.statistics` makes them anew."""
    found, why = statistics_of(load_embedder().spec)
    assert found is not None, why
    assert (FOLDER / FILE).stat().st_size < 1_000_000


def test_statistics_of_other_weights_are_not_used(tmp_path: Path) -> None:
    assert small_transform(ToyEmbedder().spec)[0] is None
    found, why = statistics_of(ToyEmbedder().spec)
    assert found is None
    assert "guard.training.statistics" in why
    assert "no statistics" in statistics_of(ToyEmbedder().spec, tmp_path / "none")[1]


def test_a_record_knows_what_it_fits(scans: Path) -> None:
    with open_index(scans / "x.index") as index:
        small = read_small(index.folder, index.manifest)
        assert small is not None
        assert small.misfits(index.manifest) == []
        other = small.model_copy(update={"regions": 15, "transform": None})
        assert len(other.misfits(index.manifest)) == 2
        assert SmallSet.model_validate_json(small.to_json()) == small
