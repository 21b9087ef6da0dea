"""An opened index: search, records, captions, thumbnails; from threads, and after a fork."""

from __future__ import annotations

import io
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from guard.errors import ConfigError, IndexLoadError
from guard.indexes.base import Index, SupportsThumbnails
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.store import OpenIndex, open_index
from guard.pixels import to_batch
from tests.support.references import captioned, photo_folder
from tests.support.specs import Named
from tests.support.toys import ToyEmbedder, picture
from tests.support.waiting import WAIT_S

TOY = ToyEmbedder()


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = photo_folder(tmp_path / "photos", 12)
    captioned(folder, "0003", 3, "a red fox on snow")
    captioned(folder, "0005", 5, "a fox and a crow")
    build_index(folder, tmp_path / "x.index", TOY, thumbnails=32)
    return tmp_path / "x.index"


def test_it_is_an_index(built: Path) -> None:
    with open_index(built, embedder=TOY) as index:
        assert isinstance(index, Index)
        assert isinstance(index, SupportsThumbnails)
        assert (index.version, len(index), index.manifest.count) == ("0001", 12, 12)
        found = index.search(TOY.embed(to_batch(picture(3))), 1)
        record = index.records(found.ids[0].tolist())[0]
        assert (record.id, record.uri, record.caption) == (3, "0003.jpg", "a red fox on snow")
        assert (record.collections, record.cluster_size, len(record.sha256)) == (("training",), 1, 64)
        with Image.open(io.BytesIO(index.thumbnail(3) or b"")) as thumbnail:
            assert max(thumbnail.size) == 32


def test_records_come_in_the_order_of_the_ids(built: Path) -> None:
    with open_index(built) as index:
        assert [r.id for r in index.records([5, 1, 5, 0])] == [5, 1, 5, 0]
        assert index.records([]) == []
        with pytest.raises(IndexLoadError, match="no record of id 99"):
            index.records([1, 99])
        assert index.thumbnail(99) is None


def test_captions_are_searched_by_words(built: Path) -> None:
    with open_index(built) as index:
        assert {r.id for r in index.reader.search_captions("fox")} == {3, 5}
        assert [r.id for r in index.reader.search_captions("fox crow")] == [5]
        assert index.reader.search_captions('") OR NEAR(') == []
        assert index.reader.search_captions("  ") == []


def test_without_thumbnails(tmp_path: Path) -> None:
    build_index(photo_folder(tmp_path / "p", 2), tmp_path / "x.index", TOY, thumbnails=0)
    with open_index(tmp_path / "x.index") as index:
        assert not index.has_thumbnails
        assert index.thumbnail(0) is None


def test_another_embedder_is_refused_by_field(built: Path) -> None:
    with pytest.raises(IndexLoadError, match="name is 'toy' in the index and 'other'"):
        open_index(built, embedder=ToyEmbedder(name="other"))
    with pytest.raises(IndexLoadError, match="dim is 192 in the index and 64"):
        open_index(built, embedder=Named(64, name="toy"))


def test_unknown_backends_and_devices(built: Path) -> None:
    with pytest.raises(ConfigError, match="'lance'"):
        open_index(built, backend="lance")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cuda:7"):
        open_index(built, device="cuda:7")
    for device in ("gpu", "cuda0", "cuda:x", "CPU"):
        with pytest.raises(ConfigError, match=f"{device}.*cuda:1"):
            open_index(built, device=device)
    with pytest.raises(ConfigError, match="nonsense"):
        open_index(built, backend="torch", device="nonsense")


def test_threads_share_one_index(built: Path) -> None:
    failures: list[Exception] = []

    def work(index: OpenIndex) -> None:
        try:
            for i in range(12):
                assert index.records([i])[0].id == i
                assert index.thumbnail(i)
        except Exception as exc:  # reported by the test below
            failures.append(exc)

    with open_index(built) as index:
        for _ in range(3):  # ended threads leave no connection behind
            threads = [threading.Thread(target=work, args=(index,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        index.records([0])
        assert len(index.reader.table._connections) <= 5
    assert failures == []


def _answer(index: OpenIndex, pipe: Any) -> None:
    pipe.send([r.uri for r in index.records([0, 1])])
    pipe.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_opens_its_own_connections(built: Path) -> None:
    with open_index(built) as index:
        before = index.records([0, 1])
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_answer, args=(index, theirs))
        child.start()
        assert ours.poll(WAIT_S)
        assert ours.recv() == [r.uri for r in before]
        child.join()
        assert child.exitcode == 0
        assert index.records([0, 1]) == before


def test_an_open_index_goes_on_while_versions_are_published(built: Path, tmp_path: Path) -> None:
    with open_index(built) as old:
        for i in range(3):
            add_to_index(photo_folder(tmp_path / f"more{i}", 2, first=500 + 2 * i), built, TOY, keep=1)
        assert old.records([11])[0].uri == "0011.jpg"
        assert old.thumbnail(11)
        with open_index(built) as new:
            assert (old.version, len(old), new.version, len(new)) == ("0001", 12, "0004", 18)
        with open_index(built, version="0001") as again:
            assert len(again) == 12
    with pytest.raises(IndexLoadError, match="0009"):
        open_index(built, version="0009")


def test_paths_with_odd_characters(tmp_path: Path) -> None:
    odd = tmp_path / "a b?c#d%20é"
    build_index(photo_folder(odd / "photos", 2), odd / "x.index", TOY)
    with open_index(odd / "x.index") as index:
        assert index.records([1])[0].uri == "0001.jpg"
