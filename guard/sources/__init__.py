"""Where references come from: folders, tar shards, parquet files, precomputed embeddings."""

from __future__ import annotations

from guard.sources.base import Item, Skip, Source, Survey
from guard.sources.opening import open_source

__all__ = ["Item", "Skip", "Source", "Survey", "open_source"]
