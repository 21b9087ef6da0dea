"""Small reference sets on disk, of every form that a source may have."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.toys import picture

__all__ = ["jpeg", "photo_folder", "same_index", "tar_shard", "unit_rows"]


def jpeg(seed: int, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    picture(seed, side, side).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def photo_folder(folder: Path, n: int, side: int = 64, *, first: int = 0) -> Path:
    """n JPEGs 0000.jpg ..., the picture of seed first + i in file i."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        (folder / f"{i:04d}.jpg").write_bytes(jpeg(first + i, side))
    return folder


def tar_shard(path: Path, members: Sequence[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def unit_rows(n: int, dim: int, seed: int = 0, *, signs: bool = False) -> npt.NDArray[np.float32]:
    """(n, dim) rows of unit norm; of +-1 / sqrt(dim) if signs."""
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    if signs:
        return np.where(rows > 0, 1, -1).astype(np.float32) / np.float32(np.sqrt(dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def same_index(first: Any, second: Any) -> None:
    """Assert that two opened indexes agree in ids, vectors, hashes, records, thumbnails and skipped pictures."""
    assert len(first) == len(second)
    ids = range(len(first))
    assert first.records(ids) == second.records(ids)
    assert (first.folder / "vectors.faiss").read_bytes() == (second.folder / "vectors.faiss").read_bytes()
    hashes = [index.folder / "hashes.faiss" for index in (first, second)]
    assert len({file.read_bytes() if file.exists() else b"" for file in hashes}) == 1
    assert [first.thumbnail(i) for i in ids] == [second.thumbnail(i) for i in ids]
    skipped = [(index.folder / "skipped.jsonl").read_text(encoding="utf-8") for index in (first, second)]
    assert skipped[0] == skipped[1]
    volatile = {"built_at", "files"}
    assert first.manifest.model_dump(exclude=volatile) == second.manifest.model_dump(exclude=volatile)


def captioned(folder: Path, name: str, seed: int, caption: str | None = None, fields: Any = None) -> None:
    """NAME.jpg with NAME.txt or NAME.json beside it."""
    (folder / f"{name}.jpg").write_bytes(jpeg(seed))
    if caption is not None:
        (folder / f"{name}.txt").write_text(caption, encoding="utf-8")
    if fields is not None:
        (folder / f"{name}.json").write_text(json.dumps(fields), encoding="utf-8")
