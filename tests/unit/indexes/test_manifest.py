"""A manifest that does not fit is refused by the name of what does not fit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from guard.embedders.base import Thresholds
from guard.errors import IndexLoadError
from guard.indexes.manifest import EmbedderEntry, FileEntry, Manifest, ThresholdsEntry
from tests.support.specs import Named

SPEC = Named(8).spec


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "format_version": 1,
        "embedder": EmbedderEntry.model_validate(SPEC.identity()),
        "thresholds": ThresholdsEntry(flag=0.5, block=0.9, source="test"),
        "vectors": "float32",
        "count": 3,
        "built_at": datetime(2026, 1, 2, tzinfo=UTC),
        "tool_version": "0.1",
        "files": {"vectors.faiss": FileEntry(bytes=1, sha256="aa")},
    }
    return Manifest(**{**fields, **changes})


def test_round_trip(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(manifest().to_json())
    read = Manifest.read(tmp_path / "manifest.json")
    assert read == manifest()
    assert read.spec.thresholds == Thresholds(0.5, 0.9, "test")
    assert read.spec.identity() == SPEC.identity()
    assert read.built_timestamp == datetime(2026, 1, 2, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "other"),
        ("dim", 16),
        ("input_size", 9),
        ("preprocessing", "crop"),
        ("weights_sha256", "bb"),
        ("metric", "hamming"),
    ],
)
def test_each_field_of_the_embedder_must_agree(field: str, value: Any) -> None:
    other = Named(**{"dim": 8, field: value}).spec
    with pytest.raises(IndexLoadError, match=rf"{field} is .*{getattr(SPEC, field)}.* in the index and .*{value}"):
        manifest().require(other)


def test_every_pair_of_thresholds_comes_back() -> None:
    windows = ThresholdsEntry(flag=0.6, block=0.95, source="windows")
    white = ThresholdsEntry(flag=0.3, block=0.4, source="whitened", windows=windows)
    entry = ThresholdsEntry(flag=0.5, block=0.9, source="test", whitened=white, windows=windows)
    read = Manifest.model_validate_json(manifest(thresholds=entry).to_json()).spec.thresholds
    seen = Thresholds(0.6, 0.95, "windows")
    assert read == Thresholds(0.5, 0.9, "test", Thresholds(0.3, 0.4, "whitened", windows=seen), seen)


def test_thresholds_are_advice() -> None:
    from dataclasses import replace

    manifest().require(replace(SPEC, thresholds=Thresholds(0.1, 0.2, "another")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "format_version None"),
        ('{"format_version": 2, "tool_version": "9.1"}', r"format_version 2 is unknown.*9\.1"),
        ('{"format_version": 1}', "embedder"),
    ],
)
def test_damaged_manifests(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IndexLoadError, match=rf"(?s)manifest\.json.*{said}"):
        Manifest.read(tmp_path / "manifest.json")


def test_unknown_fields_are_refused(tmp_path: Path) -> None:
    fields = {**json.loads(manifest().to_json()), "surprise": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(IndexLoadError, match="surprise"):
        Manifest.read(tmp_path / "manifest.json")
