"""A build: order, collections, what is resumed, what is refused, what is done again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from guard.embedders.registry import load_embedder
from guard.errors import CheckError, ConfigError, IndexLoadError
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.preparation import GROUP
from guard.indexes.store import open_index
from guard.pixels import ImageBatch
from guard.sources import Item, Skip, Survey, open_source
from guard.types import Descriptors
from tests.support.references import photo_folder, same_index
from tests.support.specs import Named
from tests.support.toys import ToyEmbedder

TOY = ToyEmbedder()


class Breaking:
    """A source whose storage fails after some items, once."""

    def __init__(self, path: Path, after: int) -> None:
        self.inner, self.after, self.started_at = open_source(path), after, -1

    def survey(self) -> Survey:
        return self.inner.survey()

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        self.started_at = start
        for i, item in enumerate(self.inner.items(start), start):
            if self.after and i == self.after:
                self.after = 0
                raise OSError("the storage is gone")
            yield item


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (7, 3), (1000, 2)])
def test_batches_and_workers_do_not_change_the_index(tmp_path: Path, batch: int, workers: int) -> None:
    folder = photo_folder(tmp_path / "photos", 40)
    (folder / "0020.jpg").write_bytes(b"damaged")
    build_index(folder, tmp_path / "a.index", TOY)
    build_index(folder, tmp_path / "b.index", TOY, batch=batch, workers=workers)
    with open_index(tmp_path / "a.index") as a, open_index(tmp_path / "b.index") as b:
        same_index(a, b)


def test_an_interrupted_build_is_resumed_where_it_was(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "photos", 90)
    build_index(folder, tmp_path / "a.index", TOY)
    source = Breaking(folder, after=70)
    with pytest.raises(OSError, match="gone"):
        build_index(source, tmp_path / "b.index", TOY, batch=GROUP, workers=1)
    assert not (tmp_path / "b.index" / "CURRENT").exists()
    report = build_index(source, tmp_path / "b.index", TOY, batch=GROUP)
    assert report.resumed_at == source.started_at >= 2 * GROUP
    with open_index(tmp_path / "a.index") as a, open_index(tmp_path / "b.index") as b:
        same_index(a, b)
    assert not (tmp_path / "b.index" / "building").exists()


def test_other_settings_or_a_changed_source_are_told_apart(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "photos", 40)
    source = Breaking(folder, after=35)
    with pytest.raises(OSError, match="gone"):
        build_index(source, tmp_path / "x.index", TOY, batch=GROUP, workers=1)
    with pytest.raises(ConfigError, match=r"thumbnails.*--restart"):
        build_index(source, tmp_path / "x.index", TOY, thumbnails=0)
    with pytest.raises(ConfigError, match="embedder"):
        build_index(source, tmp_path / "x.index", ToyEmbedder(name="other"))
    (folder / "0041.jpg").write_bytes((folder / "0001.jpg").read_bytes())
    with pytest.raises(ConfigError, match="source"):
        build_index(source, tmp_path / "x.index", TOY)
    assert build_index(source, tmp_path / "x.index", TOY, restart=True).count == 41


def test_a_complete_build_is_left_as_it_is(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "photos", 5)
    first = build_index(folder, tmp_path / "x.index", TOY)
    again = build_index(folder, tmp_path / "x.index", TOY)
    assert (first.unchanged, again.unchanged, again.version, again.count) == (False, True, "0001", 5)
    assert build_index(folder, tmp_path / "x.index", TOY, restart=True).version == "0002"
    (folder / "0009.jpg").write_bytes((folder / "0001.jpg").read_bytes())
    changed = build_index(folder, tmp_path / "x.index", TOY)
    assert (changed.version, changed.count) == ("0003", 6)


def test_adding_keeps_ids_and_says_what_is_new(tmp_path: Path) -> None:
    first, second = photo_folder(tmp_path / "a", 5), photo_folder(tmp_path / "b", 3)
    (first / "bad.jpg").write_bytes(b"bad")
    (second / "bad.jpg").write_bytes(b"")
    build_index(first, tmp_path / "x.index", TOY)
    report = add_to_index(second, tmp_path / "x.index", TOY, collections=("protected", "canary"))
    assert (report.count, report.added, report.skipped) == (8, 3, {"empty": 1})
    with open_index(tmp_path / "x.index") as index:
        assert [r.id for r in index.records(range(8))] == list(range(8))
        assert index.records([5])[0].collections == ("protected", "canary")
        assert index.manifest.collections == {"training": 5, "protected": 3, "canary": 3}
        assert index.manifest.skipped == {"empty": 1, "not_an_image": 1}
        assert index.manifest.sources == ("folder a", "folder b")


def test_what_cannot_be_added_to(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "p", 2)
    with pytest.raises(IndexLoadError, match="index build"):
        add_to_index(photos, tmp_path / "none.index", TOY)
    build_index(photos, tmp_path / "x.index", TOY)
    with pytest.raises(IndexLoadError, match="name"):
        add_to_index(photos, tmp_path / "x.index", ToyEmbedder(name="other"))


@pytest.mark.parametrize(
    "bad", [{"batch": 0}, {"workers": 0}, {"keep": 0}, {"thumbnails": -1}, {"collections": ()}, {"collections": ("",)}]
)
def test_settings_out_of_range(tmp_path: Path, bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        build_index(photo_folder(tmp_path / "p", 1), tmp_path / "x.index", TOY, **bad)  # type: ignore[arg-type]


def test_an_empty_folder_gives_an_empty_index(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    assert build_index(tmp_path / "p", tmp_path / "x.index", TOY).count == 0
    with open_index(tmp_path / "x.index") as index:
        assert len(index) == 0


def test_bits_take_a_thirty_second_of_the_room(tmp_path: Path) -> None:
    pdq = load_embedder("pdq")
    report = build_index(photo_folder(tmp_path / "p", 9), tmp_path / "x.index", pdq)
    with open_index(tmp_path / "x.index", embedder=pdq) as index:
        assert index.manifest.vectors == "bits"
        assert index.manifest.files["vectors.faiss"].bytes == 33 + 32 * report.count


def test_an_embedder_that_breaks_its_promise_is_no_index(tmp_path: Path) -> None:
    class Long(Named):
        def embed(self, batch: ImageBatch) -> Descriptors:
            return np.full((len(batch), 8), 2, np.float32)

    with pytest.raises(CheckError, match="norm"):
        build_index(photo_folder(tmp_path / "p", 3), tmp_path / "x.index", Long(8, weights_sha256="aa"))
    with pytest.raises(CheckError, match=r"expected \(3, 9\)"):
        build_index(photo_folder(tmp_path / "p", 3), tmp_path / "y.index", Long(9, weights_sha256="aa"))


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    folder = photo_folder(tmp_path / "p", 40)
    build_index(folder, tmp_path / "x.index", TOY, on_progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 40)
    assert told[-1] == (40, 40)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
