"""Pictures outside of an evaluation, for score normalisation. Knows sources and entrants; no similarity.

A background picture that shows what an evaluated picture shows makes every copy of that look common: it is left out,
as its table of sources, `--same` or its pixels say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from guard.errors import ConfigError
from guard.evaluation.entrants import Entrant, Vectors
from guard.evaluation.pictures import PictureFile, load

__all__ = ["BACKGROUND", "beside", "divided", "embed_background"]

BACKGROUND = "(background)"
"""The group of these pictures while they are read."""
BATCH = 16  # pictures decoded together


def beside(groups: Mapping[str, Sequence[Path]], folders: Sequence[Path]) -> dict[str, Sequence[Path]]:
    """The groups with the background as the last: a file that is in both is evaluated."""
    if BACKGROUND in groups:
        raise ConfigError(f"a group cannot be called {BACKGROUND!r}; that name stands for the background")
    return {**groups, BACKGROUND: folders} if folders else dict(groups)


def divided(pictures: Sequence[PictureFile]) -> tuple[list[PictureFile], list[PictureFile], int]:
    """The evaluated pictures, those of the background that share no source with them, and how many do."""
    evaluated = [p for p in pictures if p.group != BACKGROUND]
    sources = {p.source for p in evaluated}
    background = [p for p in pictures if p.group == BACKGROUND]
    kept = [p for p in background if p.source not in sources]
    return evaluated, kept, len(background) - len(kept)


def embed_background(
    pictures: Sequence[PictureFile], entrant: Entrant, side: int, progress: Callable[[int], None] = lambda _done: None
) -> Vectors:
    """(b, d): one view of each, embedded as references are. progress: called with how many are done."""
    found: list[Vectors] = []
    for start in range(0, len(pictures), BATCH):
        some = pictures[start : start + BATCH]
        found.append(entrant.references([load(p.path, side) for p in some])[:, 0])
        progress(start + len(some))
    return np.concatenate(found)
