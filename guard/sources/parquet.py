"""Pictures in parquet files, as bytes or as paths. Knows columns and pyarrow; decodes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from guard.errors import ConfigError, MissingExtraError
from guard.sources.base import Item, Skip, Survey
from guard.sources.captions import CAPTION_COLUMNS, URL_COLUMNS, pick
from guard.sources.files import files_fingerprint, files_of, named_folders

__all__ = ["IMAGE_COLUMNS", "PATH_COLUMNS", "ROWS", "ParquetSource", "open_parquet"]

IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "data", "content")
PATH_COLUMNS = ("path", "image_path", "file_name", "filename", "file", "image", "img", "filepath")
"""Tried in this order where the caller names none: bytes or {bytes, path} first, then paths."""
ROWS = 32  # read at a time; rows hold whole pictures


class ParquetSource:
    """Rows of a parquet file, or of a folder of them; columns are those of the first file."""

    def __init__(self, path: str | Path, *, caption_column: str | None = None, image_column: str | None = None) -> None:
        """Raises ConfigError, listing the columns, if none holds pictures or the named one does not exist."""
        self.path = Path(path)
        self.files = files_of(self.path, ".parquet")
        self.caption_column = caption_column
        schema = open_parquet(self.files[0]).schema_arrow
        self.image_column, self.form = _image_column(schema, self.files[0], image_column)
        if caption_column and caption_column not in schema.names:
            raise ConfigError(f"{self.files[0]} has no column {caption_column!r}; it has {schema.names}")
        captions = (caption_column,) if caption_column else CAPTION_COLUMNS
        beside = [name for name in (*captions, *URL_COLUMNS) if name in schema.names and name != self.image_column]
        self.columns = [self.image_column, *beside]

    def survey(self) -> Survey:
        total = 0
        for file in self.files:
            try:
                total += open_parquet(file).metadata.num_rows
            except ConfigError:
                total += 1  # it becomes one skip
        fingerprint = files_fingerprint(self.files, self.columns, self.caption_column)
        many = f"{len(self.files)} parquet file{'s' * (len(self.files) != 1)} of {self.path.name}"
        folders = named_folders(file.parent for file in self.files) if self.form == "path" else ()
        return Survey(f"{many}, column {self.image_column}", fingerprint, total, folders=folders)

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        position = 0
        for file in self.files:
            row = 0
            try:
                parquet = open_parquet(file)
                if position + parquet.metadata.num_rows <= start:
                    position += parquet.metadata.num_rows
                    continue
                for batch in parquet.iter_batches(ROWS, columns=self.columns, use_threads=False):
                    if position + batch.num_rows <= start:
                        position, row = position + batch.num_rows, row + batch.num_rows
                        continue
                    for fields in batch.to_pylist():
                        position += 1
                        if position > start:
                            yield self.item(file, row, fields)
                        row += 1
            except (ConfigError, OSError, ValueError) as exc:  # pyarrow's own errors are among these
                position += 1
                if position > start:
                    detail = f"{file.name} is damaged after {row} rows ({exc}); fetch it again"
                    yield Skip(file.name, "damaged_source", detail)

    def item(self, file: Path, row: int, fields: dict[str, Any]) -> Item | Skip:
        value, uri = fields.get(self.image_column), f"{file.name}#{row}"
        caption, url = pick(fields, self.caption_column), pick(fields, None, URL_COLUMNS)
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return Item(uri, value, caption=caption, url=url)
        if isinstance(value, str) and value:
            return Item(uri if self.form == "struct" else value, path=file.parent / value, caption=caption, url=url)
        return Skip(uri, "no_image", f"row {row} of {file.name} has no picture in column {self.image_column}")


def open_parquet(path: Path) -> Any:
    """A pyarrow ParquetFile. Raises MissingExtraError without pyarrow, ConfigError for a file that is none."""
    try:
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingExtraError("reading parquet", extra="parquet") from exc
    try:
        return pq.ParquetFile(path, pre_buffer=False, memory_map=True)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} is no parquet file that can be read: {exc}") from exc


def _image_column(schema: Any, file: Path, named: str | None) -> tuple[str, str]:
    """Name of the column, and "bytes", "struct" or "path"."""
    if named is not None:
        if named not in schema.names:
            raise ConfigError(f"{file} has no column {named!r}; it has {schema.names}")
        form = _form(schema.field(named).type)
        if not form:
            raise ConfigError(f"column {named!r} of {file} is {schema.field(named).type}; it must hold bytes or paths")
        return named, form
    for names, forms in ((IMAGE_COLUMNS, ("bytes", "struct")), (PATH_COLUMNS, ("path",))):
        found = _first(schema, names, forms)
        if found:
            return found
    raise ConfigError(f"no column of {file} holds pictures: {schema.names}; name one with --image-column")


def _first(schema: Any, names: Sequence[str], forms: Sequence[str]) -> tuple[str, str] | None:
    for name in names:
        if name in schema.names:
            form = _form(schema.field(name).type)
            if form in forms:
                return name, form
    return None


def _form(kind: Any) -> str:
    import pyarrow.types as t

    if t.is_struct(kind):
        return "struct" if {"bytes", "path"} & {kind.field(i).name for i in range(kind.num_fields)} else ""
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind):
        return "bytes"
    return "path" if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind) else ""
