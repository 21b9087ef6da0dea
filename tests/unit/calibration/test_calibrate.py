"""A calibration is measured, kept with its index, carried on, and refused where it does not hold."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from guard.calibration.calibrate import calibrate_index
from guard.calibration.record import read_calibration
from guard.errors import ConfigError, IndexLoadError
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.edit import merge_indexes, remove_from_index
from guard.indexes.layout import IndexFolder
from guard.indexes.manifest import Manifest
from guard.indexes.store import open_index
from guard.indexes.transforming import remove_transform, transform_index
from guard.indexes.verify import verify_index
from tests.support.pictures_in_memory import InMemory
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()
N, CLEAN = 120, 800


def pictures(first: int, n: int) -> InMemory:
    return InMemory([picture(first + i, 24, 24) for i in range(n)])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibrate") / "x.index"
    build_index(pictures(0, N), path, TOY, thumbnails=0)
    return path


@pytest.fixture(scope="module")
def calibrated(built: Path) -> Path:
    calibrate_index(built, clean=pictures(10_000, CLEAN), embedder=TOY, targets=(0.05, 1e-3, 1e-6))
    return built


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """One of the same pictures that nobody has calibrated."""
    build_index(pictures(0, N), tmp_path / "x.index", TOY, thumbnails=0)
    return tmp_path / "x.index"


def manifest_of(path: Path) -> tuple[Path, Manifest]:
    folder = IndexFolder(path)
    at = folder.version(folder.current())
    return at, Manifest.read(at / "manifest.json")


def read(path: Path):  # type: ignore[no-untyped-def]
    return read_calibration(*manifest_of(path))


def test_what_was_measured_is_kept_with_the_index(calibrated: Path) -> None:
    kept = read(calibrated)
    assert (kept.source, kept.count, kept.pictures, kept.identical) == ("clean", N, CLEAN, 0)
    assert kept.hashes
    assert kept.duplicate is None
    assert [entry.rate for entry in kept.thresholds] == [0.05, 1e-3]
    assert "more clean pictures" in kept.unsupported["1e-06"]
    assert kept.tail is not None
    assert kept.tail.p >= 0.1
    assert kept.dispersion is None or kept.dispersion > 0.1
    with open_index(calibrated) as index:
        assert index.version == "0002"
        rows = TOY.embed(_batch(pictures(10_000, CLEAN)))
        nearest = index.search(rows, 1).similarity[:, 0]
    at = kept.thresholds[0].similarity
    assert kept.sample.reaching(at) == pytest.approx((nearest >= at).sum(), abs=1)
    assert (nearest >= at).mean() < 0.05 <= kept.rates().rate(at - 1e-4).high
    assert all(not finding.problem for finding in verify_index(calibrated))


def test_a_read_calibration_resolves_as_the_fresh_one(calibrated: Path) -> None:
    kept = read(calibrated)
    rates = kept.rates()
    for entry in kept.thresholds:
        again = rates.threshold(entry.rate)
        assert (again.similarity, again.estimate, again.low, again.method) == (
            entry.similarity,
            entry.estimate,
            entry.low,
            entry.method,
        )


def test_a_repeated_build_leaves_the_calibration(calibrated: Path) -> None:
    report = build_index(pictures(0, N), calibrated, TOY, thumbnails=0)
    assert report.unchanged
    assert read(calibrated) is not None


def test_later_versions_carry_it_and_a_new_build_or_a_merge_does_not(index: Path, tmp_path: Path) -> None:
    calibrate_index(index, targets=(0.05,))
    first = read(index)
    assert first.source == "references"
    assert first.duplicate == 0.95
    assert "each among the others" in first.described
    add_to_index(pictures(500, 10), index, TOY)
    assert read(index) == first
    remove_from_index(index, uris=["3.bmp"])
    assert read(index) == first
    build_index(pictures(0, 20), tmp_path / "other.index", TOY, thumbnails=0)
    merge_indexes(index, tmp_path / "other.index", tmp_path / "both.index")
    assert read(tmp_path / "both.index") is None
    build_index(pictures(40, 20), index, TOY, thumbnails=0)
    assert read(index) is None


def test_when_it_is_stale(index: Path) -> None:
    calibrate_index(index, targets=(0.05,))
    kept, (_, manifest) = read(index), manifest_of(index)
    now = kept.created_at + timedelta(days=1)
    assert kept.stale(manifest, now) == []
    assert kept.stale(manifest, now, max_age_days=0) == ["it is 1 days old, more than 0"]
    assert "days old" in kept.stale(manifest, now + timedelta(days=181))[0]
    nearly, doubled = (manifest.model_copy(update={"count": count}) for count in (2 * N - 1, 2 * N))
    assert kept.stale(nearly, now) == []
    assert kept.stale(doubled, now) == ["the index holds 240 references, and held 120"]
    halved = manifest.model_copy(update={"count": N // 2})
    assert kept.stale(halved, now) == ["the index holds 60 references, and held 120"]
    other = manifest.embedder.model_copy(update={"weights_sha256": "ab"})
    assert kept.stale(manifest.model_copy(update={"embedder": other}), now) == [
        "the embedder's weights_sha256 is 'ab', and was ''"
    ]
    assert kept.misfits(manifest, query_views="crops") == ["query_views is 'crops', and was 'one'"]
    assert kept.misfits(manifest, hashes=True) == []
    unhashed = kept.model_copy(update={"hashes": False})
    assert unhashed.misfits(manifest, hashes=True) == ["PDQ's verdict counts now, and did not"]


def test_a_transform_makes_it_misfit_until_it_is_taken_off(index: Path) -> None:
    calibrate_index(index, targets=(0.05,))
    transform_index(index, whiten=True)
    assert read(index).misfits(manifest_of(index)[1]) == ["the index's transform is another one"]
    remove_transform(index)
    assert read(index).misfits(manifest_of(index)[1]) == []


def test_identical_pictures_are_named(index: Path) -> None:
    clean = [picture(10_000 + i, 24, 24) for i in range(110)]
    clean[7] = picture(3, 48, 48)  # another size of a reference: other bytes, the same hash
    report = calibrate_index(index, clean=InMemory(clean), embedder=TOY, targets=(0.2, 1e-3))
    assert report.identical == ("7.bmp",)
    assert report.calibration.identical == 1
    assert "identical to a reference by PDQ" in report.to_dict()["unsupported"]["0.001"]
    ignored = calibrate_index(index, clean=InMemory(clean), embedder=TOY, targets=(0.2,), hashes=False)
    assert (ignored.identical, ignored.calibration.identical, ignored.calibration.hashes) == ((), 0, False)


def test_what_cannot_be_calibrated_is_said(index: Path) -> None:
    with pytest.raises(ConfigError, match="20 clean pictures are too few: at least 100"):
        calibrate_index(index, clean=pictures(10_000, 20), embedder=TOY)
    with pytest.raises(ConfigError, match=r"^0 clean pictures .* 120 were left out, since they are references"):
        calibrate_index(index, clean=pictures(0, 120), embedder=TOY)
    with pytest.raises(ConfigError, match="50 references are too few"):
        calibrate_index(index, limit=50)
    with pytest.raises(ConfigError, match="give it too"):
        calibrate_index(index, clean=pictures(10_000, 200))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        calibrate_index(index, targets=(0,))
    with pytest.raises(ConfigError, match="query_views"):
        calibrate_index(index, query_views="both")  # type: ignore[arg-type]
    with pytest.raises(IndexLoadError, match="name"):
        calibrate_index(index, clean=pictures(10_000, 200), embedder=ToyEmbedder(name="other"))
    assert read(index) is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: json.dumps({**json.loads(text), "format_version": 9}), "format_version 9"),
        (lambda text: json.dumps({**json.loads(text), "pictures": 3}), "counts must not exceed the pictures"),
        (lambda text: json.dumps({**json.loads(text), "levels": [3, 2]}), "levels"),
        (lambda text: json.dumps({**json.loads(text), "surprise": 1}), "surprise"),
    ],
)
def test_a_damaged_file_is_refused_by_name(calibrated: Path, tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    at, manifest = manifest_of(calibrated)
    text = (at / "calibration.json").read_text(encoding="utf-8")
    (tmp_path / "calibration.json").write_text(damage(text), encoding="utf-8")
    with pytest.raises(IndexLoadError, match=r"calibration\.json") as caught:
        read_calibration(tmp_path, manifest)
    assert said in str(caught.value)
    assert "calibrate the index anew" in str(caught.value)


def _batch(source: InMemory):  # type: ignore[no-untyped-def]
    from guard.pixels import ImageBatch

    return ImageBatch(arrays=tuple(np.asarray(p.convert("RGB")) for p in source.pictures))


def test_too_few_are_refused_before_any_is_looked_up(index: Path, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    for i in range(20):
        picture(10_000 + i, 24, 24).save(tmp_path / "few" / f"{i}.png")
    progress: list[int] = []
    with pytest.raises(ConfigError, match="20 clean pictures are too few"):
        calibrate_index(
            index, clean=tmp_path / "few", embedder=TOY, on_progress=lambda done, _total: progress.append(done)
        )
    assert progress == []
