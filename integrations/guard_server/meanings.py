"""Words compared with the pictures of the index in use: where a CLIP is there for it. Knows settings; ranks nothing.

With `server.meaning`, an index of the same pictures that a CLIP built stands beside the one that is served. Without it,
the served index itself is asked if a CLIP built it.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from guard.embedders.models import MODELS, fetched
from guard.embedders.words import load_words
from guard.errors import ConfigError
from guard.indexes.overlaid import OverlaidIndex
from guard.search import Meaning

if TYPE_CHECKING:
    from guard.embedders.words import WordEmbedder
    from guard.guard import Guard
    from guard_server.config import ServerConfig

__all__ = ["Meanings"]


class Meanings:
    """The text tower, and the index whose pictures it is compared with. Safe for threads.

    What the settings name is opened at once, and is not read again; a tower that goes without saying is loaded when it
    is first needed.
    """

    def __init__(self, config: ServerConfig) -> None:
        """Raises GuardError for an index, or a tower, that cannot be opened or does not fit."""
        self._opened = ExitStack()
        self._words: WordEmbedder | None = None
        self._beside: Meaning | None = None
        self._lock = threading.Lock()
        if config.meaning is not None:
            from guard.indexes import open_index

            index = self._opened.enter_context(open_index(config.meaning))
            self._beside = Meaning(index, config.text_model)
        elif config.text_model is not None:
            self._words = load_words(config.text_model)

    def offered(self, guard: Guard) -> bool:
        """Whether words can be looked for by what they mean."""
        return self._beside is not None or self._words is not None or _is_clip(guard.embedder.spec.name)

    def of(self, guard: Guard) -> Meaning:
        """For one search with a guard that stays in use meanwhile.

        Raises ConfigError where nothing is offered, or for a tower that does not fit the index; MissingExtraError
        without the packages that run it.
        """
        if self._beside is not None:
            return self._beside
        base = guard.index.base if isinstance(guard.index, OverlaidIndex) else None
        if base is None or not self.offered(guard):
            raise ConfigError(
                "words are looked up in captions alone here: set server.meaning to an index of the same pictures "
                "that a CLIP built"
            )
        with self._lock:
            if self._words is None:
                self._words = load_words(base.manifest.embedder.name)
        return Meaning(base, self._words)

    def close(self) -> None:
        self._opened.close()


def _is_clip(name: str) -> bool:
    """Of the model list, with its files at hand: the text tower is among them."""
    return name.startswith("clip") and name in MODELS and MODELS[name].loader == "transformers" and fetched(name)
