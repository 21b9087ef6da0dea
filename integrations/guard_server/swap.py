"""A new version of the index beside the one in use, tried, then in its place. Knows versions; no clock, no request.

A version that is damaged, does not fit, or whose canaries miss is refused, and the one in use goes on. Nothing waits
for it: batches that have begun end with the guard that they began with.
"""

from __future__ import annotations

import gc
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guard.canaries import Canaries
from guard.errors import GuardError, IndexLoadError
from guard.guard import Guard
from guard.indexes.verify import changed_files
from guard.opening import fits, open_parts
from guard.unseen import UnseenMetrics, quiet
from guard_server.current import Current
from guard_server.published import Mark, Published

__all__ = ["Swap", "Swapper"]

logger = logging.getLogger("guard_server")


@dataclass(frozen=True, slots=True)
class Swap:
    """What became of one attempt."""

    result: Literal["loaded", "unchanged", "refused"]
    version: str
    """The one in use now."""
    met: str
    """The one that was met."""
    text: str = ""
    """Of a refusal: why."""


class Swapper:
    """path: the index directory. canaries: how many references each version is tried with; folder: pictures instead.

    checksums: compare every file of a new version with its manifest before it is used.
    """

    def __init__(
        self, current: Current, path: Path, *, canaries: int, folder: Path | None = None, checksums: bool = True
    ) -> None:
        self._current, self._path = current, path
        self._most, self._folder, self._checksums = canaries, folder, checksums
        self._lock = threading.Lock()
        self._published = Published(path, current.guard.index.version)
        self.canaries = self._of(current.guard)

    def _of(self, guard: Guard) -> Canaries | None:
        return Canaries(guard, most=self._most, folder=self._folder) if self._most else None

    def has_new(self) -> bool:
        """Whether a version is published that is neither in use nor was refused. Never raises."""
        return self._published.has_new()

    def swap(self, *, force: bool = False) -> Swap:
        """Load the version that is published, unless it is in use. force: even if none of the references that the
        canaries of the version in use stand for is in it. Raises nothing."""
        with self._lock:
            before = self._current.guard
            met = ""
            mark: Mark | None = None
            try:
                met = self._published.folder.current()
                mark = self._published.mark(met)
                if mark == self._published.used:
                    return Swap("unchanged", met, met)
                guard, canaries = self._opened(before, met, force)
            except Exception as exc:
                # Anything may be wrong with files that others wrote; the guard in use knows nothing of it.
                text = str(exc) if isinstance(exc, GuardError) else f"{type(exc).__name__}: {exc}"
                self._published.refused = mark
                before.metrics.count_reload(before.name, "refused")
                logger.error("version %s is refused, %s goes on: %s", met or "?", before.index.version, text)
                return Swap("refused", before.index.version, met, text)
            self._published.used, self.canaries = mark, canaries
            self._current.replace(guard)
            guard.metrics.count_reload(guard.name, "loaded")
            logger.info(
                "version %s with %d references is in use in place of %s",
                met, guard.index.manifest.count, before.index.version,
            )  # fmt: skip
            del before
            gc.collect()  # what was large in the version before is not to wait for the collector
            return Swap("loaded", met, met)

    def _opened(self, before: Guard, version: str, force: bool) -> tuple[Guard, Canaries | None]:
        """The guard of a version that has passed. Raises whatever is wrong with it."""
        at = self._published.folder.version(version)
        embedder = before.embedder if fits(before.embedder, at) else None
        parts = open_parts(self._path, before.asked, embedder, version=version)
        try:
            if self._checksums:
                problems = list(changed_files(at, parts.index.manifest))
                if problems:
                    raise IndexLoadError(f"{problems[0]}; build or publish it again")
            trial = Guard(
                parts.index,
                parts.embedder,
                config=quiet(before.asked),
                metrics=UnseenMetrics(),
                name=parts.name,
                verifier=before.examiner.verifier,
                calibration=parts.calibration,
            )
            canaries = self._tried(trial, force)
            guard = Guard(
                parts.index,
                parts.embedder,
                config=before.asked,
                metrics=before.metrics,
                name=parts.name,
                verifier=before.examiner.verifier,
                events=before.events,
                calibration=parts.calibration,
            )
        except BaseException:
            parts.index.close()
            raise
        if embedder is None:
            before.metrics.forget_embedder(before.embedder.spec, getattr(before.embedder, "provider", "cpu"))
        return guard, canaries

    def _tried(self, trial: Guard, force: bool) -> Canaries | None:
        """The canaries of a version that all of them pass. Raises IndexLoadError."""
        canaries = self._of(trial)
        if canaries is None:
            return None
        wrong = [outcome.text for outcome in canaries.check() if outcome.result != "pass"]
        if wrong:
            raise IndexLoadError(f"its canaries miss: {'; '.join(wrong)}")
        known = self.canaries.references if self.canaries is not None else 0
        if known and not canaries.references:
            raise IndexLoadError("it has no pictures to try it with (no thumbnails), and the version in use has")
        if known and self._folder is None and self.canaries is not None and not force:
            missing = self.canaries.missing_from(trial)
            if len(missing) == known:
                raise IndexLoadError(
                    f"it holds none of the {known} references that the version in use is tried with "
                    f"({', '.join(missing)}): it seems to be of another training set; if that is meant, force it"
                )
        return canaries
