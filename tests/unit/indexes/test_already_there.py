"""What an index holds already is not added again: by bytes, by vectors of a name, in all of the collections."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from guard.dedup.fates import Fate, Fates
from guard.errors import ConfigError
from guard.indexes import add_to_index, build_index, open_index
from guard.indexes.layout import IndexFolder
from guard.indexes.staging import LEFT_OUT, SKIPPED
from guard.indexes.verify import verify_index
from guard.pixels import ImageBatch
from guard.sources import open_source
from guard.types import Descriptors
from tests.support.references import jpeg, photo_folder, unit_rows
from tests.support.toys import ToyEmbedder

TOY = ToyEmbedder()


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build_index(photo_folder(tmp_path / "photos", 6), tmp_path / "x.index", TOY, thumbnails=16)
    return tmp_path / "x.index"


class Unasked(ToyEmbedder):
    def embed(self, batch: ImageBatch) -> Descriptors:
        assert len(batch) == 0, "what is left out is not embedded"
        return super().embed(batch)


def test_the_same_folder_again_changes_nothing(built: Path, tmp_path: Path) -> None:
    report = add_to_index(tmp_path / "photos", built, Unasked())
    assert (report.added, report.already_there, report.count, report.version) == (0, 6, 6, "0001")
    assert IndexFolder(built).published() == ["0001"]
    assert not (built / "building").exists()


def test_what_is_new_is_added_and_the_rest_is_listed(built: Path, tmp_path: Path) -> None:
    """Once under the same name, once under another; a changed file of a known name is new."""
    photos = tmp_path / "photos"
    (photos / "sub").mkdir()
    (photos / "sub" / "again.jpg").write_bytes(jpeg(2))
    (photos / "0003.jpg").write_bytes(jpeg(70))
    (photos / "bad.jpg").write_bytes(b"bad")
    report = add_to_index(photos, built, TOY)
    assert (report.added, report.already_there, report.skipped) == (1, 6, {"not_an_image": 1})
    with open_index(built) as index:
        assert [record.uri for record in index.records(range(7))][-2:] == ["0005.jpg", "0003.jpg"]
        assert index.manifest.skipped == {"not_an_image": 1}
        assert index.manifest.sources == ("folder photos",)
        lines = [json.loads(line) for line in (index.folder / LEFT_OUT).read_text(encoding="utf-8").splitlines()]
        assert len((index.folder / SKIPPED).read_text(encoding="utf-8").splitlines()) == 1
    assert len(lines) == 6
    again = next(line for line in lines if line["uri"] == "sub/again.jpg")
    assert again == {**again, "reason": "already_there", "detail": "reference 2, 0002.jpg, has the same bytes"}
    assert not any(finding.problem for finding in verify_index(built))
    more = add_to_index(photo_folder(tmp_path / "more", 1, first=90), built, TOY)
    assert (more.added, more.already_there) == (1, 0)
    with open_index(built) as index:
        assert LEFT_OUT not in index.manifest.files  # each version lists those of its own addition


def test_they_are_added_where_repetition_counts(built: Path, tmp_path: Path) -> None:
    report = add_to_index(tmp_path / "photos", built, TOY, duplicates=True)
    assert (report.added, report.already_there, report.count) == (6, 0, 12)


def test_a_build_keeps_what_its_source_repeats(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", 2)
    (photos / "again.jpg").write_bytes(jpeg(1))
    assert build_index(photos, tmp_path / "x.index", TOY).count == 3


def test_another_collection_is_never_left_out(built: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    report = add_to_index(photos, built, TOY, collections=("protected", "training"))
    assert (report.added, report.already_there) == (6, 0)
    again = add_to_index(photos, built, TOY, collections=("protected",))
    assert (again.added, again.already_there) == (0, 6)


def test_a_set_is_written_anew_without_what_was_left_out(built: Path, tmp_path: Path) -> None:
    """The index does not know that name, and knows why: it is a copy, and not a source that has changed."""
    more = photo_folder(tmp_path / "more", 1, first=50)
    (more / "copy.jpg").write_bytes(jpeg(2))
    add_to_index(more, built, TOY)
    with open_index(built) as index:
        fates = Fates(index, np.arange(7))
        assert fates.of("copy.jpg", size=1, modified=1, data=lambda: jpeg(2)) is Fate.GOES
        assert fates.of("0002.jpg", size=1, modified=1, data=lambda: jpeg(2)) is Fate.STAYS
        with pytest.raises(ConfigError, match="has changed"):
            fates.of("other.jpg", size=1, modified=1, data=lambda: jpeg(2))


def test_vectors_are_told_by_name_and_values(tmp_path: Path) -> None:
    """Rows without a table are named after their file and number, as those of any other file of that name."""
    rows = unit_rows(5, TOY.spec.dim)
    np.save(tmp_path / "rows.npy", rows)
    build_index(open_source(tmp_path / "rows.npy", spec=TOY.spec), tmp_path / "x.index", TOY)
    np.save(tmp_path / "rows.npy", np.concatenate([rows[:3], unit_rows(3, TOY.spec.dim, seed=1)]))
    report = add_to_index(open_source(tmp_path / "rows.npy", spec=TOY.spec), tmp_path / "x.index", TOY)
    assert (report.added, report.already_there) == (3, 3)


def test_an_addition_that_was_killed_after_it_was_published_adds_nothing_more(built: Path, tmp_path: Path) -> None:
    more = photo_folder(tmp_path / "more", 3, first=50)
    assert add_to_index(more, built, TOY).added == 3
    again = add_to_index(more, built, TOY)
    assert (again.added, again.already_there, again.count) == (0, 3, 9)
