"""What a model was trained on, and what is only protected: in a version, and in its overlay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.audit.confirm import Confirmer, Criterion, Rule
from guard.audit.members import Members, records_of
from guard.audit.page import pairs_of, write_page, write_sheet
from guard.audit.plan import Plan
from guard.audit.prompts import Prompt, Repeats, from_repeats
from guard.audit.run import audit
from guard.audit.state import opened
from guard.errors import ConfigError
from guard.indexes.builder import add_to_index
from guard.indexes.overlaid import open_overlaid
from guard.indexes.overlay import Overlay, key_of
from guard.membership import guarded, trained_on
from guard.optout.additions import add_pictures
from guard.sources import open_source
from guard.types import Record
from tests.support.audits import SIDE, CopyingModel, training_pictures, write_training_index
from tests.support.toys import ToyEmbedder

PICTURES = training_pictures(64)
TRAINED = {caption: PICTURES[caption] for caption in list(PICTURES)[:60]}
PORTFOLIO = {caption: PICTURES[caption] for caption in list(PICTURES)[60:]}
COPIES = {"caption 0": 4, "caption 1": 3}


@pytest.mark.parametrize(
    ("collections", "named", "trained"),
    [
        (("training",), (), True),
        (("training", "opt-out"), (), True),
        (("museum",), (), True),
        (("opt-out",), (), False),
        (("protected", "allow"), (), False),
        (("canary",), (), False),
        ((), (), False),
        (("museum",), ("training",), False),
        (("opt-out",), ("opt-out",), True),
    ],
)
def test_which_collections_are_of_the_training_set(
    collections: tuple[str, ...], named: tuple[str, ...], trained: bool
) -> None:
    record = Record(0, "a.png", "ab" * 32, collections=collections)
    assert trained_on(record, named) is trained
    assert guarded(record) is bool({"opt-out", "protected"} & set(collections))


def test_duplicates_are_counted_among_training_pictures() -> None:
    def record(i: int, collection: str, cluster: int = 0) -> Record:
        return Record(i, f"{i}.png", f"{i:064x}", collection, (collection,), 5, cluster)

    records = [record(0, "training"), record(1, "training"), record(2, "opt-out"), record(3, "opt-out")]
    assert [prompt.text for prompt in from_repeats(Repeats(records))] == ["training"]
    assert Repeats(records).of("training") == 3  # five, two of them opted out; one was removed since
    assert Repeats(records).of("opt-out") is None


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """60 training pictures, one of them opted out; two of a portfolio opted out in the version, two in the overlay."""
    path = write_training_index(tmp_path / "set", TRAINED, COPIES)
    for half, captions in (("one", list(PORTFOLIO)[:2]), ("two", list(PORTFOLIO)[2:])):
        write_training_index(tmp_path / half, {caption: PORTFOLIO[caption] for caption in captions})
    version, overlay = (open_source(tmp_path / half / "training") for half in ("one", "two"))
    add_to_index(version, path, ToyEmbedder(), collections=("opt-out",))
    add_pictures(path, overlay, ToyEmbedder(), ("protected",), who="anna")
    with open_overlaid(path) as opened_index:
        of_training = {r.sha256 for r in opened_index.base.reader.all() if r.caption == "caption 1"}
    Overlay(path).give(list(of_training), "opt-out", who="ben")
    return path


def test_members_of_a_version_and_its_overlay(index: Path) -> None:
    with open_overlaid(index) as overlaid:
        members = Members(overlaid)
        assert (len(members.training), len(set(members.training.values()))) == (65, 60)
        assert len(members.guarded) == 4
        assert len(list(records_of(members.index))) == 69
        assert not Members(overlaid, ("portfolio",)).training
        protected = Members(overlaid, ("opt-out", "protected"))
        assert (len(protected.training), len(protected.guarded)) == (7, 0)  # caption 1 stands there three times


def test_a_protected_picture_is_no_training_picture(index: Path) -> None:
    """Even where it lies nearer than all of them."""
    with open_overlaid(index) as overlaid:
        members, rule, size = Members(overlaid), Rule(Criterion.BOTH), (SIDE, SIDE)
        training = Confirmer(members.index, ToyEmbedder(), size, rule=rule, among=members.training)
        beside = Confirmer(members.index, ToyEmbedder(), size, rule=rule, among=members.guarded, beside=training)
        for caption, picture in PORTFOLIO.items():
            among_training, among_others = training.confirm(picture), beside.confirm(picture, likeness=True)
            assert among_training is not None
            assert among_others is not None
            assert (among_training.memorised, among_training.record.id in members.training) == (False, True)
            assert (among_others.memorised, among_others.record.caption) == (True, caption)
            assert among_others.neighbours == 50  # training pictures: of its own kind there are three
            assert among_others.likeness is not None
            assert among_others.likeness.similar.record.caption == caption
        copied = training.confirm(PICTURES["caption 5"])
        assert copied is not None
        assert copied.memorised
        for exhaustive in (training, beside):
            exhaustive.exhaustive = False  # by descriptor
        narrow = beside.confirm(PORTFOLIO["caption 60"])
        assert narrow is not None
        assert (narrow.memorised, narrow.record.caption) == (True, "caption 60")


def test_what_a_tombstone_hides_counts_where_it_is_asked_for(index: Path, tmp_path: Path) -> None:
    with open_overlaid(index) as overlaid:
        (gone,) = (record for record in overlaid.base.reader.all() if record.caption == "caption 5")
        Overlay(index).bury([key_of(gone)], who="anna", why="left the set after the training")
        members, as_trained = Members(overlaid), Members(overlaid, buried=True)
        assert gone.id not in members.training
        assert set(as_trained.training) - set(members.training) == {gone.id}
        assert as_trained.guarded == members.guarded
        now, model = overlaid.now(), CopyingModel(PICTURES, {"caption 5": 1.0})
        assert now.descriptors([gone.id]).shape == (1, ToyEmbedder().spec.dim)
        asked, found = [Prompt("caption 5")], []
        for buried in (False, True):
            with opened(tmp_path / f"state {buried}", {}) as state:
                plan = Plan(generations=12, buried=buried)
                report = audit(asked, [model], state, now, ToyEmbedder(), plan=plan)
            found.append((report.settings.buried, report.references, report.summary.memorised.hits))
        assert found == [(False, 64, 0), (True, 65, 1)]
        assert len(now) == len(overlaid.base) - 1 + 2  # nothing was dug up


class Repeating(CopyingModel):
    """At the prompt of one picture it draws another."""

    def _draw(self, text: str, seed: int):  # type: ignore[no-untyped-def]
        return super()._draw({"caption 2": "caption 60", "caption 3": "caption 63"}.get(text, text), seed)


@pytest.mark.parametrize("each", [False, True])
def test_what_is_protected_is_told_apart_and_counts_nowhere(index: Path, tmp_path: Path, each: bool) -> None:
    model = Repeating(PICTURES, {"caption 0": 1.0, "caption 1": 1.0, "caption 60": 1.0, "caption 63": 1.0})
    with open_overlaid(index) as overlaid, opened(tmp_path / "state", {}) as state:
        now = overlaid.now()
        prompts = from_repeats(Repeats(records_of(now)))
        assert (len(prompts), [(p.text, p.duplicates) for p in prompts[:2]]) == (
            60,
            [("caption 0", 4), ("caption 1", 3)],
        )
        prompts = [prompt for prompt in prompts if prompt.text in ("caption 0", "caption 1", "caption 2", "caption 3")]
        report = audit(prompts, [model], state, now, ToyEmbedder(), plan=Plan(generations=12, each=each))
        pairs = pairs_of(report, state, now)
        page = write_page(tmp_path / "audit.html", [(report, pairs)], title="t").read_text()
        write_sheet(tmp_path / "audit.png", pairs)
    s = report.summary
    assert (report.references, report.protected_references) == (65, 4)
    assert (s.prompts, s.likely.hits, s.memorised.hits, s.pictures) == (4, 4, 2, 2)
    assert [(g.low, g.memorised.hits, g.memorised.of) for g in s.by_duplicates] == [(1, 0, 2), (3, 1, 1), (4, 1, 1)]
    rows = {row.text: row for row in report.prompts}
    for text, found in (("caption 2", "caption 60"), ("caption 3", "caption 63")):
        row = rows[text]
        assert (row.memorised, row.protected is not None and row.protected.caption) == (False, found)
    assert rows["caption 0"].protected is None
    told = {(one.uri, one.collections, one.in_training, one.prompts, one.generations) for one in s.protected}
    times = 12 if each else None
    assert told == {
        ("001.000.png", ("training", "opt-out"), True, 1, times),
        ("000.000.png", ("opt-out",), False, 1, times),
        ("001.000.png", ("protected",), False, 1, times),
    }
    if each:
        assert s.copies is not None
        assert (s.copies.hits, s.copies.of) == (24, 48)
        assert sum(one.generations for one in s.extracted) == 24
    assert "Repeated although protected or opted out: 3, of which 1 are training pictures" in page
    assert page.count("no training picture") >= 2


def test_an_index_without_training_pictures_is_refused(tmp_path: Path) -> None:
    path = write_training_index(tmp_path, {"a": np.array(PICTURES["caption 0"])})
    with open_overlaid(path) as index, opened(tmp_path / "state", {}) as state:
        prompts = from_repeats(Repeats(records_of(index.base)), least=1)
        with pytest.raises(ConfigError, match="no reference of the index is a training picture"):
            audit(prompts, [], state, index, ToyEmbedder(), plan=Plan(collections=("portfolio",)))
        with pytest.raises(ConfigError, match="no reference of the index is a training picture"):
            from_repeats(Repeats(records_of(index.base), ("portfolio",)))
