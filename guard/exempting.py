"""A picture that is no copy of a reference: exempt at once, listed, taken back. Knows guards and overlays; no log.

What is decided on the review page is guard.reviewing's; the pairs of both stand in one overlay.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.embedders.views import embed_views
from guard.errors import CheckError, ConfigError
from guard.indexes.layout import IndexFolder
from guard.indexes.overlaid import OverlaidIndex
from guard.indexes.overlay import Overlay, key_of
from guard.indexes.records import RECORDS, RecordReader
from guard.intake import convert
from guard.optout.entries import moment
from guard.optout.naming import URI, keys_of_references
from guard.reviewing import overlay_of
from guard.types import Decision

if TYPE_CHECKING:
    from guard.guard import Guard
    from guard.types import Verdict

__all__ = ["Exempted", "Exemption", "exempt", "exemptions", "take_back"]


@dataclass(frozen=True, slots=True)
class Exempted:
    """What became of one picture."""

    pairs: tuple[tuple[int, str], ...]
    """(id of the pair, uri of the reference, or its key where nobody holds it)."""
    before: Verdict
    after: Verdict


@dataclass(frozen=True, slots=True)
class Exemption:
    """A pair of the overlay, as people want to read it."""

    pair: int
    key: str
    uri: str
    """Of the reference; "" for one that is gone."""
    who: str
    why: str
    since: float
    until: float | None
    over: bool

    def to_dict(self) -> dict[str, Any]:
        return {
            "pair": self.pair,
            "key": self.key,
            "uri": self.uri or None,
            "who": self.who,
            "why": self.why,
            "since": moment(self.since),
            "until": None if self.until is None else moment(self.until),
            "over": self.over,
        }


def exempt(
    guard: Guard,
    image: Any,
    *,
    ids: Sequence[int] = (),
    uris: Sequence[str] = (),
    sha256s: Sequence[str] = (),
    every: bool = False,
    who: str,
    why: str = "",
    until: float | None = None,
) -> Exempted:
    """Say that an image is no copy of references; each counts for all other images, and others for this one.

    image: as `Guard.check` takes it. ids, uris, sha256s: of the references; none: the one that a check of the image
    shows first, or with `every` all that match. until: seconds since the epoch.
    Raises ConfigError if the index is in memory alone, holds no such reference, or nothing matches that could be meant;
    InputError for an image that cannot be read; CheckError if the check failed.
    """
    overlay = overlay_of(guard)
    if overlay is None or not isinstance(guard.index, OverlaidIndex):
        raise ConfigError("this index takes no changes: it is in memory alone")
    before = _checked(guard, image)
    named = keys_of_references(guard.index.now(), ids=ids, uris=uris, sha256s=sha256s) or _matching(before, every)
    described: Any = embed_views(guard.embedder, convert(image)[0], guard.config.views).vectors[0, 0]
    row = np.asarray(described.detach().float().cpu() if hasattr(described, "detach") else described, np.float32)
    names = {key_of(match.record): match.record.uri for match in before.matches}
    pairs = []
    for key in named:
        pair = overlay.exempt(key, row, who=who, why=why, until=until)
        pairs.append((pair, names.get(key) or _uri(guard.index.base.reader, key) or key))
    return Exempted(tuple(pairs), before, _checked(guard, image))


def exemptions(path: str | Path, *, now: float | None = None) -> list[Exemption]:
    """Every pair that the overlay of the index at path holds, oldest first; its vectors are not loaded."""
    overlay, folder = Overlay(path), IndexFolder(path)
    at = time.time() if now is None else now
    added = {one.key: one.uri for one in overlay.memberships() if one.uri}
    reader = RecordReader(folder.version(folder.current()) / RECORDS)
    try:
        return [
            Exemption(
                pair.id,
                pair.key,
                added.get(pair.key, "") or _uri(reader, pair.key),
                pair.who,
                pair.why,
                pair.since,
                pair.until,
                over=pair.until is not None and pair.until <= at,
            )
            for pair in overlay.pairs()
        ]
    finally:
        reader.close()


def take_back(path: str | Path, pairs: Sequence[int], *, who: str, why: str = "") -> None:
    """Let pairs count again. Raises ConfigError, before anything is changed, for one that is not there."""
    overlay = Overlay(path)
    missing = sorted(set(pairs) - {pair.id for pair in overlay.pairs()})
    if missing:
        raise ConfigError(f"there is no pair {', '.join(map(str, missing))} in the overlay of {path}; "
                          "`memguard policy exemptions` lists them")  # fmt: skip
    for pair in dict.fromkeys(pairs):
        overlay.withdraw_pair(pair, who=who, why=why)


def _checked(guard: Guard, image: Any) -> Verdict:
    verdict = guard.explain(image).verdict
    if verdict.decision is None:
        raise CheckError("; ".join(verdict.reasons), stage=verdict.stage or "host", reason=verdict.reason)
    return verdict


def _matching(verdict: Verdict, every: bool) -> list[str]:
    """Keys of what a check shows a person: the most telling one, or all that match."""
    if verdict.decision is Decision.ALLOW:
        raise ConfigError("the check allows this picture, so that there is nothing to exempt; name a reference (--id, "
                          "--uri, --sha256) if one is meant all the same")  # fmt: skip
    telling = verdict.telling
    shown = verdict.matches if every else (telling,) if telling else ()
    return list(dict.fromkeys(key_of(match.record) for match in shown))


def _uri(reader: RecordReader, key: str) -> str:
    ids = reader.ids_where(uris=[key.removeprefix(URI)]) if key.startswith(URI) else reader.ids_where(sha256s=[key])
    return reader.records([min(ids)])[0].uri if ids else ""
