"""Looking things up: by picture, whole or in part, by captions, by both, with filters, a page at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from guard.embedders.base import QueryDescriptors
from guard.embedders.views import REGION_HANDICAP
from guard.errors import ConfigError, InputError
from guard.indexes import build_index, open_index
from guard.indexes.builder import add_to_index
from guard.indexes.store import OpenIndex
from guard.search import RecordFilter, Searcher, SearchPage, SearchQuery
from guard.search.holdings import Holdings
from guard.search.ranking import fused, nearest
from tests.support.references import unit_rows
from tests.support.specs import Named
from tests.support.toys import ToyEmbedder, picture

ANIMALS = ("fox", "crow", "hare", "owl")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenIndex:
    """20 pictures of training, 4 protected ones that are in training too; captions by number."""
    tmp_path = tmp_path_factory.mktemp("search")
    for name, seeds in (("photos", range(20)), ("artist", range(20, 24))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            picture(seed, 96, 96).save(tmp_path / name / f"{name}-{seed:02}.png")
            text = f"a {ANIMALS[seed % 4]} on a {'red' if seed % 2 else 'blue'} chair, number {seed}"
            (tmp_path / name / f"{name}-{seed:02}.txt").write_text(text, encoding="utf-8")
    path = tmp_path / "x.index"
    build_index(tmp_path / "photos", path, ToyEmbedder(), hashes=True)
    add_to_index(tmp_path / "artist", path, ToyEmbedder(), collections=("protected", "training"))
    return open_index(path)


def ids(page: SearchPage) -> list[int]:
    return [hit.record.id for hit in page.hits]


def search(index: OpenIndex, **fields: Any) -> SearchPage:
    return Searcher(index, ToyEmbedder()).search(SearchQuery(**fields))


def test_a_picture_finds_itself_first(opened: OpenIndex) -> None:
    page = search(opened, picture=picture(7, 96, 96), limit=5)
    assert ids(page)[0] == 7
    assert page.hits[0].similarity == pytest.approx(1, abs=1e-4)
    assert page.hits[0].pdq_bits == 0
    assert [hit.similarity for hit in page.hits[1:]] == sorted((h.similarity for h in page.hits[1:]), reverse=True)
    assert (len(page.hits), page.more, page.total, page.index_version) == (5, True, None, "0002")


def test_pages_are_the_order_cut_into_pieces(opened: OpenIndex) -> None:
    whole = search(opened, picture=picture(3, 96, 96), limit=100)
    assert len(whole.hits) == 24
    assert not whole.more
    pieces = [search(opened, picture=picture(3, 96, 96), limit=7, offset=at) for at in range(0, 24, 7)]
    assert [i for piece in pieces for i in ids(piece)] == ids(whole)
    assert [piece.more for piece in pieces] == [True, True, True, False]
    assert search(opened, picture=picture(3, 96, 96), offset=50).hits == ()


@pytest.mark.parametrize(
    "where",
    [
        RecordFilter(collections=("protected",)),
        RecordFilter(collections=("protected", "none")),
        RecordFilter(source="artist-2"),
        RecordFilter(source="photos", collections=("training",)),
        RecordFilter(min_cluster=2),
        RecordFilter(max_cluster=1, source=".png"),
    ],
)
def test_filters_leave_the_order_as_it_is(opened: OpenIndex, where: RecordFilter) -> None:
    everything = search(opened, picture=picture(3, 96, 96), limit=100)
    expected = [hit.record.id for hit in everything.hits if where.accepts(hit.record)]
    assert ids(search(opened, picture=picture(3, 96, 96), limit=100, where=where)) == expected
    assert ids(search(opened, picture=picture(3, 96, 96), limit=2, where=where)) == expected[:2]
    assert opened.reader.ids_accepted(where).tolist() == sorted(expected)


def test_words_over_captions(opened: OpenIndex) -> None:
    page = search(opened, words="fox", limit=3)
    assert (page.total, len(page.hits), page.more) == (6, 3, True)
    assert all("fox" in hit.record.caption and hit.similarity is None for hit in page.hits)
    rest = search(opened, words="fox", limit=10, offset=3)
    assert (len(rest.hits), rest.more) == (3, False)
    assert sorted(ids(page) + ids(rest)) == [0, 4, 8, 12, 16, 20]
    assert ids(search(opened, words="fox", where=RecordFilter(collections=("protected",)))) == [20]
    assert search(opened, words="fox crow").total == 0


@pytest.mark.parametrize(
    ("words", "total"),
    [
        ('"red chair"', 12),
        ('"chair red"', 0),
        ("chai*", 24),
        ("chai", 0),
        ("CROW", 6),
        ("crow, 'number' - 13!", 1),
        ('fox "number 4', 1),
        ("NOT", 0),
        ("?!", 0),
        ("crow ?!", 6),
        ("*", 0),
    ],
)
def test_what_words_may_look_like(opened: OpenIndex, words: str, total: int) -> None:
    assert search(opened, words=words).total == total


def test_a_picture_and_words_must_both_fit(opened: OpenIndex) -> None:
    by_picture = search(opened, picture=picture(8, 96, 96), limit=100)
    both = search(opened, picture=picture(8, 96, 96), words="owl", limit=100)
    assert ids(both) == [i for i in ids(by_picture) if i % 4 == 3]
    assert both.total == 6
    assert both.hits[0].similarity is not None
    assert ids(search(opened, picture=picture(8, 96, 96), words="fox"))[0] == 8
    assert search(opened, picture=picture(8, 96, 96), words="unicorn").hits == ()


def test_a_part_of_a_picture_is_looked_for(opened: OpenIndex) -> None:
    screen = Image.new("RGB", (192, 192), "white")
    screen.paste(picture(5, 96, 96), (96, 0))
    whole = search(opened, picture=screen, limit=1).hits[0]
    cut = search(opened, picture=screen, part=(0.5, 0, 1, 0.5), limit=1).hits[0]
    assert (cut.record.id, cut.pdq_bits) == (5, 0)
    assert whole.similarity is not None
    assert cut.similarity is not None
    assert cut.similarity > 0.999 > whole.similarity
    with pytest.raises(InputError, match="16"):
        search(opened, picture=screen, part=(0, 0, 0.01, 0.01))


def test_a_crop_of_a_reference_is_found_by_regions(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for seed in range(12):
        picture(seed, 240, 240).save(tmp_path / "photos" / f"{seed:02}.png")
    build_index(tmp_path / "photos", tmp_path / "x.index", ToyEmbedder(), regions=True)
    with open_index(tmp_path / "x.index") as index:
        corner = picture(9, 240, 240).crop((0, 0, 156, 156))
        hit = search(index, picture=corner, limit=1).hits[0]
        assert hit.record.uri == "09.png"
        assert hit.similarity == pytest.approx(1 - REGION_HANDICAP, abs=2e-2)
        inset = Image.new("RGB", (240, 240), "grey")
        inset.paste(picture(4, 240, 240).resize((156, 156)), (0, 0))
        assert search(index, picture=inset, views="crops", limit=1).hits[0].record.uri == "04.png"
        some = RecordFilter(source="09")
        assert search(index, picture=corner, where=some).hits == (hit,)


def test_a_similarity_may_be_asked_for(opened: OpenIndex) -> None:
    page = search(opened, picture=picture(7, 96, 96), min_similarity=0.99)
    assert ids(page) == [7]
    assert not page.more


def test_a_picture_of_nothing_finds_nothing_and_says_why(opened: OpenIndex) -> None:
    page = search(opened, picture=Image.new("RGB", (96, 96), "white"))
    assert page.hits == ()
    assert "too little detail" in page.note


def test_a_descriptor_instead_of_a_picture(opened: OpenIndex) -> None:
    row = ToyEmbedder().embed(to_batch_of(7))[0]
    page = Searcher(opened).search(SearchQuery(descriptor=3 * row, limit=1))
    assert ids(page) == [7]
    for wrong in (row[:-1], 0 * row, np.nan * row):
        with pytest.raises(InputError, match="values"):
            Searcher(opened).search(SearchQuery(descriptor=wrong))


def to_batch_of(seed: int) -> Any:
    from guard.pixels import to_batch

    return to_batch(picture(seed, 96, 96))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "say what to look for"),
        ({"words": "  "}, "say what to look for"),
        ({"words": "a", "limit": 0}, "limit"),
        ({"words": "a", "limit": 100_000}, "limit"),
        ({"words": "a", "offset": -1}, "offset"),
        ({"words": "a" * 5000}, "5000 characters"),
        ({"words": "a", "by": "magic"}, "known are captions"),
        ({"picture": 1, "views": "all"}, "known are captions"),
        ({"picture": 1, "part": (0.5, 0, 0.5, 1)}, "shares"),
        ({"words": "a", "part": (0, 0, 1, 1)}, "shares"),
        ({"picture": 1, "descriptor": np.zeros(3)}, "not both"),
    ],
)
def test_questions_that_ask_nothing_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SearchQuery(**fields)


def test_what_is_missing_is_named(opened: OpenIndex) -> None:
    with pytest.raises(ConfigError, match="'toy'"):
        Searcher(opened).search(SearchQuery(picture=picture(1)))
    with pytest.raises(ConfigError, match="CLIP"):
        search(opened, words="a fox", by="meaning")
    with pytest.raises(InputError, match="2 pictures"):
        search(opened, picture=[picture(1), picture(2)])
    with pytest.raises(ConfigError, match="sizes begin at 1"):
        RecordFilter(min_cluster=3, max_cluster=2)


def test_a_page_is_plain_json(opened: OpenIndex) -> None:
    page = json.loads(json.dumps(search(opened, picture=picture(7, 96, 96), limit=1).to_dict()))
    assert page["hits"][0]["uri"] == "photos-07.png"
    assert page["hits"][0]["caption"].startswith("a owl")
    assert (page["more"], page["offset"], page["note"]) == (True, 0, None)


def test_a_narrow_filter_over_many_references_is_exact(tmp_path: Path) -> None:
    """Where the nearest few thousand are all of another kind, the filter is asked first."""
    rows = unit_rows(9000, 16)
    np.save(tmp_path / "e.npy", rows)
    lines = (json.dumps({"uri": f"{'rare' if i % 3000 == 7 else 'common'}/{i}"}) + "\n" for i in range(9000))
    (tmp_path / "e.jsonl").write_text("".join(lines), encoding="utf-8")
    build_index(tmp_path / "e.npy", tmp_path / "x.index", Named(16), thumbnails=0)
    with open_index(tmp_path / "x.index") as index:
        xq = unit_rows(2, 16, seed=1)
        query = QueryDescriptors(xq[None], np.ones(1, np.bool_))
        expected = {i: float((xq @ rows[i]).max()) for i in (7, 3007, 6007)}
        found = nearest(Holdings(index, RecordFilter(source="rare/")), query, 5)
        among = np.arange(0, 9000, 2)
        half = nearest(Holdings(index, RecordFilter()), query, 5, among)
        best = (rows @ xq.T).max(axis=1)
        last = np.sort(np.argsort(-best)[4000:])  # none of these is among the nearest few thousand
        far = nearest(Holdings(index, RecordFilter()), query, 5, last)
    assert list(found) == sorted(expected, key=lambda i: -expected[i])
    assert [found[i] for i in found] == pytest.approx([expected[i] for i in found], abs=1e-5)
    assert list(half) == among[np.argsort(-best[among])[:5]].tolist()
    assert list(far) == np.argsort(-best)[4000:4005].tolist()


def test_fusion_puts_first_what_both_orders_have_in_front() -> None:
    assert fused([{1: 0.9, 2: 0.8, 3: 0.7}, {2: 0.3, 4: 0.2, 1: 0.1}]) == [2, 1, 4, 3]
    assert fused([{}, {}]) == []
