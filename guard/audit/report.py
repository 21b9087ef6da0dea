"""What an audit found, as one document: rows a prompt, rates with intervals, what was left out. Knows no pixels.

Written as JSON and read again by `compare`; every rate is {value, low, high} with a 95 % interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guard.audit.confirm import Criterion
from guard.decode import read_file
from guard.errors import ConfigError, InputError
from guard.evaluation.intervals import clopper_pearson
from guard.membership import GUARDED
from guard.wholefile import whole_file

__all__ = [
    "AuditReport",
    "Extracted",
    "Finding",
    "LeftOut",
    "PromptRow",
    "Protected",
    "Rate",
    "RepeatRow",
    "Settings",
    "Summary",
    "read_report",
    "summarise",
    "write_document",
]

FORMAT: Literal[1] = 1
MAX_REPORT_BYTES = 256 << 20
DOUBLINGS = 40  # groups of duplicate counts: 1, 2-3, 4-7, ...


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rate(_Model):
    """A share of `of` trials with its 95 % interval; the value is null where there were none."""

    hits: int
    of: int
    value: float | None
    low: float
    high: float

    @classmethod
    def exact(cls, hits: int, of: int) -> Rate:
        """Clopper and Pearson 1934."""
        interval = clopper_pearson(hits, of)
        return cls(hits=hits, of=of, value=interval.value if of else None, low=interval.low, high=interval.high)


class Settings(_Model):
    """What the figures depend on."""

    generations: int
    """Of one prompt at most."""
    threshold: float
    """Tiled distance of joined generations, inclusive."""
    least_clique: int
    criterion: Criterion
    delta: float
    alpha: float
    neighbours: int
    similarity: float | None
    """Of descriptors, from which they second the distances."""
    seed: int
    budget_s: float | None = None
    each: bool = False
    """Every generation was confirmed, not only cliques."""
    compared_px: tuple[int, int] | None = None
    """(height, width) at which generations and training pictures were compared; None: nothing was."""
    exhaustive: bool = True
    """The nearest was looked for among all training pictures, not only the nearest by descriptor."""
    collections: tuple[str, ...] = ()
    """Of the training set, where somebody named them."""
    buried: bool = False
    """With training pictures that a tombstone of the overlay hides."""
    sampling: dict[str, Any] = Field(default_factory=dict)
    """Of the model: steps, guidance, ..., as it was told."""


class Finding(_Model):
    """The training picture that a prompt's clique lies nearest to, or one that is protected besides."""

    id: int
    uri: str
    sha256: str
    caption: str
    cluster_size: int
    """How often it stands in the training set, near-duplicates included."""
    number: int
    """Of the generation that was compared: the clique's medoid."""
    l2: float
    tiled_l2: float
    ratio: float | None
    neighbours: int
    near: bool
    """By distances."""
    plain: bool
    memorised: bool
    similarity: float
    evidence: dict[str, Any] | None
    """Of the verifier; its mask as run lengths."""
    similar_uri: str
    """The nearest by descriptor; mostly the same picture."""
    similar: float
    similar_evidence: dict[str, Any] | None
    """Where it is another picture."""
    copies: Rate
    """Of the prompt's generations, those that are copies of this picture by the same rule."""
    moved: bool = False
    """The picture is shown mirrored, cut or stretched; distances are those of what was laid on one another."""
    collections: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """In words."""
        if not self.memorised:
            return "too plain to say" if self.plain else "no copy"
        mirrored = self.evidence is not None and self.evidence.get("mirrored")
        return f"memorised, {'mirrored' if mirrored else 'moved'}" if self.moved else "memorised"


class PromptRow(_Model):
    """One prompt that was looked at."""

    key: str
    text: str
    label: int | None
    duplicates: int | None
    generations: int
    plain: int
    clique: int
    clique_at_most: int
    """No clique is larger; equal to `clique` where that is proven."""
    closest: float | None
    spread: float | None
    likely: bool
    finding: Finding | None = None
    """None unless likely, or where nothing could be compared."""
    protected: Finding | None = None
    """A copy of what is protected or opted out and no training picture: it confirms nothing about the training set."""

    @property
    def memorised(self) -> bool:
        return self.finding is not None and self.finding.memorised

    @property
    def name(self) -> str:
        """For people."""
        return self.text or (f"class {self.label}" if self.label is not None else "no prompt")


class RepeatRow(_Model):
    """Prompts whose pictures stand between `low` and `high` times in the training set, both inclusive."""

    low: int
    high: int
    likely: int
    memorised: Rate
    """Of the prompts of this group that were looked at."""


class Extracted(_Model):
    """A training picture that some generations are copies of, where each was confirmed."""

    id: int
    uri: str
    cluster_size: int
    generations: int
    l2: float
    """Of the nearest of them."""
    ratio: float | None
    key: str
    """Prompt and number of the nearest."""
    number: int
    moved: bool = False
    """As of a finding."""
    collections: tuple[str, ...] = ()


class Protected(_Model):
    """A picture that somebody had protected or opted out, and that the model repeats."""

    id: int
    uri: str
    sha256: str = ""
    collections: tuple[str, ...]
    in_training: bool
    """Whether it is a training picture as well, and counts among those."""
    prompts: int
    """Likely memorised ones that show it."""
    generations: int | None = None
    """Copies of it, where each generation was confirmed."""
    l2: float
    """Of the nearest copy; key, number: its prompt and its number among the generations."""
    key: str
    number: int


