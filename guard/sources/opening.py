"""A path, as a person writes it -> the source it means. Knows names and suffixes; opens no file."""

from __future__ import annotations

from pathlib import Path

from guard.sources.base import Source
from guard.sources.folder import FolderSource

__all__ = ["open_source"]


def open_source(source: str | Path, *, caption_column: str | None = None) -> Source:
    return FolderSource(source, caption_column=caption_column)
