"""Who is a reference, a negative or a carrier, and the figures that follow. Knows splits; no files and no table.

In each of a few seeded splits half of the sources of every group are references, the other half negatives. The queries
are the references' edits; the negative queries are the negatives as they are and all their edits. All groups are
looked up in one set of references. A few pictures, the carriers, are neither: they fill insets, collages and blends.
The splits' queries are counted together; intervals come from a bootstrap over sources, within each group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from guard.errors import ConfigError
from guard.evaluation.edits import FAMILIES, Edit
from guard.evaluation.intervals import Interval
from guard.evaluation.metrics import FPRS, Floats, Ints, micro_ap, pair_rate, rate, rate_above, resampled, thresholds
from guard.evaluation.pictures import PictureFile
from guard.evaluation.scores import Scores

__all__ = [
    "ALL_EDITS",
    "POOLED",
    "Figures",
    "Plan",
    "Queries",
    "Results",
    "drawn_weights",
    "evaluate",
    "pairs_of",
    "plan",
    "summary",
]

POOLED = "pooled"
"""The name under which all groups together are reported."""
ALL_EDITS = "all_edits"
RESAMPLES = 400
SHARES = MappingProxyType({fpr: fpr for fpr in FPRS})
MIN_SOURCES = 4  # in the whole run; of fewer no half is left to be wrong about


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The pictures that take part, and their part in each split."""

    pictures: tuple[PictureFile, ...]
    carriers: tuple[PictureFile, ...]
    sources: Ints
    """(pictures,) numbered from 0 without gaps."""
    is_reference: npt.NDArray[np.bool_]
    """(splits, pictures); who is not a reference is a negative."""
    seed: int

    @property
    def groups(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Name -> (pictures,) members; with more than one group also all of them as POOLED."""
        names = [p.group for p in self.pictures]
        masks = {name: np.array([n == name for n in names]) for name in dict.fromkeys(names)}
        return masks if len(masks) == 1 else {**masks, POOLED: np.ones(len(names), np.bool_)}


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What is measured of one set of queries; (1 + resamples,) each, the figure itself first."""

    recall_at_1: Floats
    recall_at_fpr: Mapping[float, Floats]
    """With the threshold that all negatives of the run set."""
    recall_at_own_fpr: Mapping[float, Floats]
    """With the threshold that the group's own negatives set."""
    micro_ap: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """Of one entrant."""

    figures: Mapping[str, Mapping[str, Figures]]
    """Group -> edit, "family:NAME" or "all_edits"."""
    thresholds: Mapping[str, Mapping[float, Floats]]
    """Group or POOLED -> FPR -> (1 + resamples,) similarity, exclusive."""
    false_positives: Mapping[str, Mapping[float, tuple[Floats, Floats]]]
    """Group -> FPR -> rate of its untouched and of its edited negatives above the pooled threshold."""
    look_alikes: Mapping[str, Mapping[float, Floats]]
    """Group -> FPR -> share of pairs of its untouched pictures above the threshold of the first group."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Group -> pictures, sources, queries_an_edit, negative_queries, pairs."""


def plan(pictures: Sequence[PictureFile], *, splits: int = 5, seed: int = 0) -> Plan:
    """Draw carriers and splits. Raises ConfigError if the pictures are too few."""
    rng = np.random.default_rng(seed)
    shown = np.bincount([p.source for p in pictures]) if pictures else np.zeros(0, np.intp)
    alone = [i for i, p in enumerate(pictures) if shown[p.source] == 1]
    wanted = int(np.clip(len(pictures) // 20, 1, 40))
    chosen = set(rng.permutation(alone)[:wanted].tolist())
    left = [p for i, p in enumerate(pictures) if i not in chosen]
    numbers: dict[int, int] = {}
    sources = np.array([numbers.setdefault(p.source, len(numbers)) for p in left], np.intp)
    if not chosen or len(numbers) < MIN_SOURCES:
        raise ConfigError(f"pictures of {len(numbers)} sources are too few; give at least {MIN_SOURCES + 1}")
    if POOLED in {p.group for p in left}:
        raise ConfigError(f"a group cannot be called {POOLED!r}; that name stands for all of them")
    names = {name: i for i, name in enumerate(dict.fromkeys(p.group for p in left))}
    group_of = np.zeros(len(numbers), np.intp)  # of a source: that of its first picture
    for i in reversed(range(len(left))):
        group_of[sources[i]] = names[left[i].group]
    is_reference = np.zeros((splits, len(left)), np.bool_)
    for split in range(splits):
        for group in np.unique(group_of):
            members = rng.permutation(np.flatnonzero(group_of == group))
            # of an odd number either half is the larger one, in turn
            half = members[: (len(members) + (split + int(group)) % 2) // 2]
            is_reference[split] |= np.isin(sources, half)
    return Plan(tuple(left), tuple(pictures[i] for i in sorted(chosen)), sources, is_reference, seed)


def evaluate(
    plan: Plan,
    edits: Sequence[Edit],
    scores: Scores,
    *,
    resamples: int = RESAMPLES,
    allowed: Mapping[float, float] = SHARES,
) -> Results:
    """All figures of one entrant from its similarities. allowed: FPR -> share of the negatives that may lie above."""
    groups = plan.groups
    names = list(groups)
    weights = drawn_weights(plan, resamples)
    negative = Queries(~plan.is_reference, plan.sources, scores)
    positive = Queries(plan.is_reference, plan.sources, scores)
    everything = np.ones(len(plan.pictures), np.bool_)
    variants = range(scores.own.shape[2])
    limits: dict[str, dict[float, Floats]] = {}
    for group, members in {POOLED: everything, **groups}.items():
        best, units = negative.best(members, variants)
        limits[group] = {fpr: thresholds(best, units, weights, allowed[fpr]) for fpr in FPRS}
    figures: dict[str, dict[str, Figures]] = {}
    false: dict[str, dict[float, tuple[Floats, Floats]]] = {}
    alike: dict[str, dict[float, Floats]] = {}
    counts: dict[str, dict[str, int]] = {}
    picture_weights = weights[:, plan.sources]
    for group, members in groups.items():
        one = {
            edit.name: _figures(positive, negative, members, i, weights, limits[POOLED], limits[group])
            for i, edit in enumerate(edits, start=1)
        }
        figures[group] = {**one, **_means(one, edits)}
        plain, edited = negative.best(members, range(1)), negative.best(members, variants[1:])
        false[group] = {
            fpr: (rate_above(*plain, weights, limits[POOLED][fpr]), rate_above(*edited, weights, limits[POOLED][fpr]))
            for fpr in FPRS
        }
        valid = pairs_of(plan, members)
        alike[group] = {fpr: _pairs(scores.untouched, limits[names[0]][fpr], valid, picture_weights) for fpr in FPRS}
        counts[group] = {
            "pictures": int(members.sum()),
            "sources": len(np.unique(plan.sources[members])),
            "queries_an_edit": len(positive.best(members, range(1))[0]),
            "negative_queries": len(plain[0]) + len(edited[0]),
            "pairs": int(valid.sum()) // 2,
        }
    return Results(figures, limits, false, alike, counts)


def drawn_weights(plan: Plan, resamples: int) -> Floats:
    """(1 + resamples, sources) weights of a plan's sources, the same for whoever is measured; see metrics.resampled."""
    names = list(plan.groups)
    first_group: dict[int, str] = {}
    for source, picture in zip(plan.sources.tolist(), plan.pictures, strict=True):
        first_group.setdefault(source, picture.group)
    return resampled([names.index(first_group[source]) for source in range(len(first_group))], resamples, plan.seed)


def pairs_of(plan: Plan, members: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(pictures, pictures) pairs of members that show different sources."""
    pairs: npt.NDArray[np.bool_] = (plan.sources[:, None] != plan.sources) & members & members[:, None]
    return pairs


def summary(values: Floats) -> Interval:
    """The figure, with the 95 % percentile interval of its resamples; nan where there was nothing to count."""
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or len(drawn) == 0:
        return Interval(float("nan"), 0.0, 1.0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(values[0]), min(float(low), float(values[0])), max(float(high), float(values[0])))


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """The pictures that are references, or negatives, in each split."""

    part: npt.NDArray[np.bool_]
    """(splits, pictures)."""
    sources: Ints
    scores: Scores

    def best(self, members: npt.NDArray[np.bool_], variants: range) -> tuple[npt.NDArray[np.float32], Ints]:
        """Best wrong similarity of these variants of the members in each split, and their sources; (n,) both."""
        splits, pictures = np.nonzero(self.part & members)
        found = self.scores.best_other[splits, pictures][:, variants.start : variants.stop]
        return found.ravel(), np.repeat(self.sources[pictures], found.shape[1])

    def own(self, members: npt.NDArray[np.bool_], variant: int) -> npt.NDArray[np.float32]:
        """Similarity with the query's own picture, in the order of `best`."""
        splits, pictures = np.nonzero(self.part & members)
        own: npt.NDArray[np.float32] = self.scores.own[splits % len(self.scores.own), pictures, variant]
        return own


def _figures(
    positive: Queries,
    negative: Queries,
    members: npt.NDArray[np.bool_],
    variant: int,
    weights: Floats,
    pooled: Mapping[float, Floats],
    own_limits: Mapping[float, Floats],
) -> Figures:
    """Of one edit. Its micro-AP ranks its queries among the group's negatives, as they are and with the same edit."""
    other, units = positive.best(members, range(variant, variant + 1))
    own = positive.own(members, variant)
    wrong = [negative.best(members, range(v, v + 1)) for v in (0, variant)]
    similarity = np.concatenate([np.maximum(own, other), *(best for best, _ in wrong)])
    is_positive = np.arange(len(similarity)) < len(own)
    correct = np.zeros(len(similarity), np.bool_)
    correct[: len(own)] = own > other
    all_units = np.concatenate([units, *(of for _, of in wrong)])
    return Figures(
        rate(own > other, units, weights),
        {fpr: rate_above(own, units, weights, limit) for fpr, limit in pooled.items()},
        {fpr: rate_above(own, units, weights, limit) for fpr, limit in own_limits.items()},
        micro_ap(similarity, correct, all_units, is_positive, weights),
    )


def _means(one: Mapping[str, Figures], edits: Sequence[Edit]) -> dict[str, Figures]:
    """Means over the edits of each family, and over the families."""
    families = {
        f"family:{family}": _mean([one[edit.name] for edit in edits if edit.family == family])
        for family in FAMILIES
        if any(edit.family == family for edit in edits)
    }
    return {**families, ALL_EDITS: _mean(list(families.values()))}


def _mean(parts: Sequence[Figures]) -> Figures:
    def over(values: list[Floats]) -> Floats:
        return np.asarray(np.mean(values, axis=0))

    return Figures(
        over([p.recall_at_1 for p in parts]),
        {fpr: over([p.recall_at_fpr[fpr] for p in parts]) for fpr in FPRS},
        {fpr: over([p.recall_at_own_fpr[fpr] for p in parts]) for fpr in FPRS},
        over([p.micro_ap for p in parts]),
    )


def _pairs(untouched: npt.NDArray[np.float32], limits: Floats, valid: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """The limit of the figure itself holds for all resamples: what is asked is how this group behaves at it."""
    return np.asarray(np.mean([pair_rate(part > limits[0], valid, weights) for part in untouched], axis=0))
