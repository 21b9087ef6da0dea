"""A source of pictures that were never files, as a pipeline's generations are."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from PIL import Image

from guard.sources.base import Item, Skip, Survey

__all__ = ["InMemory"]


class InMemory:
    def __init__(self, pictures: Sequence[Image.Image], description: str = "pictures in memory") -> None:
        self.pictures, self.description = pictures, description

    def survey(self) -> Survey:
        return Survey(self.description, "", len(self.pictures))

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        for i, picture in enumerate(self.pictures[start:], start):
            buffer = io.BytesIO()
            picture.save(buffer, "BMP")
            yield Item(f"{i}.bmp", data=buffer.getvalue())
