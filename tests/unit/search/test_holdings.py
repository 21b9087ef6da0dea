"""What an overlay adds, gives, takes and buries is found, and not found, by the next search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from guard.indexes import OverlaidIndex, Overlay, build_index, key_of, open_overlaid
from guard.indexes.overlay_file import FIRST_ID
from guard.search import RecordFilter, Searcher, SearchQuery
from guard.search.clip_retrieval import knn_service, metadata_service
from tests.support.overlays import addition
from tests.support.references import photo_folder
from tests.support.toys import ToyEmbedder, picture

OPT_OUT = RecordFilter(collections=("opt-out",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    photos = photo_folder(tmp_path / "photos", 8)
    for i in range(8):
        (photos / f"{i:04d}.txt").write_text(f"picture {i} of a fox", encoding="utf-8")
    build_index(photos, tmp_path / "x.index", ToyEmbedder())
    return tmp_path / "x.index"


@pytest.fixture
def opened(path: Path) -> Iterator[OverlaidIndex]:
    with open_overlaid(path) as index:
        yield index


def uris(index: OverlaidIndex, **fields: object) -> list[str]:
    query = SearchQuery(**{"limit": 100, **fields})  # type: ignore[arg-type]
    return [hit.record.uri for hit in Searcher(index, ToyEmbedder()).search(query).hits]


def test_without_an_overlay_an_index_is_searched_as_it_is(opened: OverlaidIndex) -> None:
    assert uris(opened, picture=picture(3))[0] == "0003.jpg"
    assert len(uris(opened, words="fox")) == 8


def test_what_was_added_is_found_by_picture_and_by_words(path: Path, opened: OverlaidIndex) -> None:
    (added,) = Overlay(path).add([addition(50, ToyEmbedder())], ["opt-out"], who="anna", why="a letter")
    hit = Searcher(opened, ToyEmbedder()).search(SearchQuery(picture=picture(50), limit=1)).hits[0]
    assert (hit.record.id, hit.record.uri) == (added, "added/50.jpg")
    assert hit.pdq_bits is not None  # the JPEG of it was added
    assert hit.record.id >= FIRST_ID
    assert uris(opened, words="50") == ["added/50.jpg"]
    every = uris(opened, words="picture")
    assert every[0] == "added/50.jpg"
    assert len(every) == 9
    pieces = [uris(opened, words="picture", limit=2, offset=at) for at in range(0, 9, 2)]
    assert [uri for piece in pieces for uri in piece] == every
    assert uris(opened, picture=picture(50), words="picture", where=OPT_OUT) == ["added/50.jpg"]
    assert uris(opened, words="fox", where=OPT_OUT) == []
    Overlay(path).withdraw([addition(50, ToyEmbedder()).key], who="anna")
    assert "added/50.jpg" not in uris(opened, picture=picture(50)) + uris(opened, words="picture")


def test_collections_that_were_given_and_taken_count_in_filters(path: Path, opened: OverlaidIndex) -> None:
    third, fourth = (key_of(record) for record in opened.records([3, 4]))
    overlay = Overlay(path)
    overlay.give([third], "opt-out", who="anna")
    assert uris(opened, picture=picture(1), where=OPT_OUT) == ["0003.jpg"]
    assert uris(opened, words="fox", where=OPT_OUT) == ["0003.jpg"]
    overlay.give([fourth], "allow", who="anna")
    overlay.take([fourth], "training", who="anna")
    training = RecordFilter(collections=("training",))
    assert "0004.jpg" not in uris(opened, picture=picture(4), where=training) + uris(
        opened, words="fox", where=training
    )
    (hit,) = Searcher(opened).search(SearchQuery(words="4")).hits
    assert hit.record.collections == ("allow",)


def test_what_is_buried_is_not_found(path: Path, opened: OverlaidIndex) -> None:
    Overlay(path).bury([key_of(opened.records([3])[0])], who="anna")
    assert "0003.jpg" not in uris(opened, picture=picture(3))
    page = Searcher(opened).search(SearchQuery(words="fox", limit=3))
    assert page.total == 7
    assert "0003.jpg" not in uris(opened, words="fox")
    assert uris(opened, picture=picture(3), words="3") == []


def test_clients_of_clip_retrieval_see_it_too(path: Path, opened: OverlaidIndex) -> None:
    Overlay(path).add([addition(50, ToyEmbedder())], ["protected"], who="anna")
    searchers = {"mine": Searcher(opened, ToyEmbedder())}
    row = ToyEmbedder().embed(_batch(50))[0].tolist()
    found = knn_service({"embedding_input": row, "deduplicate": True, "num_images": 3}, searchers)
    assert (found[0]["image_path"], found[0]["id"]) == ("added/50.jpg", FIRST_ID)
    assert "image" in found[0]
    (known,) = metadata_service({"ids": [FIRST_ID]}, searchers)
    assert known["metadata"]["caption"] == "picture 50"


def _batch(seed: int) -> object:
    from guard.decode import decode
    from guard.pixels import to_batch
    from tests.support.references import jpeg

    return to_batch(decode(jpeg(seed)).rgb)
