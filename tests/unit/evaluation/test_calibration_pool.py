"""The pool of pictures that calibrations are tried on, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.embedders.base import Embedder
from guard.embedders.registry import load_embedder
from guard.errors import ConfigError
from guard.evaluation.calibration_pool import make_pool
from tests.support.tiny_models import onnx_file, preparation
from tests.support.toys import picture


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    file = onnx_file(tmp_path_factory.mktemp("model") / "own.onnx", preprocessing=str(preparation))
    return load_embedder(f"onnx:{file}")


def test_files_come_before_programs_and_keep_their_sources(embedder: Embedder, tmp_path: Path) -> None:
    for name, count in (("a", 20), ("b", 3)):
        (tmp_path / name).mkdir()
        for seed in range(count):
            picture(seed + 1000 * (name == "b"), 64, 64).save(tmp_path / name / f"{seed:02d}.png")
    groups = {name: [tmp_path / name] for name in ("a", "b")}
    told: list[tuple[str, int, int]] = []
    pool, skipped = make_pool(embedder, groups=groups, procedural=2, progress=lambda *what: told.append(what))
    assert skipped == ()
    assert pool.groups[:24] == ("a",) * 20 + ("b",) * 3 + ("leaves",)
    assert pool.vectors.shape == (23 + 24, embedder.spec.dim)
    assert len(set(pool.sources.tolist())) == 47
    assert told[-1] == ("embedding", 47, 47)
    alone, _ = make_pool(embedder, groups={}, procedural=2)
    assert np.allclose(alone.vectors, pool.vectors[23:], atol=1e-5)
    assert not np.allclose(make_pool(embedder, groups={}, procedural=2, seed=1)[0].vectors, alone.vectors, atol=1e-2)


def test_a_stopped_run_goes_on_from_its_cache(embedder: Embedder, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def stops(_what: str, done: int, _all: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_pool(embedder, groups={}, procedural=5, cache=cache, progress=stops)
    kept = sorted(cache.rglob("*.npy"))
    assert len(kept) == 4  # of five pictures each
    before = {path: path.stat().st_mtime_ns for path in kept}
    pool, _ = make_pool(embedder, groups={}, procedural=5, cache=cache)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert np.allclose(pool.vectors, make_pool(embedder, groups={}, procedural=5)[0].vectors, atol=1e-5)
    # What is kept is what is read; what is damaged is made anew.
    np.save(kept[0], np.full((5, embedder.spec.dim), 7, np.float32))
    assert (make_pool(embedder, groups={}, procedural=5, cache=cache)[0].vectors == 7).all(axis=1).sum() == 5
    kept[0].write_bytes(kept[0].read_bytes()[:40])
    again, _ = make_pool(embedder, groups={}, procedural=5, cache=cache)
    assert np.array_equal(again.vectors, pool.vectors)


def test_a_cache_that_cannot_be_made_is_said(embedder: Embedder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--cache"):
        make_pool(embedder, groups={}, procedural=1, cache=tmp_path / "file")
