"""The references of an index -> clusters of duplicates: the whole story on one page. Writes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from guard._version import __version__
from guard.dedup.exact import exact_groups
from guard.dedup.judge import Judge, Remembered
from guard.dedup.material import Material
from guard.dedup.neighbours import Method, Pairs, near_bits, near_rows
from guard.dedup.rule import Rule
from guard.dedup.stars import clustered
from guard.embedders.pdq import FLAG_BITS
from guard.errors import ConfigError
from guard.indexes.cluster_rows import Ids, sizes
from guard.indexes.faissfile import VECTORS
from guard.indexes.hashes import IDENTICAL_BITS
from guard.indexes.manifest import Manifest
from guard.indexes.records import THUMBNAILS
from guard.indexes.store import OpenIndex
from guard.verification.verifier import Verifier

__all__ = ["Duplicates", "find_duplicates"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """Clusters of the references of one version; arrays are by id."""

    version: str
    cluster: Ids
    """(count,) the smallest id of each one's cluster, its own where it stands alone; -1: not looked at."""
    centre: Ids
    """(count,) the member that all others of the cluster are copies of, likewise."""
    exact: Ids
    """(count,) the smallest id with the same bytes or pixels, likewise."""
    method: str
    """By what they were found, in words."""
    compared: int = 0
    """Pairs whose pixels or descriptors were looked at."""
    agreed: int = 0
    """Of these, how many are copies."""

    @property
    def looked_at(self) -> int:
        """References."""
        return int((self.cluster >= 0).sum())

    @property
    def sizes(self) -> Ids:
        """(count,) of each one's cluster."""
        return sizes(self.cluster)

    def members(self) -> Iterator[Ids]:
        """The ids of each cluster of two or more, the largest clusters first, then those of smaller ids."""
        order = np.argsort(self.cluster, kind="stable")
        order = order[self.cluster[order] >= 0]
        if not len(order):
            return
        starts = np.flatnonzero(np.diff(self.cluster[order], prepend=-1))
        groups = [group for group in np.split(order, starts[1:]) if len(group) > 1]
        yield from sorted(groups, key=lambda group: -len(group))


def find_duplicates(
    index: OpenIndex,
    *,
    collection: str | None = None,
    similarity: float | None = None,
    verify: bool = True,
    verifier: Verifier | None = None,
    method: Method = "auto",
    workers: int | None = None,
    remember: Path | None = None,
    on_progress: Progress = lambda _stage, _done, _total: None,
) -> Duplicates:
    """Find the references of an open index that are copies of one another.

    First those of the same bytes, then of the same decoded pixels. Of what is left, pairs whose descriptors or PDQ
    hashes are near are compared pixel by pixel (guard.verification) on their thumbnails; in an index without
    thumbnails, or with verify=False, descriptor and hash decide alone. A cluster's members are all copies of its
    centre, so that a chain of pictures of which each resembles the next is no cluster.

    collection: which references; None for training pictures (guard.membership). similarity: cosine from which
    descriptors alone make a copy, in place of the embedder's block threshold; pixels are compared from a little below
    the flag threshold (guard.dedup.rule). method: how near descriptors are found, see guard.dedup.neighbours.
    workers: threads that compare pixels, None for one a core. remember: a file from which a killed search goes on.
    Raises ConfigError for thresholds that are missing or no cosines, or a collection that the index lacks;
    MissingExtraError where OpenCV is missing and verify is True; IndexLoadError for a damaged index.
    """
    manifest = index.manifest
    if collection is not None and collection not in manifest.collections:
        raise ConfigError(f"the index has no collection {collection!r}; it has {sorted(manifest.collections)}")
    rule = Rule.of(manifest.spec.thresholds, IDENTICAL_BITS, similarity=similarity)
    if verify and index.has_thumbnails and verifier is None:
        from guard.verification.verifier import PixelVerifier

        verifier = PixelVerifier()
    compares = verify and index.has_thumbnails
    material = Material(index, collection)
    exact = exact_groups(material.records(), material.count)
    looked_at = np.flatnonzero(exact >= 0)
    nodes = np.flatnonzero(exact == np.arange(material.count))
    near = _near(material, nodes, rule, method, on_progress)
    with Judge(
        rule,
        material,
        verifier=verifier if compares else None,
        remembered=Remembered(remember, _compared(manifest, verifier)),
        workers=workers or os.cpu_count() or 1,
    ) as judge:
        said = "comparing pixels" if compares else "comparing"
        copies = judge.copies(near.first, near.second, on_progress=lambda done, total: on_progress(said, done, total))
        agreed = Pairs(near.first[copies], near.second[copies])
        weight = np.bincount(exact[looked_at], minlength=material.count)
        heads = clustered(material.count, agreed, weight, judge.agree)
    centre = np.where(exact >= 0, heads[exact], -1)
    return Duplicates(
        version=index.version,
        cluster=_by_smallest(centre),
        centre=centre,
        exact=exact,
        method=_in_words(material, rule, compares),
        compared=len(near),
        agreed=len(agreed),
    )


def _near(material: Material, nodes: Ids, rule: Rule, method: Method, on_progress: Progress) -> Pairs:
    pairs = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64))
    if material.rows is not None:
        pairs = near_rows(
            material.rows,
            nodes,
            rule.look,
            method=method,
            on_progress=lambda done, total: on_progress("near descriptors", done, total),
        )
    if material.hashes is not None:
        most = rule.bits if material.rows is not None else FLAG_BITS
        near = near_bits(
            material.hashes,
            nodes,
            most,
            method=method,
            on_progress=lambda done, total: on_progress("near hashes", done, total),
        )
        pairs = pairs.also(near)
    return pairs


def _by_smallest(centre: Ids) -> Ids:
    """Clusters named by their smallest id instead of their centre."""
    known = np.flatnonzero(centre >= 0)
    smallest = np.full(len(centre), len(centre))
    np.minimum.at(smallest, centre[known], known)
    named = np.full(len(centre), -1, np.int64)
    named[known] = smallest[centre[known]]
    return named


def _compared(manifest: Manifest, verifier: Verifier | None) -> str:
    """Names what was compared, with what: the same as long as ids and thumbnails are."""
    files = [manifest.files[name].sha256 for name in (VECTORS, THUMBNAILS) if name in manifest.files]
    return " ".join([*files, __version__, repr(verifier)])


def _in_words(material: Material, rule: Rule, compares: bool) -> str:
    parts = ["bytes", "pixels"]
    if material.rows is not None:
        name = material.index.manifest.embedder.name
        least = rule.look if compares else rule.block
        parts.append(f"{name} from {least:.3f}")
    if material.hashes is not None:
        parts.append(f"PDQ up to {rule.bits if material.rows is not None else FLAG_BITS} bits")
    return ", ".join(parts) + (", compared pixel by pixel" if compares else ", without comparing pixels")
