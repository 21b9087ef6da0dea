"""A path, as a person writes it -> the source it means. Knows names and suffixes; opens no file."""

from __future__ import annotations

from pathlib import Path

from guard.embedders.base import EmbedderSpec
from guard.errors import ConfigError
from guard.sources.base import Source
from guard.sources.folder import IMAGE_SUFFIXES, FolderSource
from guard.sources.precomputed import PrecomputedSource, is_clip_output
from guard.sources.webdataset import TAR_SUFFIXES, WebDatasetSource

__all__ = ["open_source"]


def open_source(
    source: str | Path,
    *,
    spec: EmbedderSpec | None = None,
    caption_column: str | None = None,
    image_column: str | None = None,
    metadata: str | Path | None = None,
) -> Source:
    """Return the source that a path or pattern names.

    source: a folder of pictures, or one picture; NAME.tar, a folder of tars, or "shard-{000..012}.tar";
    NAME.parquet or a folder of them; NAME.npy or a folder of them, or an output folder of clip-retrieval.
    A folder is taken for shards, parquet or embeddings if it holds such files and no picture or sub-folder.
    spec: the embedder's, needed for .npy. image_column: of parquet. metadata: the table of one .npy file.
    Raises ConfigError if it names nothing.
    """
    kind = _kind(str(source))
    if image_column is not None and kind != "parquet":
        raise ConfigError("image_column belongs to parquet sources")
    if metadata is not None and kind != "npy":
        raise ConfigError("metadata belongs to sources of precomputed embeddings (.npy)")
    if kind == "tar":
        return WebDatasetSource(source, caption_column=caption_column)
    if kind == "parquet":
        from guard.sources.parquet import ParquetSource

        return ParquetSource(source, caption_column=caption_column, image_column=image_column)
    if kind == "npy":
        if spec is None:
            raise ConfigError(f"{source}: say which embedder made these embeddings")
        return PrecomputedSource(source, spec, metadata=metadata, caption_column=caption_column)
    return FolderSource(source, caption_column=caption_column)


def _kind(source: str) -> str:
    """ "folder", "tar", "parquet" or "npy"."""
    path = Path(source)
    if not path.is_dir():
        return _kind_of_name(source) or "folder"
    if is_clip_output(path):
        return "npy"
    kinds = set()
    for entry in path.iterdir():
        if entry.is_dir() or entry.suffix.lower() in IMAGE_SUFFIXES:
            return "folder"
        kinds.add(_kind_of_name(entry.name))
    for kind in ("npy", "tar", "parquet"):  # .npy first: its tables may be parquet
        if kind in kinds:
            return kind
    return "folder"


def _kind_of_name(name: str) -> str:
    if name.lower().endswith(TAR_SUFFIXES):
        return "tar"
    return {".parquet": "parquet", ".npy": "npy"}.get(Path(name).suffix.lower(), "")
