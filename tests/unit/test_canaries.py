"""Canaries sing for a wrong index, a wrong embedder, a threshold typo and a broken runtime, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from guard import ConfigError, Guard, GuardMetrics
from guard.canaries import Canaries, Outcome
from guard.config import load_config
from guard.indexes.builder import build_index
from guard.indexes.overlay import Overlay
from guard.pixels import ImageBatch
from guard.sources import open_source
from guard.types import Descriptors
from tests.support.references import photo_folder
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("canaries")
    build_index(open_source(photo_folder(folder / "photos", 30)), folder / "an.index", TOY)
    return folder / "an.index"


@pytest.fixture
def guard(built: Path) -> Guard:
    return Guard.open(built, embedder=TOY)


def results(outcomes: list[Outcome]) -> list[str]:
    return [outcome.result for outcome in outcomes]


def test_they_pass_where_all_is_well(guard: Guard) -> None:
    canaries = Canaries(guard)
    assert canaries.references == 3
    assert len({c.reference.id for c in canaries.chosen if c.reference}) == 3
    assert results(canaries.check()) == ["pass"] * 4
    assert results(canaries.check()) == ["pass"] * 4


def test_neither_metrics_nor_log_see_them(built: Path, tmp_path: Path) -> None:
    metrics = GuardMetrics()
    events = tmp_path / "events.sqlite"
    guard = Guard.open(built, embedder=TOY, metrics=metrics, events=events, log_decisions=1.0)
    before = metrics.text()
    canaries = Canaries(guard)
    assert results(canaries.check()) == ["pass"] * 4
    assert metrics.text() == before
    assert guard.events is not None
    guard.events.flush()
    from guard.events import EventLog

    assert EventLog(events).count() == 0
    guard.events.close()


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({"flag": 0.9999, "block": 1.0}, "below flag 1.000"),
        ({"flag": -1.0, "block": 0.9}, "nobody was trained on it"),
        ({"collections": {"training": {"flag": 1.0, "block": 1.0}}}, "below flag 1.000"),
    ],
)
def test_a_threshold_typo(built: Path, policy: dict[str, Any], says: str) -> None:
    """Also where identical hashes would still block: the index holds them."""
    outcomes = Canaries(Guard.open(built, embedder=TOY, policy=policy)).check()
    assert "miss" in results(outcomes)
    assert any(says in outcome.text for outcome in outcomes)


@dataclass
class OtherPreprocessing(ToyEmbedder):
    """Claims to be the index's embedder, and sees something else."""

    change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = lambda a: a[::-1].copy()

    def embed(self, batch: ImageBatch) -> Descriptors:
        return super().embed(ImageBatch(arrays=tuple(self.change(a) for a in batch.as_arrays())))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[::-1].copy(),
        lambda a: a[..., ::-1].copy(),
        lambda a: np.full_like(a, 90) + (a % 2),
        lambda a: np.ascontiguousarray(a[: len(a) // 2]),
    ],
    ids=["upside down", "bgr", "grey", "half of it"],
)
def test_another_preprocessing(built: Path, change: Any) -> None:
    outcomes = Canaries(Guard.open(built, embedder=OtherPreprocessing(change=change))).check()
    assert results(outcomes)[:3] == ["miss"] * 3


def test_another_index(guard: Guard, tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / "photos").mkdir(exist_ok=True)
        picture(500 + i).save(tmp_path / "photos" / f"{i}.png")
    build_index(open_source(tmp_path / "photos"), tmp_path / "other.index", TOY)
    other = Guard.open(tmp_path / "other.index", embedder=TOY)
    canaries = Canaries(guard)
    assert len(canaries.missing_from(other)) == 3
    assert canaries.missing_from(guard) == []
    copies = tmp_path / "canaries"
    copies.mkdir()
    picture(3).save(copies / "three.png")
    assert results(Canaries(guard, folder=copies).check()) == ["pass", "pass"]
    outcomes = Canaries(other, folder=copies).check()
    assert results(outcomes) == ["miss", "pass"]
    assert "three.png" in outcomes[0].text


def test_an_embedder_that_breaks(built: Path) -> None:
    @dataclass
    class Breaking(ToyEmbedder):
        broken: bool = False

        def embed(self, batch: ImageBatch) -> Descriptors:
            if self.broken:
                raise RuntimeError("the runtime is gone")
            return super().embed(batch)

    embedder = Breaking()
    canaries = Canaries(Guard.open(built, embedder=embedder))
    embedder.broken = True
    outcomes = canaries.check()
    assert set(results(outcomes)) == {"error"}
    assert "the runtime is gone" in outcomes[0].text


def test_an_index_that_is_gone_is_an_error_and_no_pass(built: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(built, tmp_path / "copy.index")
    canaries = Canaries(Guard.open(tmp_path / "copy.index", embedder=TOY))
    for file in (tmp_path / "copy.index" / "versions" / "0001").glob("*.sqlite"):
        file.write_bytes(b"damaged" * 1000)
    assert "pass" not in results(canaries.check())


def test_references_that_left_are_replaced(built: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(built, tmp_path / "copy.index")
    guard = Guard.open(tmp_path / "copy.index", embedder=TOY)
    canaries = Canaries(guard)
    first, second = (c.reference for c in canaries.chosen[:2])
    assert first
    assert second
    overlay = Overlay(tmp_path / "copy.index")
    overlay.bury([first.sha256], who="test")
    overlay.give([second.sha256], "allow", who="test")
    assert results(canaries.check()) == ["pass"] * 4
    now = {c.reference.id for c in canaries.chosen if c.reference}
    assert len(now) == 3
    assert first.id not in now
    assert second.id not in now


def test_without_thumbnails_there_are_none(tmp_path: Path) -> None:
    build_index(open_source(photo_folder(tmp_path / "photos", 5)), tmp_path / "an.index", TOY, thumbnails=0)
    canaries = Canaries(Guard.open(tmp_path / "an.index", embedder=TOY))
    assert canaries.references == 0
    assert canaries.check() == []
    with pytest.raises(ConfigError, match="holds no picture"):
        Canaries(Guard.open(tmp_path / "an.index", embedder=TOY), folder=tmp_path)


def test_flat_pictures_and_twins_make_no_false_alarm(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(20):
        Image.new("RGB", (64, 64), (7 * i, 120, 90)).save(photos / f"flat{i}.png")
        picture(1).save(photos / f"twin{i}.png")
    for i in range(4):
        picture(50 + i).save(photos / f"z{i}.png")
    build_index(open_source(photos), tmp_path / "an.index", TOY)
    assert results(Canaries(Guard.open(tmp_path / "an.index", embedder=TOY)).check()) == ["pass"] * 4


def test_with_the_descriptor_that_ships(tmp_path: Path) -> None:
    from guard.embedders.registry import load_embedder

    embedder = load_embedder()
    photos = photo_folder(tmp_path / "photos", 12, side=200)
    build_index(open_source(photos), tmp_path / "an.index", embedder)
    guard = Guard.open(tmp_path / "an.index", embedder=embedder)
    assert results(Canaries(guard).check()) == ["pass"] * 4
    config = load_config(guard.config, policy={"flag": 1.0, "block": 1.0})
    typo = Guard(guard.index, embedder, config=config)
    assert results(Canaries(typo).check())[:3] == ["miss"] * 3