class LeftOut(_Model):
    """What the budget did not suffice for."""

    never_looked_at: int
    fewer_generations: int
    """Undecided prompts that have fewer generations than the settings allow."""
    largest_never_looked_at: int | None = None
    """Duplicates of the most duplicated of those."""
    examples: tuple[str, ...] = ()


class Summary(_Model):
    prompts: int
    generations: int
    likely: Rate
    """Of the prompts that were looked at."""
    memorised: Rate
    """The extraction rate: prompts whose clique was confirmed, of those looked at."""
    clique_precision: Rate
    """Confirmed, of the likely ones whose nearest picture could be read and is not plain."""
    plain: int
    """Likely ones whose training picture is plain, so that nothing can be said."""
    pictures: int
    """Different training pictures among the confirmed."""
    by_duplicates: tuple[RepeatRow, ...]
    copies: Rate | None = None
    """Generations that are copies of some training picture, where each was confirmed."""
    extracted: tuple[Extracted, ...] = ()
    protected: tuple[Protected, ...] = ()
    """What is repeated of that which is protected or opted out; the nearest copies first."""
    left_out: LeftOut


class AuditReport(_Model):
    """The whole document."""

    format: Literal[1] = FORMAT
    memguard: str
    at: str
    """ISO 8601, UTC."""
    model: str
    index: str
    index_version: str
    references: int
    """Training pictures."""
    protected_references: int = 0
    """Protected or opted out and no training pictures."""
    settings: Settings
    summary: Summary
    prompts: tuple[PromptRow, ...]
    seconds: dict[str, float]
    """generate (of all devices together), look, confirm, all; of this run alone."""
    peak_memory_mib: float
    """Of the whole process."""

    def write(self, path: Path) -> None:
        """Raises ConfigError if it cannot be written."""
        write_document(self, path)


def write_document(document: BaseModel, path: Path) -> None:
    """Write JSON, whole or not at all. Raises ConfigError if it cannot be written."""
    with whole_file(path) as new:
        new.write_text(document.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_report(path: Path) -> AuditReport:
    """Raises ConfigError if it is no report of an audit, or of another format."""
    try:
        return AuditReport.model_validate_json(read_file(path, max_bytes=MAX_REPORT_BYTES))
    except InputError as exc:
        raise ConfigError(f"{exc}; name a file that `memguard audit --json` wrote") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ConfigError(
            f"{path} is no report of an audit of format {FORMAT} ({where}: {first['msg']}); run the audit again"
        ) from exc


def summarise(
    rows: Sequence[PromptRow],
    *,
    left_out: LeftOut,
    copies: Rate | None = None,
    extracted: Sequence[Extracted] = (),
    repeated: Sequence[Extracted] = (),
) -> Summary:
    """Count, and put intervals around it. repeated: of what is protected and no training picture."""
    likely = [row for row in rows if row.likely]
    confirmed = [row for row in likely if row.memorised]
    compared = [row for row in likely if row.finding is not None and not row.finding.plain]
    return Summary(
        prompts=len(rows),
        generations=sum(row.generations for row in rows),
        likely=Rate.exact(len(likely), len(rows)),
        memorised=Rate.exact(len(confirmed), len(rows)),
        clique_precision=Rate.exact(len(confirmed), len(compared)),
        plain=sum(row.finding is not None and row.finding.plain for row in likely),
        pictures=len({row.finding.id for row in confirmed if row.finding}),
        by_duplicates=tuple(_by_duplicates(rows)),
        copies=copies,
        extracted=tuple(extracted),
        protected=tuple(_protected(rows, extracted, repeated)),
        left_out=left_out,
    )


def _protected(
    rows: Sequence[PromptRow], extracted: Sequence[Extracted], repeated: Sequence[Extracted]
) -> list[Protected]:
    """One entry a picture, from the prompts' findings and from generations that were confirmed one by one."""
    found: dict[int, Protected] = {}

    def add(one: Finding | Extracted, key: str, in_training: bool) -> None:
        known = found.get(one.id)
        nearest = known is None or one.l2 < known.l2
        found[one.id] = Protected(
            id=one.id,
            uri=one.uri,
            sha256=one.sha256 if isinstance(one, Finding) else known.sha256 if known else "",
            collections=one.collections,
            in_training=in_training,
            prompts=(known.prompts if known else 0) + isinstance(one, Finding),
            generations=one.generations if isinstance(one, Extracted) else None,
            l2=one.l2 if known is None or nearest else known.l2,
            key=key if known is None or nearest else known.key,
            number=one.number if known is None or nearest else known.number,
        )

    for row in rows:
        if row.memorised and row.finding is not None and not GUARDED.isdisjoint(row.finding.collections):
            add(row.finding, row.key, in_training=True)
        if row.protected is not None:
            add(row.protected, row.key, in_training=False)
    for some, in_training in ((extracted, True), (repeated, False)):
        for copied in some:
            if not GUARDED.isdisjoint(copied.collections):
                add(copied, copied.key, in_training)
    return sorted(found.values(), key=lambda one: one.l2)


def _by_duplicates(rows: Sequence[PromptRow]) -> list[RepeatRow]:
    """Groups of doubling width, those without a prompt left out."""
    groups = []
    for doubling in range(DOUBLINGS):
        low, high = 1 << doubling, (2 << doubling) - 1
        some = [row for row in rows if row.duplicates is not None and low <= row.duplicates <= high]
        if some:
            counts = [row.duplicates for row in some if row.duplicates is not None]
            memorised = Rate.exact(sum(row.memorised for row in some), len(some))
            likely = sum(row.likely for row in some)
            groups.append(RepeatRow(low=min(counts), high=max(counts), likely=likely, memorised=memorised))
    return groups
