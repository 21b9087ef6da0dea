"""What an audit asks a model for: captions of duplicated clusters, of a file, or all. Knows records; no model."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from guard.errors import ConfigError
from guard.membership import trained_on
from guard.sources.captions import MAX_CAPTION_BYTES, pick, table_rows
from guard.types import Record

__all__ = ["NO_TRAINING", "Prompt", "Repeats", "from_classes", "from_file", "from_repeats"]

NO_TRAINING = "no reference of the index is a training picture; name the collections that the model was trained on"
TABLES = (".csv", ".tsv", ".jsonl")
_SEED_BITS = 63  # of the numbers that torch takes


@dataclass(frozen=True, slots=True)
class Prompt:
    """One thing that a model can be asked for."""

    text: str = ""
    """"" for a model without prompts."""
    label: int | None = None
    """Class of a class-conditional model."""
    duplicates: int | None = None
    """Pictures in the training set's largest cluster with this caption; None if no reference has it."""

    @property
    def key(self) -> str:
        """Names the prompt in files and seeds; does not depend on duplicates."""
        said = self.text if self.label is None else f"{self.text}\0{self.label}"
        return hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()[:16]

    @property
    def name(self) -> str:
        """For people."""
        if self.label is not None:
            return f"class {self.label}"
        return self.text or "(no prompt)"

    def seed(self, audit_seed: int, number: int) -> int:
        """Seed of its number-th generation, the same for every model."""
        digest = hashlib.sha256(f"{audit_seed} {self.key} {number}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> (64 - _SEED_BITS)


@dataclass(frozen=True, slots=True)
class _Cluster:
    size: int
    captions: Counter[str] = field(default_factory=Counter)


class Repeats:
    """How often the pictures of each caption stand in a training set.

    A cluster is what `memguard dedup` wrote into the index; without it, pictures that are the same to a pixel. What is
    in the index and no training picture is not counted, and its captions are not known.
    """

    def __init__(self, records: Iterable[Record], collections: Sequence[str] = ()) -> None:
        """collections: those of the training set; see guard.membership.trained_on."""
        members: dict[str | int, list[Record]] = {}
        others: Counter[str | int] = Counter()
        for record in records:
            same = record.cluster if record.cluster >= 0 else record.pixels_sha256 or record.sha256 or record.id
            if trained_on(record, collections):
                members.setdefault(same, []).append(record)
            else:
                others[same] += 1
        self.clusters = [
            _Cluster(
                max(len(found), max(r.cluster_size for r in found) - others[same]),
                Counter(r.caption for r in found if r.caption),
            )
            for same, found in members.items()
        ]
        self._largest: dict[str, int] = {}
        for cluster in self.clusters:
            for caption in cluster.captions:
                self._largest[caption] = max(cluster.size, self._largest.get(caption, 0))

    def of(self, caption: str) -> int | None:
        """Size of the largest cluster with this caption; None if no reference has it."""
        return self._largest.get(caption)


def from_repeats(repeats: Repeats, *, least: int = 1, most: int | None = None, seed: int = 0) -> list[Prompt]:
    """The most frequent caption of each cluster of at least `least` pictures, the largest clusters first.

    Clusters of one size come in an order drawn with the seed, so that the first `most` are a fair sample of them.
    Raises ConfigError if there is none, and says what to do.
    """
    if not repeats.clusters:
        raise ConfigError(NO_TRAINING)
    prompts: dict[str, Prompt] = {}
    for cluster in repeats.clusters:
        if cluster.captions and cluster.size >= least:
            caption = min(cluster.captions, key=lambda text: (-cluster.captions[text], text))
            prompts[caption] = Prompt(caption, duplicates=repeats.of(caption))
    if not prompts:
        raise ConfigError(
            f"no reference with a caption stands at least {least} times in the index: find near-duplicates with "
            "`memguard dedup`, take single pictures too, or name prompts of your own (--prompts)"
            if any(cluster.captions for cluster in repeats.clusters)
            else "no reference of the index has a caption: name prompts of your own (--prompts)"
        )
    chosen = [prompts[caption] for caption in sorted(prompts)]
    random.Random(seed).shuffle(chosen)
    chosen.sort(key=lambda prompt: -(prompt.duplicates or 0))
    return chosen[:most]


def from_file(path: Path, repeats: Repeats | None = None, *, most: int | None = None) -> list[Prompt]:
    """Prompts of a text file, one a line, or of the caption column of a .csv, .tsv or .jsonl; in its order.

    Empty lines and repetitions are left out. Raises ConfigError if it cannot be read or holds none.
    """
    texts = list(dict.fromkeys(text for text in _texts(path) if text))
    if not texts:
        raise ConfigError(f"{path} holds no prompt; write one a line, or a table with a column `prompt`")
    return [Prompt(text, duplicates=repeats.of(text) if repeats else None) for text in texts[:most]]


def from_classes(classes: Sequence[int]) -> list[Prompt]:
    """One prompt a class; without any, the one of a model that takes neither class nor prompt."""
    return [replace(Prompt(), label=label) for label in classes] or [Prompt()]


def _texts(path: Path) -> list[str]:
    if path.suffix.lower() in TABLES:
        return [pick(row, None) for row in table_rows(path)]
    try:
        with path.open("rb") as file:
            lines = file.read(64 * MAX_CAPTION_BYTES).decode("utf-8-sig").splitlines()
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read ({exc.strerror}); name a file of prompts") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8 ({exc.reason} at byte {exc.start}); save it as UTF-8") from exc
    return [line.strip() for line in lines]
