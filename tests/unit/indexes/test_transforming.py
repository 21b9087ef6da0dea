"""An index with a transform: made, searched, extended, cut, merged, checked, and taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from guard.embedders.registry import load_embedder
from guard.embedders.views import REGIONS
from guard.errors import ConfigError, IndexLoadError
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.edit import merge_indexes, remove_from_index
from guard.indexes.faissfile import ORIGINALS, VECTORS, map_rows, originals
from guard.indexes.manifest import MANIFEST, TRANSFORM, Manifest
from guard.indexes.staging import complete
from guard.indexes.store import OpenIndex, open_index
from guard.indexes.transform import MAX_BACKGROUND
from guard.indexes.transforming import remove_transform, transform_index
from guard.indexes.verify import verify_index
from guard.pixels import to_batch
from guard.sources.base import Item, Survey
from tests.support.references import jpeg, photo_folder
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    build_index(photo_folder(tmp_path / "photos", 20), tmp_path / "x.index", TOY, thumbnails=16)
    return tmp_path / "x.index"


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Ten pictures outside of the index, and two that are in it: one as the same file, one saved anew."""
    folder = tmp_path / "others"
    folder.mkdir()
    for seed in range(100, 110):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed))
    (folder / "same.jpg").write_bytes(jpeg(3))
    picture(5).save(folder / "nearly.png")
    return folder


def now(path: Path) -> OpenIndex:
    return open_index(path, embedder=TOY)


def fine(path: Path) -> bool:
    findings = [finding.problem for finding in verify_index(path)]
    assert not any(findings), findings
    return True


def query(seed: int) -> np.ndarray:
    return TOY.embed(to_batch(picture(seed)))


def test_whitening_is_published_and_taken_back(index: Path) -> None:
    with now(index) as before:
        plain, vectors = before.search(query(7), 20), (before.folder / VECTORS).read_bytes()
    report = transform_index(index, whiten=True)
    assert report.transform is not None
    assert report.transform.whitening is not None
    assert report.transform.whitening.references == 20
    assert 0 < report.transform.whitening.shrinkage <= 1
    with now(index) as open_:
        found = open_.search(query(7), 20)
        assert open_.version == report.version == "0002"
        assert found.ids[0, 0] == 7
        assert found.similarity[0, 0] > 0.9
        assert np.abs(found.similarity - plain.similarity).max() > 0.01
        assert open_.thumbnail(4)
        assert (open_.folder / ORIGINALS).read_bytes() == vectors
    assert fine(index)
    again = remove_transform(index)
    assert again.transform is None
    with now(index) as open_:
        assert (open_.folder / VECTORS).read_bytes() == vectors
        assert set(open_.manifest.files) == {VECTORS, "records.sqlite", "thumbnails.sqlite", "skipped.jsonl",
                                             "hashes.faiss"}  # fmt: skip
    assert fine(index)
    with pytest.raises(ConfigError, match="no transform"):
        remove_transform(index)


def test_backends_agree(index: Path, others: Path) -> None:
    transform_index(index, whiten=True, dim=8, background=others, embedder=TOY, beta=0.5)
    queries = np.concatenate([query(seed) for seed in (2, 7, 99)])
    with now(index) as faiss, open_index(index, backend="torch") as torch:
        assert faiss.manifest.dim == 8
        one, other = faiss.search(queries, 5), torch.search(queries, 5)
        np.testing.assert_allclose(one.similarity, other.similarity, atol=1e-5)
        assert one.ids[:, 0].tolist() == other.ids[:, 0].tolist()


def test_the_background_leaves_out_what_is_in_the_index(index: Path, others: Path) -> None:
    (others / "bad.jpg").write_bytes(b"")
    report = transform_index(index, background=others, embedder=TOY, nearest=2)
    assert report.background_left_out == 2
    assert [skip.reason for skip in report.skips] == ["empty"]
    assert report.transform is not None
    assert report.transform.normalisation is not None
    assert report.transform.normalisation.background == 10
    assert report.to_dict()["transform"]["normalisation"]["source"] == "folder others"
    with now(index) as open_:
        background = np.concatenate([query(seed) for seed in range(100, 110)])
        # the pictures of the background were saved as JPEG, which moves them a little
        bias = np.sort(query(7) @ background.T)[0, -2:].mean()
        assert open_.search(query(7), 1).similarity[0, 0] == pytest.approx(1 - bias, abs=0.01)
        assert not (open_.folder / ORIGINALS).exists()  # nothing moved them
    assert fine(index)


def test_a_background_of_finished_descriptors(index: Path, tmp_path: Path) -> None:
    rows = np.concatenate([query(seed) for seed in (7, *range(100, 106))])
    np.save(tmp_path / "others.npy", rows)
    report = transform_index(index, background=tmp_path / "others.npy", embedder=TOY)
    assert report.background_left_out == 1
    with now(index) as open_:
        bias = np.sort(query(9) @ rows[1:].T)[0, -3:].mean()
        expected = query(9) @ np.array(map_rows(*originals(open_.folder, open_.manifest), 20)).T - bias
        assert open_.search(query(9), 1).similarity[0, 0] == pytest.approx(expected.max(), abs=1e-5)


