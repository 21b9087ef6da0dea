"""Words compared with the pictures of the index in use: where a CLIP is there for it. Knows settings; ranks nothing.

With `server.meaning`, an index of the same pictures that a CLIP built stands beside the one that is served. Without it,
the served index itself is asked if a CLIP built it.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from guard.embedders.models import MODELS, fetched
from guard.embedders.words import load_words
from guard.errors import ConfigError, GuardError, IndexLoadError
from guard.indexes import open_index
from guard.indexes.layout import IndexFolder
from guard.indexes.overlaid import OverlaidIndex
from guard.indexes.verify import changed_files
from guard.search import Meaning
from guard_server.published import Published

if TYPE_CHECKING:
    from guard.embedders.words import WordEmbedder
    from guard.guard import Guard
    from guard.indexes.store import Memory
    from guard.metrics import GuardMetrics
    from guard_server.config import ServerConfig

__all__ = ["Meanings"]

logger = logging.getLogger("guard_server")


class Meanings:
    """The text tower, and the index whose pictures it is compared with. Safe for threads.

    What the settings name is opened at once; a tower that goes without saying is loaded when it is first needed.
    """

    def __init__(self, config: ServerConfig, metrics: GuardMetrics) -> None:
        """metrics: where new versions of the index beside are counted.

        Raises GuardError for an index, or a tower, that cannot be opened or does not fit.
        """
        self._words: WordEmbedder | None = None
        self._beside: _Beside | None = None
        self._lock = threading.Lock()
        if config.meaning is not None:
            self._beside = _Beside(config, config.meaning, metrics)
        elif config.text_model is not None:
            self._words = load_words(config.text_model)

    @property
    def version(self) -> str | None:
        """Of the index beside; None where there is none."""
        return self._beside.meaning.index.version if self._beside is not None else None

    def offered(self, guard: Guard) -> bool:
        """Whether words can be looked for by what they mean."""
        return self._beside is not None or self._words is not None or _is_clip(guard.embedder.spec.name)

    def of(self, guard: Guard) -> Meaning:
        """For one search with a guard that stays in use meanwhile.

        Raises ConfigError where nothing is offered, or for a tower that does not fit the index; MissingExtraError
        without the packages that run it.
        """
        if self._beside is not None:
            return self._beside.meaning
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

    def look(self, *, again: bool = False) -> None:
        """Take the version of the index beside that is published, if it is another. again: also one that was refused.

        Raises nothing.
        """
        if self._beside is not None:
            self._beside.look(again)

    def close(self) -> None:
        if self._beside is not None:
            self._beside.meaning.index.close()


class _Beside:
    """The index beside. One that was replaced is closed with the last search that holds it."""

    def __init__(self, config: ServerConfig, path: Path, metrics: GuardMetrics) -> None:
        self._path, self._metrics, self._checksums = path, metrics, config.checksums
        self._memory: Memory = "map" if config.workers > 1 else "load"
        version = IndexFolder(path).current()
        self._published = Published(path, version)
        self.meaning = self._opened(version, config.text_model)
        self._lock = threading.Lock()
        metrics.add_index(path.name)

    def look(self, again: bool) -> None:
        with self._lock:
            if again:
                self._published.refused = None
            if not self._published.has_new():
                return
            version, mark = "", None
            try:
                version = self._published.folder.current()
                mark = self._published.mark(version)
                self.meaning = self._opened(version, self.meaning.words)
            except Exception as exc:  # anything may be wrong with files that others wrote
                self._published.refused = mark
                self._metrics.count_reload(self._path.name, "refused")
                text = str(exc) if isinstance(exc, GuardError) else f"{type(exc).__name__}: {exc}"
                logger.error(
                    "version %s of %s is refused, %s goes on: %s",
                    version or "?", self._path, self.meaning.index.version, text,
                )  # fmt: skip
                return
            self._published.used = mark
            self._metrics.count_reload(self._path.name, "loaded")
            logger.info("version %s of %s is in use, %d references", version, self._path, len(self.meaning.index))

    def _opened(self, version: str, tower: WordEmbedder | str | None) -> Meaning:
        index = open_index(self._path, version=version, memory=self._memory)
        try:
            problems = list(changed_files(index.folder, index.manifest)) if self._checksums else []
            if problems:
                raise IndexLoadError(f"{problems[0]}; build or publish it again")
            return Meaning(index, tower)
        except BaseException:
            index.close()
            raise


def _is_clip(name: str) -> bool:
    """Of the model list, with its files at hand: the text tower is among them."""
    return name.startswith("clip") and name in MODELS and MODELS[name].loader == "transformers" and fetched(name)
