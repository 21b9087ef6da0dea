"""Whole checks of an index with an overlay: protections, allowances, reviews and tombstones in force at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard import Decision, Guard
from guard.events import EventLog
from guard.indexes.builder import build_index
from guard.indexes.overlay import Overlay, key_of
from guard.pixels import to_batch
from guard.types import EvidenceKind
from tests.support.overlays import addition, addition_of, index_of_rows
from tests.support.photographs import photograph
from tests.support.references import jpeg, photo_folder, unit_rows
from tests.support.specs import Named
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()  # flags from 0.8, blocks from 0.95


@pytest.fixture
def path(tmp_path: Path) -> Path:
    build_index(photo_folder(tmp_path / "photos", 6), tmp_path / "x.index", TOY, thumbnails=64)
    return tmp_path / "x.index"


def blended(first: int, second: int, share: float) -> Image.Image:
    """Nearer to the first picture the larger the share."""
    return Image.blend(picture(second), picture(first), share)


def opened(path: Path, **settings: object) -> Guard:
    """Of similarities alone: what is added, given and taken changes them."""
    return Guard.open(path, embedder=TOY, **{"verify": False, **settings})  # type: ignore[arg-type]


def test_an_opt_out_blocks_what_training_only_flags(path: Path) -> None:
    guard, image = opened(path, policy={"identical": "ignore"}), blended(3, 50, 0.65)
    before = guard.check(image)[0]
    assert (before.decision, before.collection) == (Decision.FLAG, "training")
    assert before.nearest is not None
    Overlay(path).give([key_of(before.nearest.record)], "opt-out", who="ops")
    after = guard.check(image)[0]
    assert (after.decision, after.collection) == (Decision.BLOCK, "opt-out")
    assert after.matches[0].record.collections == ("training", "opt-out")


def test_the_log_names_the_thresholds_of_the_collection_that_decided(path: Path, tmp_path: Path) -> None:
    guard = opened(path, policy={"identical": "ignore"}, events=tmp_path / "events.sqlite")
    Overlay(path).give([key_of(guard.check(picture(3))[0].matches[0].record)], "opt-out", who="ops")
    guard.check([blended(3, 50, 0.65), picture(4)])
    assert guard.events is not None
    guard.events.close()
    training, opt_out, block = reversed(EventLog(tmp_path / "events.sqlite").read())
    assert opt_out.detail["verdict"]["collection"] == "opt-out"
    assert opt_out.detail["thresholds"] == {"flag": 0.8, "block": 0.8}
    assert training.detail["thresholds"] == block.detail["thresholds"] == {"flag": 0.8, "block": 0.95}


def test_a_canary_and_the_metric_of_thresholds(path: Path) -> None:
    guard = opened(path, policy={"collections": {"museum": {"flag": 0.5}}})
    Overlay(path).add([addition(70, TOY)], ["canary"], who="ops")
    verdict = guard.check(picture(70))[0]
    assert (verdict.decision, verdict.collection) == (Decision.FLAG, "canary")

    def threshold(action: str, collection: str) -> float | None:
        return guard.metrics.registry.get_sample_value(
            "memguard_threshold", {"action": action, "collection": collection}
        )

    assert (threshold("flag", "training"), threshold("block", "training")) == (0.8, 0.95)
    assert (threshold("flag", "opt-out"), threshold("block", "opt-out")) == (0.8, 0.8)
    assert (threshold("flag", "canary"), threshold("block", "canary")) == (0.8, None)
    assert (threshold("flag", "allow"), threshold("allow", "allow")) == (None, 0.8)
    assert (threshold("flag", "museum"), threshold("block", "museum")) == (0.5, 0.95)


@pytest.mark.parametrize("verify", [False, True])
def test_an_allowed_photograph_is_released_and_an_edited_one_is_not(tmp_path: Path, verify: bool) -> None:
    (tmp_path / "photos").mkdir()
    photographs = {name: photograph(name, 256) for name in ("coffee", "chelsea")}
    for name, pixels in photographs.items():
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    build_index(tmp_path / "photos", tmp_path / "x.index", TOY)
    guard = opened(tmp_path / "x.index", verify=verify, deadline_s=None, verify_budget_ms=60_000)
    coffee = photographs["coffee"]
    before = guard.check(coffee)[0]
    assert before.decision is Decision.BLOCK
    assert before.nearest is not None
    key = key_of(before.nearest.record)
    Overlay(tmp_path / "x.index").give([key], "allow", who="ops", why="licensed")
    as_it_is, mirrored, other = guard.check([coffee, coffee[:, ::-1].copy(), photographs["chelsea"]])
    assert as_it_is.decision is Decision.ALLOW
    assert as_it_is.matches[0].evidence is not None
    assert as_it_is.matches[0].evidence.kind is EvidenceKind.NEAR_IDENTICAL
    assert any("coffee.png (allow) is allowed" in reason for reason in as_it_is.reasons)
    assert mirrored.decision is Decision.BLOCK, "near-identical means the picture, not an edit of it"
    assert other.decision is Decision.BLOCK
    Overlay(tmp_path / "x.index").give([key], "opt-out", who="ops")
    assert guard.check(coffee)[0].decision is Decision.BLOCK


def test_a_review_exempts_that_pair_at_once(path: Path) -> None:
    guard, image = opened(path), blended(3, 50, 0.8)
    found = guard.check(image)[0]
    assert found.decision in (Decision.FLAG, Decision.BLOCK)
    assert found.nearest is not None
    overlay = Overlay(path)
    pair = overlay.exempt(key_of(found.nearest.record), np.asarray(TOY.embed(to_batch(image)))[0], who="reviewer")
    exempted = guard.check(image)[0]
    assert exempted.decision is Decision.ALLOW
    assert "a reviewer called this no copy of 0003.jpg" in exempted.reasons
    assert guard.check(picture(3))[0].decision is Decision.BLOCK
    overlay.withdraw_pair(pair, who="reviewer")
    assert guard.check(image)[0].decision is found.decision


def test_a_buried_reference_blocks_nothing(path: Path) -> None:
    guard = opened(path)
    found = guard.check(picture(3))[0]
    assert found.nearest is not None
    Overlay(path).bury([key_of(found.nearest.record)], who="ops")
    assert guard.check(picture(3))[0].decision is Decision.ALLOW


def test_thumbnails_of_what_was_added_are_compared(path: Path) -> None:
    from guard.indexes.overlay import Addition

    pixels = photograph("rocket", 256)
    small = Image.fromarray(pixels)
    import io

    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    vector = np.asarray(TOY.embed(to_batch(pixels)))
    Overlay(path).add([Addition("rocket.jpg", "ab" * 32, vector, thumbnail=buffer.getvalue())], ["opt-out"], who="ops")
    guard = opened(path, verify=True, deadline_s=None, verify_budget_ms=60_000)
    verdict = guard.check(pixels)[0]
    assert verdict.decision is Decision.BLOCK
    assert verdict.matches[0].evidence is not None
    assert verdict.matches[0].evidence.kind is EvidenceKind.NEAR_IDENTICAL


class Given:
    """An embedder that makes the descriptors that it was given."""

    def __init__(self, row: np.ndarray) -> None:
        self.spec, self.row = Named(len(row)).spec, row

    def embed(self, batch: object) -> np.ndarray:
        return self.row[None]


def test_duplicates_in_training_do_not_hide_an_opt_out(tmp_path: Path) -> None:
    first, noise = unit_rows(2, 32)
    query = first

    def near(similarity: float) -> np.ndarray:
        aside = noise - (noise @ first) * first
        return similarity * first + np.sqrt(1 - similarity**2) * aside / np.linalg.norm(aside)

    rows = np.stack([near(0.70 + i / 1000) for i in range(40)]).astype(np.float32)
    path = index_of_rows(tmp_path, rows)
    guard = Guard.open(path, embedder=Given(query), policy={"flag": 0.6, "block": 0.9})
    assert guard.check(picture(1))[0].decision is Decision.FLAG
    Overlay(path).add([addition_of(near(0.65), "artist.jpg")], ["opt-out"], who="ops")
    verdict = guard.check(picture(1))[0]
    assert (verdict.decision, verdict.collection) == (Decision.BLOCK, "opt-out")
    assert len(verdict.matches) == 6, "the nearest five, and what is stricter"
    Overlay(path).withdraw(["uri:artist.jpg"], who="ops")
    Overlay(path).give(["uri:rows.npy#0"], "protected", who="ops")
    verdict = guard.check(picture(1))[0]
    assert (verdict.decision, verdict.collection) == (Decision.BLOCK, "protected")


@pytest.mark.parametrize("collection", ["allow", "canary", "exempted"])
def test_what_weighs_nothing_hides_nothing(tmp_path: Path, collection: str) -> None:
    first, noise = unit_rows(2, 32)

    def near(similarity: float) -> np.ndarray:
        aside = noise - (noise @ first) * first
        return (similarity * first + np.sqrt(1 - similarity**2) * aside / np.linalg.norm(aside)).astype(np.float32)

    path = index_of_rows(tmp_path, np.stack([near(0.95)]))
    overlay = Overlay(path)
    more = [addition_of(near(0.96 + i / 1000), f"{i}") for i in range(20)]
    overlay.add(more, ["training" if collection == "exempted" else collection], who="ops")
    if collection == "exempted":
        for one in more:
            overlay.exempt(one.key, first, who="ops")
    guard = Guard.open(path, embedder=Given(first), policy={"flag": 0.6, "block": 0.9})
    verdict = guard.check(picture(1))[0]
    assert (verdict.decision, verdict.collection) == (Decision.BLOCK, "training")
    assert "similarity 0.950 to rows.npy#0 (training) reaches block 0.900" in verdict.reasons


def test_one_file_of_many_names_is_one_reference(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "photos", 3)
    (folder / "again.jpg").write_bytes(jpeg(1))
    build_index(folder, tmp_path / "x.index", TOY)
    guard = opened(tmp_path / "x.index")
    found = guard.check(picture(1))[0]
    assert len(found.matches) == 2
    Overlay(tmp_path / "x.index").bury([key_of(found.matches[0].record)], who="ops")
    assert guard.check(picture(1))[0].decision is Decision.ALLOW
