"""What a guard's checks leave in its log."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from guard import Action, ConfigError, Decision, Guard, Mode, Status
from guard.embedders.registry import load_embedder
from guard.events import Event, EventLog, EventsConfig
from guard.indexes.builder import build_index
from guard.pixels import to_batch
from tests.support.events import logging_guard
from tests.support.toys import MemoryIndex, ToyEmbedder, picture


def logged(guard: Guard) -> list[Event]:
    """Oldest first."""
    assert guard.events is not None
    assert guard.events.flush(30)
    return EventLog(guard.events.path).read(limit=1000)[::-1]


def dropped(guard: Guard) -> float:
    names = ("queue_full", "locked", "disk", "unwritable", "damaged", "closed", "error")
    value = guard.metrics.registry.get_sample_value
    return sum(value("memguard_events_dropped_total", {"reason": name}) or 0 for name in names)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.sqlite"


def test_a_block_is_logged_with_all_that_explains_it(log: Path) -> None:
    guard = logging_guard(log)
    before = time.time()
    report = guard.check([picture(3)], pipeline="sd", prompts=["a lighthouse"])
    (event,) = logged(guard)
    guard.events.close()
    assert before - 1 <= event.time <= time.time() + 1
    assert (event.pipeline, event.mode, event.status) == ("sd", Mode.ENFORCE, Status.SUCCESS)
    assert (event.decision, event.action) == (Decision.BLOCK, Action.REPLACED)
    assert event.detail["verdict"] == report[0].to_dict()
    assert event.matches[0]["uri"] == "train/3.png"
    assert event.reasons == list(report[0].reasons)
    assert event.detail["thresholds"] == {"flag": 0.8, "block": 0.95}
    assert event.detail["index_version"] == "0001"
    assert event.detail["embedder"] == {"name": "toy", "weights_sha256": "", "preprocessing": "box 8"}
    assert set(event.detail["seconds"]) == {"pixels", "embed", "search", "decide"}
    assert event.prompt is None
    assert event.prompt_hash == EventLog(log).hash_prompt("a lighthouse")
    assert event.thumbnail is None
    kept = np.frombuffer(event.descriptor, "<f2").astype(np.float32)
    exact = ToyEmbedder().embed(to_batch([picture(3)]))[0]
    assert float(kept @ exact) == pytest.approx(1, abs=1e-3)
    assert dropped(guard) == 0


def test_thresholds_of_one_call_are_the_ones_that_are_logged(log: Path) -> None:
    guard = logging_guard(log)
    guard.check([picture(3)], options={"policy": {"flag": 0.5, "block": 0.6}, "mode": "flag"})
    (event,) = logged(guard)
    guard.events.close()
    assert event.detail["thresholds"] == {"flag": 0.5, "block": 0.6}
    assert (event.mode, event.action) == (Mode.FLAG, Action.RELEASED)


@pytest.mark.parametrize(("share", "kept"), [(0.0, 1), (1.0, 4)])
def test_allows_and_skips_are_sampled_and_the_rest_is_not(log: Path, share: float, kept: int) -> None:
    guard = logging_guard(log, ToyEmbedder(fail_on=(200,)), allow_sample=share)
    guard.check([picture(99), picture(98)])
    guard.skip(1, "latent")
    guard.check([np.full((64, 64, 3), 200, np.uint8)])
    events = logged(guard)
    guard.events.close()
    assert len(events) == kept
    assert (events[-1].status, events[-1].decision) == (Status.ERROR, None)
    assert events[-1].detail["verdict"]["stage"] == "embed"
    assert all(event.descriptor is None for event in events)


@pytest.mark.parametrize("prompts", ["plain", "hash", "none"])
def test_what_is_kept_of_a_prompt_is_the_operators_choice(log: Path, prompts: str) -> None:
    guard = logging_guard(log, prompts=prompts, prompt_key="0123456789abcdef")
    text = "Grüße \udcff\0, Anna"
    guard.check([picture(3), picture(4)], prompts=text)
    guard.check([picture(3), picture(4)], prompts=[text, None])
    guard.check([picture(3), picture(4)], prompts=["one", "too", "many"])
    events = logged(guard)
    guard.events.close()
    expected = EventLog(log).hash_prompt(text, b"0123456789abcdef") if prompts != "none" else None
    assert [e.prompt_hash for e in events] == [expected, expected, expected, None, None, None]
    shown = "Grüße \\udcff\0, Anna" if prompts == "plain" else None
    assert [e.prompt for e in events] == [shown, shown, shown, None, None, None]
    assert not log.with_name("events.sqlite.key").exists()
    if prompts != "plain":
        assert b"Anna" not in b"".join(file.read_bytes() for file in log.parent.iterdir())


def test_the_key_is_made_once_and_is_its_owners_alone(log: Path) -> None:
    first, second = logging_guard(log), logging_guard(log)
    for guard in (first, second):
        guard.check([picture(3)], prompts="the same")
        logged(guard)
        guard.events.close()
    hashes = {event.prompt_hash for event in EventLog(log).read()}
    assert len(hashes) == 1
    key = log.with_name("events.sqlite.key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(key.read_text())) == 32
    assert sorted(p.name for p in log.parent.iterdir()) == ["events.sqlite", "events.sqlite.key"]


@pytest.mark.parametrize("form", ["pil", "array", "tensor", "one array", "float array"])
def test_a_thumbnail_shows_the_image_that_was_made(log: Path, form: str) -> None:
    guard = logging_guard(log, thumbnails=32)
    array = np.stack([np.asarray(picture(99, 96, 64)), np.asarray(picture(3, 96, 64))])
    images: Any = {
        "pil": [picture(99, 96, 64), picture(3, 96, 64)],
        "array": array,
        "tensor": torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255,
        "one array": array[1],
        "float array": array.astype(np.float32) / 255,
    }[form]
    guard.apply(images, guard.check(images))
    (event,) = [e for e in logged(guard) if e.decision is Decision.BLOCK]
    guard.events.close()
    with Image.open(io.BytesIO(event.thumbnail)) as shown:
        assert (shown.format, shown.size) == ("JPEG", (32, 21))
        difference = np.asarray(shown, float) - np.asarray(picture(3, 96, 64).resize((32, 21)), float)
    assert np.abs(difference).mean() < 20  # of other pictures 60 and more


def test_an_image_that_cannot_be_read_is_logged_without_a_thumbnail(log: Path) -> None:
    guard = logging_guard(log, thumbnails=32)
    guard.check("no picture")
    guard.check([picture(3), np.full((64, 64, 3), np.nan, np.float32)])
    events = logged(guard)
    guard.events.close()
    assert [e.thumbnail is not None for e in events] == [False, True, False]
    assert dropped(guard) == 0


def test_a_video_is_one_event_and_shows_the_frame(log: Path) -> None:
    guard = logging_guard(log, thumbnails=64)
    clip = [picture(100 + i) for i in range(5)]
    clip[4] = picture(3)
    guard.check_videos([[picture(200)], clip], prompts=["a", "b"])
    (event,) = [e for e in logged(guard) if e.decision is Decision.BLOCK]
    guard.events.close()
    assert event.detail["verdict"]["frame"] == 4
    assert event.prompt_hash == EventLog(log).hash_prompt("b")
    with Image.open(io.BytesIO(event.thumbnail)) as shown:
        assert np.abs(np.asarray(shown, float) - np.asarray(picture(3), float)).mean() < 8
    assert event.descriptor is not None


def test_what_the_host_withheld_is_logged_with_its_action(log: Path) -> None:
    guard = logging_guard(log, allow_sample=0)
    guard.skip(2, "latent")
    guard.skip(2, "latent", action=Action.RAISED, prompts=["a", "b"])
    guard.fail(1, RuntimeError("no decoder"), prompts="c")
    events = logged(guard)
    guard.events.close()
    assert [(e.status, e.action) for e in events] == [
        (Status.SKIPPED, Action.RAISED),
        (Status.SKIPPED, Action.RAISED),
        (Status.ERROR, Action.REPLACED),
    ]
    assert len({e.prompt_hash for e in events}) == 3


def test_no_log_is_kept_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    guard = Guard(MemoryIndex(ToyEmbedder(), {"a.png": picture(1)}), ToyEmbedder())
    report = guard.check([picture(1)], prompts="a")
    assert guard.events is None
    assert report[0].descriptor is None
    assert not list(tmp_path.iterdir())


def test_a_log_is_opened_with_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "training").mkdir()
    picture(1, 128, 128).save(tmp_path / "training" / "1.png")
    build_index(tmp_path / "training", tmp_path / "my.index", load_embedder("pdq"))
    first = Guard.open(tmp_path / "my.index", events=tmp_path / "a.sqlite", deadline_s=None)
    second = Guard.open(tmp_path / "my.index", events={"path": tmp_path / "b.sqlite", "prompts": "plain"})
    shared = Guard.open(tmp_path / "my.index", events=first.events)
    fourth = Guard.open(tmp_path / "my.index", events=EventsConfig(path=tmp_path / "d.sqlite"))
    with pytest.raises(ConfigError, match=r"events: .*from keyword"):
        Guard.open(tmp_path / "my.index", events=3)  # type: ignore[arg-type]
    monkeypatch.setenv("MEMGUARD_EVENTS__PATH", str(tmp_path / "c.sqlite"))
    monkeypatch.setenv("MEMGUARD_EVENTS__PROMPTS", "none")
    third = Guard.open(tmp_path / "my.index")
    for guard in (first, second, third, fourth, shared):
        guard.check([picture(1, 128, 128)], prompts="a wharf")
        assert guard.events.flush(30)
    for guard in (first, second, third, fourth):
        guard.events.close()
    counts = [EventLog(tmp_path / f"{name}.sqlite").count() for name in "abcd"]
    assert counts == [2, 1, 1, 1]
    assert EventLog(tmp_path / "b.sqlite").read()[0].prompt == "a wharf"
    assert EventLog(tmp_path / "c.sqlite").read()[0].prompt_hash is None
    assert EventLog(tmp_path / "a.sqlite").read()[0].detail["index"] == "my.index"
    assert (third.config.events.prompts, third.config.events.path) == ("none", tmp_path / "c.sqlite")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"path": "gone/events.sqlite"}, "no folder .*gone"),
        ({"path": "."}, "is a folder"),
        ({"path": "e.sqlite", "allow_sample": 2}, "events.allow_sample"),
        ({"path": "e.sqlite", "prompts": "some"}, "events.prompts"),
        ({"path": "e.sqlite", "prompt_key": "short"}, "events.prompt_key"),
        ({"file": "e.sqlite"}, "events.file"),
        ({"path": "e.sqlite", "thumbnails": 5000}, "events.thumbnails"),
    ],
)
def test_wrong_settings_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        logging_guard(**settings) if "path" in settings else logging_guard(Path("e.sqlite"), **settings)


def test_a_key_does_not_show_in_the_settings(log: Path) -> None:
    guard = logging_guard(log, prompt_key="0123456789abcdef")
    guard.events.close()
    assert "0123456789abcdef" not in repr(guard.config)
    with pytest.raises(ConfigError, match=r"events.*when the guard is opened"):
        guard.check([picture(1)], options={"events": {"path": None}})
