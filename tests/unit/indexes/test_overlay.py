"""The overlay: what is added, given, taken, reviewed and buried counts from the next search on, until it is over."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from guard.embedders.views import REGION_HANDICAP, embed_views
from guard.errors import ConfigError, IndexLoadError
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.edit import remove_from_index
from guard.indexes.overlaid import OverlaidIndex, open_overlaid
from guard.indexes.overlay import Addition, Overlay, key_of
from guard.indexes.overlay_file import FIRST_ID
from guard.indexes.store import open_index
from guard.pixels import to_batch
from guard.types import Match
from tests.support.overlays import Clock, addition, addition_of, index_of_rows
from tests.support.references import photo_folder, unit_rows
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    build_index(photo_folder(tmp_path / "photos", 8), tmp_path / "x.index", TOY, thumbnails=32)
    return tmp_path / "x.index"


def query(seed: int) -> np.ndarray:
    return np.asarray(TOY.embed(to_batch(picture(seed))))


def nearest(index: OverlaidIndex, seed: int) -> tuple[int, float, tuple[str, ...]]:
    found = index.search(query(seed), 1)
    record = index.records(found.ids[0].tolist())[0]
    return record.id, float(found.similarity[0, 0]), record.collections


def test_without_a_file_the_version_itself_answers(path: Path) -> None:
    with open_overlaid(path, embedder=TOY) as index:
        assert index.now() is index.base
        assert not (path / "overlay.sqlite").exists()
    overlay = Overlay(path)
    assert (overlay.memberships(), overlay.pairs(), overlay.tombstones(), overlay.history()) == ([], [], [], [])
    assert overlay.purge(["0" * 64], who="ops") == 0
    assert not (path / "overlay.sqlite").exists()


def test_an_added_reference_is_found_at_once(path: Path) -> None:
    overlay = Overlay(path)
    with open_overlaid(path) as index:
        assert nearest(index, 99)[1] < 0.9
        (new,) = overlay.add([addition(99, TOY)], ["opt-out", "protected"], who="ops", why="asked")
        assert new >= FIRST_ID
        found, similarity, collections = nearest(index, 99)
        assert (found, collections) == (new, ("opt-out", "protected"))
        assert similarity > 0.999
        record = index.records([new])[0]
        assert (record.uri, record.caption, len(record.sha256)) == ("added/99.jpg", "picture 99", 64)
        assert index.thumbnail(new) == addition(99, TOY).thumbnail
        assert len(index) == 9
        assert index.search(query(3), 1).ids[0, 0] == 3, "the others are still there"


def test_hashes_of_what_is_added_are_looked_up(path: Path) -> None:
    from guard.identical import hash_images

    with open_overlaid(path) as index:
        (new,) = Overlay(path).add([addition(99, TOY)], ["opt-out"], who="ops")
        xq = hash_images(to_batch([picture(99), picture(3)])).vectors[:, 0]
        assert index.hashes is not None
        assert [list(same) for same in index.hashes.identical(xq, 5)] == [[new], [3]]
        Overlay(path).bury([key_of(index.records([3])[0])], who="ops")
        assert [list(same) for same in index.hashes.identical(xq, 5)] == [[new], []]


def test_a_picture_that_the_index_holds_is_not_found_twice(path: Path) -> None:
    overlay = Overlay(path)
    overlay.add([addition(3, TOY)], ["opt-out"], who="ops")
    with open_overlaid(path) as index:
        assert len(index) == 8
        assert nearest(index, 3)[0] == 3
        assert nearest(index, 3)[2] == ("training", "opt-out")
    remove_from_index(path, uris=["0003.jpg"])
    with open_overlaid(path) as index:  # and it counts on when the index no longer does
        assert nearest(index, 3)[0] >= FIRST_ID
        assert nearest(index, 3)[2] == ("opt-out",)


def test_collections_are_given_and_taken(path: Path) -> None:
    overlay = Overlay(path)
    with open_overlaid(path) as index:
        key = key_of(index.records([2])[0])
        overlay.give([key], "allow", who="ops")
        assert index.records([2])[0].collections == ("training", "allow")
        overlay.take([key], "training", who="ops")
        assert index.records([2])[0].collections == ("allow",)
        assert overlay.withdraw([key], "allow", who="ops") == 1
        assert index.records([2])[0].collections == ("training",), "a reference in no collection counts as training"
        assert overlay.withdraw([key], who="ops") == 1
        assert index.now() is index.base


def test_withdrawn_additions_are_gone(path: Path) -> None:
    overlay = Overlay(path)
    one = addition(99, TOY)
    overlay.add([one], ["opt-out"], who="ops")
    overlay.add([one], ["protected"], who="ops")
    with open_overlaid(path) as index:
        assert len(index) == 9
        assert index.records(index.search(query(99), 1).ids[0].tolist())[0].collections == ("opt-out", "protected")
        overlay.withdraw([one.key], "opt-out", who="ops")
        assert len(index) == 9
        overlay.withdraw([one.key], "protected", who="ops")
        assert index.now() is index.base
        (again,) = overlay.add([one], ["opt-out"], who="ops")
        assert again == FIRST_ID + 2, "an id is never used again"


def test_ids_may_shift_and_keys_hold(path: Path) -> None:
    overlay = Overlay(path)
    with open_overlaid(path) as index:
        five, six = (key_of(index.records([i])[0]) for i in (5, 6))
    overlay.give([five], "opt-out", who="ops")
    overlay.bury([six], who="ops")
    remove_from_index(path, uris=["0000.jpg"])
    add_to_index(photo_folder(path.parent / "more", 1, side=48), path, TOY)
    with open_overlaid(path) as index:
        assert index.records([4])[0].collections == ("training", "opt-out")
        assert nearest(index, 5)[:1] == (4,)
        assert nearest(index, 6)[1] < 0.9
        assert len(index) == 7


def test_a_tombstone_hides_and_does_not_shorten(path: Path) -> None:
    overlay = Overlay(path)
    with open_overlaid(path) as index:
        records = index.records(range(8))
        overlay.bury([key_of(r) for r in records[:7]], who="ops")
        found = index.search(query(0), 3)
        assert found.ids.tolist() == [[7, -1, -1]]
        assert overlay.unbury([key_of(records[0]), "0" * 64], who="ops") == 1
        assert index.search(query(0), 3).ids.tolist() == [[0, 7, -1]]


def test_a_reviewed_pair_exempts_that_query_and_that_reference(path: Path) -> None:
    overlay = Overlay(path)
    with open_overlaid(path) as index:
        three, four = index.records([3, 4])
        matches = [Match(three, 0.9), Match(four, 0.9)]
        stranger = query(50)[0]
        pair = overlay.exempt(key_of(three), stranger.astype(np.float16), who="reviewer", why="another scene")
        now = index.now()
        assert not isinstance(now, type(index.base))
        assert now.exempt(stranger, matches) == {3}
        assert now.exempt(query(51)[0], matches) == frozenset()
        nearer = stranger + 0.1 * query(3)[0]
        nearer /= np.linalg.norm(nearer)
        assert float(nearer @ stranger) > 0.99
        assert now.exempt(nearer, matches) == frozenset(), "nearer to the reference than what was reviewed"
        assert overlay.withdraw_pair(pair, who="reviewer")
        assert not overlay.withdraw_pair(pair, who="reviewer")
        assert index.now() is index.base


def test_entries_end(path: Path) -> None:
    clock = Clock()
    overlay = Overlay(path, clock=clock)
    index = OverlaidIndex(open_index(path), path, clock=clock)
    key = key_of(index.records([2])[0])
    overlay.add([addition(99, TOY)], ["opt-out"], who="ops", until=clock.now + 10)
    overlay.give([key], "allow", who="ops", until=clock.now + 20)
    overlay.bury([key_of(index.records([3])[0])], who="ops", until=clock.now + 20)
    assert (len(index), index.records([2])[0].collections) == (8, ("training", "allow"))
    clock.now += 10
    assert (len(index), index.records([2])[0].collections) == (7, ("training", "allow"))
    clock.now += 10
    assert index.now() is index.base
    index.close()


def test_a_clock_that_is_set_back_makes_nothing_laxer(path: Path) -> None:
    clock = Clock()
    overlay = Overlay(path, clock=clock)
    with OverlaidIndex(open_index(path), path, clock=clock) as index:
        two, three = (key_of(r) for r in index.records([2, 3]))
        overlay.give([two], "allow", who="ops", until=clock.now + 20)
        overlay.give([three], "opt-out", who="ops", until=clock.now + 20)
        clock.now += 30
        overlay.give([two], "protected", who="ops")  # the history says how late it was
        assert index.records([2, 3])[1].collections == ("training",)
    clock.now -= 25
    with OverlaidIndex(open_index(path), path, clock=clock) as index:
        assert index.records([2])[0].collections == ("training", "protected"), "an allowance that was over stays over"
        assert index.records([3])[0].collections == ("training", "opt-out"), "a protection counts when in doubt"


def test_the_history_keeps_what_was_done_and_by_whom(path: Path) -> None:
    clock = Clock()
    overlay = Overlay(path, clock=clock)
    key = "ab" * 32
    overlay.give([key], "opt-out", who="anna", why="mail of the 3rd", until=clock.now + 60)
    overlay.withdraw([key], who="ben")
    overlay.bury(["cd" * 32], who="ben")
    first, second = overlay.history(key)
    assert (first.action, first.who, first.time) == ("give", "anna", clock.now)
    assert first.detail == {"collection": "opt-out", "why": "mail of the 3rd", "until": clock.now + 60}
    assert (second.action, second.who) == ("withdraw", "ben")
    assert [change.action for change in overlay.history()] == ["give", "withdraw", "bury"]
    with closing(sqlite3.connect(path / "overlay.sqlite")) as connection:
        for statement in ("DELETE FROM history", "UPDATE history SET who = 'nobody'", "UPDATE history SET key = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)


def test_changes_need_a_name_a_future_and_vectors_that_fit(path: Path) -> None:
    overlay = Overlay(path)
    with pytest.raises(ConfigError, match="who"):
        overlay.give(["ab" * 32], "allow", who=" ")
    for until in (1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="until"):
            overlay.give(["ab" * 32], "allow", who="ops", until=until)
    with pytest.raises(ConfigError, match="collection"):
        overlay.add([addition(1, TOY)], [], who="ops")
    with pytest.raises(ConfigError, match=r"\(1, 192\)"):
        overlay.add([addition_of(unit_rows(1, 8)[0], "x")], ["opt-out"], who="ops")
    with pytest.raises(ConfigError, match="unit"):
        overlay.add([addition_of(np.full(192, np.nan, np.float32), "x")], ["opt-out"], who="ops")
    with pytest.raises(ConfigError, match="unit"):
        overlay.exempt("ab" * 32, np.zeros(192, np.float32), who="ops")
    assert not (path / "overlay.sqlite").exists()


def test_another_embedder_is_refused_by_name(path: Path) -> None:
    overlay = Overlay(path)
    overlay.add([addition(99, TOY)], ["opt-out"], who="ops")
    other = ToyEmbedder(name="other")
    build_index(path.parent / "photos", path, other, restart=True)
    with open_overlaid(path) as index, pytest.raises(IndexLoadError, match=r"overlay\.sqlite.*toy.*other"):
        index.search(query(1), 1)
    with pytest.raises(ConfigError, match=r"'toy'.*'other'"):
        Overlay(path).add([addition(98, TOY)], ["opt-out"], who="ops")
    Overlay(path).withdraw([addition(99, TOY).key], who="ops")
    Overlay(path).give(["ab" * 32], "allow", who="ops")
    with open_overlaid(path) as index:  # nothing is left that would have to compare
        assert len(index) == 8
    Overlay(path).add([addition(98, TOY)], ["opt-out"], who="ops")
    with open_overlaid(path) as index:
        assert len(index) == 9


def test_purge_leaves_no_byte(path: Path) -> None:
    overlay = Overlay(path)
    one, other = addition(99, TOY), addition(98, TOY)
    with open_overlaid(path) as index:
        overlay.add([one], ["opt-out"], who="ops", why="letter of Zachariah")
        overlay.add([other], ["opt-out"], who="ops")
        overlay.exempt(one.key, query(50)[0], who="ops")
        assert len(index) == 10
        sql = "SELECT substr(vectors, 1, 64), substr(thumbnail, -99) FROM additions WHERE key = ?"
        vectors, thumbnail = index.overlay.query(sql, (one.key,))[0]
        pair = index.overlay.query("SELECT substr(descriptor, 1, 64) FROM pairs")[0][0]
        needles = [vectors, thumbnail, pair, one.key.encode(), b"picture 99", b"added/99", b"Zachariah"]
        assert all(any(n in file.read_bytes() for file in path.glob("overlay.sqlite*")) for n in needles)
        assert overlay.purge([one.key], who="ops") == 1
        for file in path.glob("overlay.sqlite*"):
            held = file.read_bytes()
            assert not [n for n in needles if n in held], file
        assert len(index) == 9
    assert [c.action for c in overlay.history()] == ["add", "give", "add", "give", "exempt", "purge"]
    assert [bool(c.key) for c in overlay.history()] == [False, False, True, True, False, False]
    assert overlay.purge([one.key], who="ops") == 0


def test_listings(path: Path) -> None:
    clock = Clock()
    overlay = Overlay(path, clock=clock)
    one = addition(99, TOY)
    overlay.add([one], ["opt-out"], who="anna", why="asked", until=clock.now + 5)
    overlay.take(["ab" * 32], "training", who="ben")
    overlay.bury(["cd" * 32], who="ben")
    overlay.exempt("ef" * 32, query(1)[0], who="ben")
    clock.now += 100
    first, second = overlay.memberships()
    assert {first.key, second.key} == {one.key, "ab" * 32}
    mine = next(m for m in (first, second) if m.key == one.key)
    assert (mine.collection, mine.member, mine.added, mine.uri) == ("opt-out", True, True, "added/99.jpg")
    assert (mine.who, mine.why, mine.until) == ("anna", "asked", clock.now - 95)
    assert [t.key for t in overlay.tombstones()] == ["cd" * 32]
    assert [p.key for p in overlay.pairs()] == ["ef" * 32]


def test_signs_of_an_index_of_hashes(tmp_path: Path) -> None:
    rows = unit_rows(20, 64, signs=True)
    path = index_of_rows(tmp_path, rows[:10], "hamming")
    Overlay(path).add([addition_of(row, f"{i}") for i, row in enumerate(rows[10:])], ["opt-out"], who="ops")
    with open_overlaid(path) as index:
        np.testing.assert_allclose(index.search(rows, 1).similarity[:, 0], 1, atol=1e-5)


def test_regions_of_what_is_added_are_searched(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "photos", 3)
    build_index(folder, tmp_path / "x.index", TOY, regions=True)
    one = picture(40, 128, 128)
    rows = np.asarray(embed_views(TOY, to_batch(one), "crops+levels", own=False).vectors)[0]
    overlay = Overlay(tmp_path / "x.index")
    overlay.add([Addition("whole.jpg", "", rows[:1])], ["opt-out"], who="ops")
    corner = np.asarray(TOY.embed(to_batch(one.crop((0, 0, 83, 83)))))
    with open_overlaid(tmp_path / "x.index") as index:
        assert index.search(corner, 1).similarity[0, 0] < 0.9
        overlay.add([Addition("regions.jpg", "", rows)], ["opt-out"], who="ops")
        found = index.search(corner, 1)
        assert index.records(found.ids[0].tolist())[0].uri == "regions.jpg"
        assert found.similarity[0, 0] == pytest.approx(1 - REGION_HANDICAP, abs=0.01)
        assert index.similarity(rows[:1], found.ids[0].tolist())[0, 0] == pytest.approx(1, abs=1e-5)
