"""Which references of an index an audit looks for, at one moment. Knows versions and overlays; no pixels.

An index holds more than a training set: an artist's portfolio that was opted out, a protected logo, canaries. A model
that repeats one of these has extracted nothing from what this index calls its training set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection as Names
from collections.abc import Iterator

from guard.indexes.moment import Moment
from guard.indexes.overlaid import OverlaidIndex
from guard.indexes.store import OpenIndex
from guard.membership import guarded, trained_on
from guard.types import Record

__all__ = ["AuditedIndex", "Members", "audited", "records_of"]

AuditedIndex = OpenIndex | Moment
"""An index as it is at one moment: an audit may take hours, and its overlay change meanwhile."""


class Members:
    """The references of an index by what an audit takes them for, and what its overlay says at this moment counts.

    Raises IndexLoadError for an overlay that cannot be read.
    """

    def __init__(
        self, index: AuditedIndex | OverlaidIndex, collections: Names[str] = (), *, buried: bool = False
    ) -> None:
        """collections: of the training set; see guard.membership.trained_on. buried: see `audited`."""
        self.index = audited(index, buried=buried)
        self.training: dict[int, int] = {}
        """Of each training picture, the first with the same pixels: duplicates are one picture."""
        self.guarded: dict[int, int] = {}
        """The same of what is protected or opted out and no training picture."""
        self._others: Counter[int] = Counter()
        """By cluster, those that are no training pictures."""
        first: dict[tuple[bool, str], int] = {}
        for record in records_of(self.index):
            inside = trained_on(record, collections)
            self._others[record.cluster] += not inside
            if inside or guarded(record):
                same = inside, record.pixels_sha256 or record.sha256 or str(record.id)
                (self.training if inside else self.guarded)[record.id] = first.setdefault(same, record.id)

    def times(self, record: Record) -> int:
        """How often a reference's picture stands in the training set, near-duplicates included."""
        if record.cluster >= 0:
            return record.cluster_size - self._others[record.cluster]
        return record.cluster_size if record.id in self.training else 0


def audited(index: AuditedIndex | OverlaidIndex, *, buried: bool = False) -> AuditedIndex:
    """The index at this moment. buried: what a tombstone hides in the version counts: a model may have seen it."""
    now = index.now() if isinstance(index, OverlaidIndex) else index
    return now.unburied() if buried and isinstance(now, Moment) else now


def records_of(index: AuditedIndex) -> Iterator[Record]:
    """All references that count, in the collections that they are in now."""
    if not isinstance(index, Moment):
        yield from index.reader.all()
        return
    buried, changed = set(index.buried), index.changed
    for record in index.base.reader.all():
        if record.id not in buried:
            yield changed.get(record.id, record)
    yield from index.added
