"""What was found out about a small set, as small.json of an index's version. Knows fields; measures nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from guard.embedders.base import Thresholds
from guard.embedders.views import ViewKind, looks_at_windows, windows_identity
from guard.errors import IndexLoadError
from guard.indexes.manifest import SMALL, EmbedderEntry, Manifest, TransformEntry

if TYPE_CHECKING:
    from guard.config import GuardConfig
    from guard.embedders.base import Embedder

__all__ = ["ENOUGH", "FEW", "FORMAT_VERSION", "LOWEST_FLAG", "SmallSet", "read_small", "small_of"]

_log = logging.getLogger(__name__)

FORMAT_VERSION = 1
ENOUGH = 0.9  # share of lightly edited copies that must be told from strangers
FEW = 10  # references below which the highest similarity of two says little of pictures to come
LOWEST_FLAG = 0.2
"""Flag lies no lower, however unlike the few references of a set are: what that lets through and what it spares was
measured on eight folders of real pictures (docs/small-sets.md)."""


class SmallSet(BaseModel):
    """Thresholds of a small set, and how well it can be told apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    created_at: AwareDatetime
    tool_version: str
    embedder: EmbedderEntry
    transform: TransformEntry | None
    regions: int = Field(ge=1)
    views: ViewKind = "one"
    """How its pictures were looked up, and checks look pictures up."""
    windows: str = ""
    """Of windows, what they depend on beside the embedder's identity (guard.embedders.views.windows_identity)."""
    count: int = Field(ge=0)
    """References when it was measured."""
    strangers: float | None = Field(ge=-11, le=1.001)
    """Highest similarity of two references that are not known to be one picture; None: there are no two."""
    own: float = Field(ge=-11, le=1.001)
    """Median similarity of a reference to itself."""
    flag: float = Field(ge=-1, le=1)
    block: float = Field(ge=-1, le=1)
    edited: int = Field(ge=0)
    """Lightly edited copies of references that were looked up; 0: no pictures were at hand."""
    told: int = Field(ge=0)
    """Those that lay nearer to their own reference than to all others, and reached flag."""
    compared: int = Field(ge=0)
    """Pairs of different references whose pixels were compared; 0: none could be."""
    alike: int = Field(ge=0)
    """Those that the pixels call copies: duplicates, or too alike to be told apart."""
    note: str = ""
    """What was not as it should be, in words."""

    @model_validator(mode="after")
    def _in_order(self) -> SmallSet:
        if self.flag > self.block or self.told > self.edited or self.alike > self.compared:
            raise ValueError("its numbers contradict one another")
        return self

    @property
    def thresholds(self) -> Thresholds:
        source = "a guess: no two pictures of the small set are different"
        if self.strangers is not None:
            lowest = f", and no lower than {LOWEST_FLAG}" if self.flag == LOWEST_FLAG else ""
            source = (
                f"flag: above every similarity of two of the {self.count} references that are not known to be one "
                f"picture{lowest}; block: half way to what a reference has with itself (small set)"
            )
        return Thresholds(self.flag, self.block, source)

    @property
    def warnings(self) -> list[str]:
        """Why copies and strangers may not be told apart, in words; empty if they were."""
        said = [self.note] if self.note else []
        if not self.count:
            return [*said, "no picture: nothing can be found in this index"]
        if self.strangers is not None and self.count < FEW:
            before = " before its pixels are compared" if self.compared else ""
            said.append(
                f"thresholds rest on {self.count} pictures: of new ones that are like them, and no copies, about 1 in "
                f"{self.count + 1} may lie above flag{before}"
            )
        if self.edited and self.told < ENOUGH * self.edited:
            said.append(
                f"too alike for the descriptor: {self.edited - self.told} of {self.edited} lightly edited copies of "
                "the set's own pictures lie no nearer than other pictures of it do; their pixels must decide"
            )
        if self.alike:
            said.append(
                f"{self.alike} of {self.compared} pairs of different pictures look like copies of one another: "
                "duplicates (`memguard dedup` lists them), or too alike to be told apart by their pixels"
            )
        if self.strangers is None:
            said.append("no two different pictures: thresholds are guesses, and pixels must decide")
        elif not self.compared:
            said.append("no pixels could be compared: of pictures this alike, similarity alone decides")
        return said

    def misfits(self, manifest: Manifest) -> list[str]:
        """Why it says nothing of this version; empty if it does."""
        pairs = (
            ("embedder", self.embedder, manifest.embedder),
            ("transform", self.transform, manifest.transform),
            ("number of regions", self.regions, manifest.regions),
        )
        return [f"the {what} is another one" for what, then, now in pairs if then != now]

    def applied(self, config: GuardConfig, embedder: Embedder) -> GuardConfig:
        """The settings of a guard, with what a small set needs where nobody set something else: the pixels of every
        candidate are compared, and pictures are looked up as its thresholds were found, by windows only if these are
        seen as they were then."""
        fits = not looks_at_windows(self.views) or self.windows == windows_identity(embedder)
        views = self.views if fits else "one"
        needed: dict[str, Any] = {"verify": True, "verify_budget_ms": 1000.0, "query_views": views}
        chosen = config.model_fields_set - {name for name in needed if getattr(config, name) == "auto"}
        unset = {name: value for name, value in needed.items() if name not in chosen}
        return config.model_copy(update=unset)

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"


def read_small(folder: Path, manifest: Manifest) -> SmallSet | None:
    """Of a version; None if it is no small set. Raises IndexLoadError for a damaged file."""
    if SMALL not in manifest.files:
        return None
    path = folder / SMALL
    try:
        return SmallSet.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as exc:
        raise IndexLoadError(f"{path} is damaged ({exc}); build the index anew with --small") from exc


def small_of(index: Any) -> SmallSet | None:
    """Of an open index; None if it is no small set, or is one that changed since: that is logged.

    Raises IndexLoadError for a damaged file.
    """
    folder = getattr(index, "folder", None)
    found = read_small(folder, index.manifest) if folder is not None else None
    misfits = found.misfits(index.manifest) if found else []
    if misfits:
        _log.warning(
            "what is known of the small set in %s does not hold: %s; build it anew", folder, "; ".join(misfits)
        )
    return None if misfits else found
