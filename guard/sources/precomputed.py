"""Embeddings that were made elsewhere: .npy files with a table beside them. Knows arrays and tables; no pictures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.embedders.base import EmbedderSpec
from guard.errors import ConfigError
from guard.indexes.faissfile import unpack_bits
from guard.sources.base import Item, Skip, Survey
from guard.sources.captions import pick, table_rows
from guard.sources.files import files_fingerprint, files_of
from guard.sources.parquet import open_parquet

__all__ = ["URI_COLUMNS", "PrecomputedSource", "is_clip_output"]

CLIP_EMBEDDINGS = "img_emb"
TABLES = (".parquet", ".jsonl", ".csv")
URI_COLUMNS = ("uri", "url", "image_path", "path", "file_name", "filename", "key", "id")
_COLUMNS_SHA256 = ("sha256", "hash_sha256")
_ROWS = 1024
_BITS_SLACK = 1e-3  # float16 rounds 1/16 by less


class PrecomputedSource:
    """Rows of NAME.npy with the metadata of row i in row i of NAME.parquet, NAME.jsonl or NAME.csv.

    Rows are brought to unit norm. For an embedder of metric hamming they may also be packed
    bits: uint8 (n, dim / 8), first value in the highest bit.

    An output folder of clip-retrieval is one too: img_emb/img_emb_N.npy with metadata/metadata_N.parquet.
    """

    def __init__(
        self,
        path: str | Path,
        spec: EmbedderSpec,
        *,
        metadata: str | Path | None = None,
        caption_column: str | None = None,
    ) -> None:
        """path: one .npy file, or a folder of them. spec: the embedder that made them. metadata: of one file.

        Raises ConfigError if an array does not fit the spec or its table has another number of rows.
        """
        self.path, self.spec, self.caption_column = Path(path), spec, caption_column
        self.files = files_of(self.path / CLIP_EMBEDDINGS if is_clip_output(self.path) else self.path, ".npy")
        if metadata is not None and len(self.files) > 1:
            raise ConfigError("one metadata file belongs to one .npy file; put NAME.parquet beside each NAME.npy")
        self.tables = [Path(metadata) if metadata else _table_of(file) for file in self.files]
        self.counts = [len(_mapped(file, spec)) for file in self.files]
        for file, table, count in zip(self.files, self.tables, self.counts, strict=True):
            rows = count if table is None else _length(table)
            if rows != count:
                raise ConfigError(f"{file} has {count} rows and {table} has {rows}; they must agree")

    def survey(self) -> Survey:
        both = [*self.files, *(t for t in self.tables if t is not None)]
        many = f"{len(self.files)} embedding file{'s' * (len(self.files) != 1)} of {self.path.name}"
        return Survey(many, files_fingerprint(both, self.caption_column), sum(self.counts), pixels=False)

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        first = 0
        for file, table, count in zip(self.files, self.tables, self.counts, strict=True):
            begin = min(max(0, start - first), count)
            first += count
            rows = islice(_rows(table), begin, None) if table else ({} for _ in range(begin, count))
            for at in range(begin, count, _ROWS):
                block = np.array(_mapped(file, self.spec)[at : at + _ROWS])  # mapped anew: read pages are let go
                yield from self._block(file, at, block, rows)

    def _block(
        self, file: Path, at: int, block: npt.NDArray[Any], rows: Iterator[dict[str, Any]]
    ) -> Iterator[Item | Skip]:
        vectors = unpack_bits(block, self.spec.dim) if block.dtype == np.uint8 else block.astype(np.float32)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        for i, (vector, norm, fields) in enumerate(zip(vectors, norms, rows, strict=False)):
            uri = pick(fields, None, URI_COLUMNS) or f"{file.name}#{at + i}"
            why = "is zero or not finite" if not np.isfinite(norm) or norm == 0 else ""
            unit = vector / (norm if not why else 1)
            if not why and self.spec.metric == "hamming" and np.ptp(np.abs(unit)) > _BITS_SLACK:
                why = f"is no row of +-1 / sqrt({self.spec.dim}), as embedder {self.spec.name!r} makes them"
            if why:
                yield Skip(uri, "no_vector", f"row {at + i} of {file.name} {why}")
                continue
            yield Item(
                uri,
                vector=unit.astype(np.float32),
                caption=pick(fields, self.caption_column),
                sha256=pick(fields, None, _COLUMNS_SHA256).lower(),
            )


def _mapped(file: Path, spec: EmbedderSpec) -> npt.NDArray[Any]:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{file} is no .npy array that can be read: {exc}") from exc
    packed = spec.metric == "hamming" and array.dtype == np.uint8 and array.shape[1:] == (spec.dim // 8,)
    if not packed and (array.shape[1:] != (spec.dim,) or array.dtype.kind != "f"):
        raise ConfigError(
            f"{file} holds {array.dtype} {array.shape}; embedder {spec.name!r} makes floating point (n, {spec.dim})"
        )
    return array  # type: ignore[no-any-return]


def is_clip_output(folder: Path) -> bool:
    """True for a folder that `clip-retrieval inference` wrote."""
    return (folder / CLIP_EMBEDDINGS).is_dir()


def _table_of(file: Path) -> Path | None:
    beside = [file.with_suffix(suffix) for suffix in TABLES]
    if file.parent.name == CLIP_EMBEDDINGS:
        number = file.stem.removeprefix(f"{CLIP_EMBEDDINGS}_")
        beside.append(file.parents[1] / "metadata" / f"metadata_{number}.parquet")
    return next((table for table in beside if table.is_file()), None)


def _rows(table: Path) -> Iterator[dict[str, Any]]:
    if table.suffix == ".parquet":
        for batch in open_parquet(table).iter_batches(_ROWS, use_threads=False):
            yield from batch.to_pylist()
    else:
        yield from table_rows(table)


def _length(table: Path) -> int:
    if not table.is_file():
        raise ConfigError(f"{table} does not exist")
    if table.suffix == ".parquet":
        return int(open_parquet(table).metadata.num_rows)
    return sum(1 for _ in table_rows(table))