@pytest.mark.parametrize("known", [True, False])
def test_a_background_without_end_is_refused(index: Path, known: bool) -> None:
    class Endless:
        taken = 0

        def survey(self) -> Survey:
            return Survey("too many", "", MAX_BACKGROUND + 1 if known else None)

        def items(self, start: int = 0) -> Iterator[Item]:
            while True:
                self.taken += 1
                yield Item(f"{self.taken}", vector=np.eye(1, 192, self.taken % 192, dtype=np.float32)[0])

    source = Endless()
    with pytest.raises(ConfigError, match=f"more than {MAX_BACKGROUND}"):
        transform_index(index, background=source, embedder=TOY)
    assert source.taken < MAX_BACKGROUND + 1000
    assert now(index).version == "0001"


def test_what_is_not_spoken_of_stays(index: Path, others: Path) -> None:
    transform_index(index, whiten=True, shrinkage=0.5, background=others, embedder=TOY)
    report = transform_index(index, beta=0.25, nearest=4)
    assert report.transform is not None
    whitening, normalisation = report.transform.whitening, report.transform.normalisation
    assert whitening is not None
    assert normalisation is not None
    assert (whitening.shrinkage, whitening.chosen_by) == (0.5, "user")
    assert (normalisation.beta, normalisation.nearest, normalisation.background) == (0.25, 4, 10)
    with now(index) as open_:
        both = open_.search(query(7), 3).similarity
    report = transform_index(index, whiten=False)
    assert report.transform is not None
    assert report.transform.whitening is None
    report = transform_index(index, whiten=True, shrinkage=0.5)
    with now(index) as open_:  # fitted on the descriptors that were kept, and not on whitened ones
        np.testing.assert_array_equal(open_.search(query(7), 3).similarity, both)
    report = transform_index(index, background="none")
    assert report.transform is not None
    assert report.transform.normalisation is None
    with pytest.raises(ConfigError, match="--remove"):
        transform_index(index, whiten=False)
    assert fine(index)


def test_what_is_refused(index: Path, others: Path, tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({}, "say what to do"),
        ({"shrinkage": 0.5, "background": others}, "--whiten"),
        ({"beta": 0.5}, "give a background"),
        ({"background": others, "embedder": TOY, "beta": 0.0}, "above 0"),
        ({"background": others, "embedder": TOY, "nearest": 0}, "at least one"),
        ({"background": others, "embedder": TOY, "nearest": 11}, "10 pictures that are no references"),
        ({"background": others}, "embedder"),
        ({"background": tmp_path / "nowhere", "embedder": TOY}, "does not exist"),
        ({"whiten": True, "shrinkage": 0.0}, "without variance"),
    ]
    for how, said in wrong:
        with pytest.raises(ConfigError, match=said):
            transform_index(index, **how)  # type: ignore[arg-type]
    with pytest.raises(IndexLoadError, match="does not fit the embedder"):
        transform_index(index, background=others, embedder=ToyEmbedder(name="another"))
    assert now(index).version == "0001"
    build_index(tmp_path / "photos", tmp_path / "pdq.index", load_embedder("pdq"))
    with pytest.raises(ConfigError, match="packed bits"):
        transform_index(tmp_path / "pdq.index", whiten=True)


def test_added_references_go_through_the_transform_and_leave_the_background(
    index: Path, others: Path, tmp_path: Path
) -> None:
    transform_index(index, whiten=True, background=others, embedder=TOY, beta=0.5)
    more = tmp_path / "more"
    more.mkdir()
    (more / "a.jpg").write_bytes(jpeg(105))  # of the background
    (more / "b.jpg").write_bytes(jpeg(60))
    report = add_to_index(more, index, TOY)
    assert (report.count, report.added, report.background_left_out) == (22, 2, 1)
    with now(index) as open_:
        manifest = open_.manifest
        assert manifest.transform is not None
        assert manifest.transform.whitening is not None
        assert manifest.transform.whitening.references == 20  # fitted once
        assert manifest.transform.normalisation is not None
        assert manifest.transform.normalisation.background == 9
        for seed, reference in ((105, 20), (60, 21), (7, 7)):
            found = open_.search(query(seed), 1)
            assert found.ids[0, 0] == reference
    assert fine(index)
    remove_transform(index)
    plain = tmp_path / "plain.index"
    build_index(tmp_path / "photos", plain, TOY)
    add_to_index(more, plain, TOY)
    with now(index) as one, now(plain) as other:
        assert (one.folder / VECTORS).read_bytes() == (other.folder / VECTORS).read_bytes()


