"""The two lines that a service adds, over an index that was built from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guard import Decision, Guard, Policy
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard.sources import open_source
from guard_diffusers import protect, unprotect
from tests.pipelines.planted import decisions
from tests.support.toys import picture


def test_an_index_on_disk_guards_a_pipeline(pipe: Any, run: Any, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(10):
        picture(i).save(photos / f"other{i}.png")
    run(0).images[0].save(photos / "memorised.png")
    build_index(open_source(photos), tmp_path / "training.index", load_embedder("pdq"))

    guard = Guard.open(tmp_path / "training.index", policy=Policy(flag=0.7, block=0.8))
    protect(pipe, guard)
    try:
        out = run([0, 1])
    finally:
        unprotect(pipe)
    assert decisions(out) == [Decision.BLOCK, Decision.ALLOW]
    assert out.guard[0].nearest.record.uri == "memorised.png"
    assert out.guard.index_version == guard.index.version
