"""A reference set that holds what a pipeline makes: the pipeline then has, in effect, memorised it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from guard import Decision, Guard
from guard.config import load_config
from guard.embedders.base import embed_query
from guard.embedders.registry import load_embedder
from guard.pixels import to_batch
from tests.support.toys import MemoryIndex, picture
from tests.support.waiting import WAIT_S

__all__ = ["Planted", "decisions", "guarded", "one_thread", "pictures_of", "same_bits", "value"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny layers on many threads mostly wait for each other: 50 times slower when something else runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Planted:
    """Real PDQ descriptors of planted pictures and of 20 others, in an exact index."""

    def __init__(self, planted: Sequence[Image.Image]) -> None:
        self.embedder = load_embedder("pdq")
        others = {f"train/{i}.png": picture(i) for i in range(20)}
        self.index = MemoryIndex(self.embedder, {**{f"planted/{i}.png": p for i, p in enumerate(planted)}, **others})

    def guard(self, embedder: Any = None, **settings: Any) -> Guard:
        config = load_config(None, **{"deadline_s": WAIT_S, **settings})
        return Guard(self.index, embedder or self.embedder, config=config)

    def is_copy(self, images: Any) -> list[bool]:
        """Of pictures that got out: which are copies of a planted one, by the descriptors alone."""
        query = embed_query(self.embedder, to_batch(images)).vectors
        found = self.index.search(query.reshape(-1, query.shape[-1]), 1)
        block = self.embedder.spec.thresholds.block  # type: ignore[union-attr]
        return [bool(s >= block) for s in found.similarity.reshape(len(query), -1).max(axis=1)]


def value(out: Any) -> Any:
    """The pictures of an output object or tuple."""
    if isinstance(out, tuple):
        return out[0]
    return out.frames if hasattr(out, "frames") else out.images


def pictures_of(value: Any) -> list[Any]:
    """A flat list of single pictures: of clips, their frames."""
    items = list(value)
    nested = bool(items) and (isinstance(items[0], list) or getattr(items[0], "ndim", 0) == 4)
    return [frame for clip in items for frame in clip] if nested else items


def same_bits(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(same_bits(x, y) for x, y in zip(a, b, strict=True))
    x, y = np.asarray(a), np.asarray(b)
    return x.dtype == y.dtype and np.array_equal(x, y)


@contextmanager
def guarded(pipe: Any, guard: Guard, **settings: Any) -> Iterator[Any]:
    """The pipeline, guarded for the length of a block."""
    from guard_diffusers import protect, unprotect

    try:
        yield protect(pipe, guard, **settings)
    finally:
        unprotect(pipe)


def decisions(out: Any) -> list[Decision | None]:
    return [verdict.decision for verdict in out.guard]