def test_the_crops_of_references_are_transformed_like_them(others: Path, tmp_path: Path) -> None:
    path, photos = tmp_path / "r.index", photo_folder(tmp_path / "photos", 8)
    build_index(photos, path, TOY, thumbnails=0, regions=True)
    with now(path) as plain:
        vectors, rows = (plain.folder / VECTORS).read_bytes(), len(plain.vectors)
    report = transform_index(path, whiten=True, background=others, embedder=TOY)
    assert report.transform is not None
    assert report.transform.whitening is not None
    assert (rows, report.transform.whitening.references) == (8 * REGIONS, 8)
    part = np.array(picture(5))[22:, 22:]  # near to the last crops of 0.65, and not to the whole
    with now(path) as open_:
        assert open_.search(TOY.embed(to_batch(part)), 3).ids[0, 0] == 5
    assert fine(path)
    more = tmp_path / "more"
    more.mkdir()
    (more / "a.jpg").write_bytes(jpeg(60))
    assert add_to_index(more, path, TOY).count == 9
    assert fine(path)
    remove_from_index(path, ids=[8])
    remove_transform(path)
    with now(path) as open_:
        assert (open_.folder / VECTORS).read_bytes() == vectors


def test_removed_references_leave_the_others_as_they_were(index: Path, others: Path) -> None:
    transform_index(index, whiten=True, background=others, embedder=TOY)
    with now(index) as open_:
        before = open_.search(query(7), 1).similarity
        entry = open_.manifest.transform
    remove_from_index(index, uris=["0003.jpg"])
    with now(index) as open_:
        found = open_.search(query(7), 1)
        assert (found.ids[0, 0], open_.manifest.transform) == (6, entry)
        np.testing.assert_array_equal(found.similarity, before)
    assert fine(index)
    assert remove_from_index(index, collections=["training"])[0].count == 0
    assert fine(index)


def test_only_equal_transforms_merge(index: Path, others: Path, tmp_path: Path) -> None:
    other = tmp_path / "y.index"
    build_index(photo_folder(tmp_path / "second", 5), other, TOY)
    for path in (index, other):
        transform_index(path, whiten=True, power=1)
    with pytest.raises(ConfigError, match="transform --remove"):
        merge_indexes(index, other, tmp_path / "z.index")
    remove_transform(other)
    with pytest.raises(ConfigError, match="transforms differ"):
        merge_indexes(index, other, tmp_path / "z.index")
    remove_from_index(index, ids=[0])
    twin = tmp_path / "twin.index"
    merge_indexes(index, index, twin, duplicates=True)
    with now(twin) as open_:
        assert len(open_) == 38
        assert open_.manifest.transform == now(index).manifest.transform
    assert fine(twin)


def test_building_anew_loses_the_transform_and_says_so(index: Path, tmp_path: Path) -> None:
    transform_index(index, whiten=True)
    photos = tmp_path / "photos"
    assert build_index(photos, index, TOY, thumbnails=16).unchanged
    assert now(index).manifest.transform is not None
    photo_folder(photos, 21)
    report = build_index(photos, index, TOY, thumbnails=16)
    assert (report.count, report.transform_lost) == (21, True)
    assert now(index).manifest.transform is None
    assert not build_index(photo_folder(photos, 22), index, TOY, thumbnails=16).transform_lost


def test_a_build_that_was_killed_within_the_transform_goes_on(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends after the vectors were transformed, and before the manifest was written."""
    transform_index(index, whiten=True)
    more = photo_folder(tmp_path / "more", 3, first=500)

    class Killed(BaseException):
        pass

    def complete_and_die(*args: object, **named: object) -> None:
        complete(*args, **named)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("guard.indexes.build_job.complete", complete_and_die)
        with pytest.raises(Killed):
            add_to_index(more, index, TOY)
    assert (index / "building" / ORIGINALS).exists()
    report = add_to_index(more, index, TOY)
    assert (report.count, report.resumed_at) == (23, 3)
    assert fine(index)


def test_verify_sees_vectors_that_another_transform_made(index: Path) -> None:
    transform_index(index, whiten=True)
    at = now(index).folder
    rows = np.memmap(at / VECTORS, np.float32, "r+", offset=(at / VECTORS).stat().st_size - 4 * 192)  # the last row
    rows[:] = rows[::-1].copy()  # still of unit norm
    rows.flush()
    problems = {finding.check: finding.problem for finding in verify_index(index)}
    assert "row 19 is not what the transform makes" in problems["transform"]
    assert problems["vectors"] == ""


@pytest.mark.parametrize("file", [TRANSFORM, ORIGINALS])
def test_a_manifest_and_files_that_disagree_are_refused(index: Path, file: str) -> None:
    transform_index(index, whiten=True)
    at = now(index).folder
    whole = (at / MANIFEST).read_text(encoding="utf-8")
    fields = Manifest.read(at / MANIFEST).model_dump(mode="json")
    del fields["files"][file]
    (at / MANIFEST).write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(IndexLoadError, match=r"transform"):
        now(index)
    (at / MANIFEST).write_text(whole, encoding="utf-8")
    (at / file).unlink()
    with pytest.raises(IndexLoadError, match=file):
        now(index)
