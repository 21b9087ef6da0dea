"""The whole evaluation of descriptors, from folders to one document of plain values. Knows the order of the parts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from guard._version import __version__
from guard.embedders.registry import DEFAULT, load_embedder
from guard.errors import ConfigError
from guard.evaluation.background import BACKGROUND, beside, divided, embed_background
from guard.evaluation.derived import Derived
from guard.evaluation.edits import EDITS, VERSION, Edit
from guard.evaluation.entrants import Entrant, baselines, entrants_of, multi_view_entrants
from guard.evaluation.intervals import Interval, wilson
from guard.evaluation.metrics import FPRS, Floats
from guard.evaluation.paired import paired
from guard.evaluation.pdq_beside import PDQ, Called, PdqBeside, called_identical, differing_bits, either
from guard.evaluation.pictures import SIDE, find_pictures, load, read_pairs
from guard.evaluation.protocol import ALL_EDITS, POOLED, RESAMPLES, Figures, Plan, Results, evaluate, plan, summary
from guard.evaluation.real_pairs import pair_similarities, rated, references_of
from guard.evaluation.scores import embed_all, inner_products, score
from guard.evaluation.transformed import Transformed, outside

__all__ = ["Settings", "evaluate_descriptors", "takes_part"]

Progress = Callable[[str, int, int], None]
"""Called with (what, done, all)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the figures, apart from pictures and entrants."""

    splits: int = 5
    seed: int = 0
    limit: int | None = None
    """Pictures a group at most."""
    side: int = SIDE
    resamples: int = RESAMPLES
    same: Sequence[Path] = ()
    one_source: Sequence[Path] = ()
    real_pairs: Path | None = None
    background: Sequence[Path] = ()
    """Folders of pictures for score normalisation, of which no source is evaluated."""
    cache: Path | None = None
    edits: Sequence[Edit] = field(default_factory=lambda: tuple(EDITS.values()))


def takes_part(names: Sequence[str], *, with_baselines: bool = True, multi_view: bool = False) -> dict[str, Entrant]:
    """The default embedder (also as `default`), those that are named, and the baselines; by name.

    multi_view: the first of them with quarter turns and crops as well, each an entrant of its own.
    """
    entrants: dict[str, Entrant] = {}
    named = dict.fromkeys([DEFAULT, *names]) if with_baselines else dict.fromkeys(names or [DEFAULT])
    for i, name in enumerate(named):
        embedder = load_embedder(name)
        ways = multi_view_entrants(name, embedder) if multi_view and i == 0 else []
        entrants |= {entrant.name: entrant for entrant in [*entrants_of(name, embedder), *ways]}
    if with_baselines:
        entrants |= {entrant.name: entrant for entrant in baselines() if entrant.name not in entrants}
    return entrants


def evaluate_descriptors(
    groups: Mapping[str, Sequence[Path]],
    entrants: Mapping[str, Entrant],
    settings: Settings | None = None,
    *,
    derived: Sequence[Derived] = (),
    progress: Progress = lambda _what, _done, _all: None,
) -> dict[str, Any]:
    """Run the protocol; docs/evaluation.md describes the document that comes back.

    derived: what takes part beside the entrants, each compared with its base among them.
    Raises ConfigError for folders, tables or groups that cannot serve, and what an embedder raises.
    """
    settings = settings or Settings()
    began = time.monotonic()
    pairs = read_pairs(settings.real_pairs) if settings.real_pairs else []
    if settings.real_pairs and not pairs:
        raise ConfigError(f"{settings.real_pairs} lists no pair")
    found = find_pictures(
        beside(groups, settings.background),
        same=[*settings.same, *([settings.real_pairs] if settings.real_pairs else [])],
        one_source=settings.one_source,
        limit=settings.limit,
        unlimited=[BACKGROUND],
        seed=settings.seed,
        side=settings.side,
        progress=lambda done, total: progress("reading", done, total),
    )
    pictures, background, not_outside = divided(found.pictures)
    drawn = plan(pictures, splits=settings.splits, seed=settings.seed)
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        progress("embedding", done, len(drawn.pictures))

    embedded = embed_all(
        drawn.pictures,
        [load(c.path, settings.side) for c in drawn.carriers],
        settings.edits,
        list(entrants.values()),
        seed=settings.seed,
        side=settings.side,
        cache=settings.cache,
        progress=one_more,
    )
    for i, name in enumerate(wanted := _normalised(derived) if background else []):
        progress("embedding the background", i, len(wanted))
        embedded[name] = replace(embedded[name], background=embed_background(background, entrants[name], settings.side))
    results: dict[str, Results] = {}
    compared = {name: inner_products(embedded[name]) for name in entrants}
    compared |= {one.name: one.similarities(embedded, drawn) for one in derived}
    for i, (name, similarities) in enumerate(compared.items()):
        progress("counting", i, len(compared))
        scores = score(similarities, drawn.sources, drawn.is_reference)
        results[name] = evaluate(drawn, settings.edits, scores, resamples=settings.resamples)
    progress("counting", len(compared), len(compared))
    document = _document(drawn, settings, results, found.skipped)
    if settings.background:
        near = {name: len(background) - len(outside(embedded[name])) for name in wanted}
        document["background"] = {
            "pictures": len(background), "left_out": {"of_one_source": not_outside, "near_copies": _aliased(near)}
        }  # fmt: skip
    if derived:
        document["paired"] = _aliased({one.name: _paired(results, one) for one in derived})
    if any(isinstance(one, PdqBeside) for one in derived):
        called = called_identical(drawn, settings.edits, embedded[PDQ], resamples=settings.resamples)
        counts = results[derived[0].base].counts
        document["identical"] = {group: _called(one, counts[group]["sources"]) for group, one in called.items()}
    document["weights_sha256"] = _aliased({name: entrant.weights_sha256 for name, entrant in entrants.items()})
    if pairs:
        clean = _unrelated(drawn, pairs)
        looked_up = {
            name: pair_similarities(pairs, embedded[name].references[clean], entrant, side=settings.side)
            for name, entrant in entrants.items()
        }
        hashed = [one for one in derived if isinstance(one, PdqBeside)]
        if hashed:
            queries = entrants[PDQ].queries([load(path, settings.side) for path in references_of(pairs)])
            usable = [q.any() for q in queries] + [embedded[PDQ].queries[i][0].any() for i in clean]
            bits = differing_bits(looked_up[PDQ], np.array(usable))
            looked_up |= {one.name: either(looked_up[one.base], bits) for one in hashed}
        limits = {name: results[name].thresholds[POOLED] for name in looked_up}
        at = {name: {fpr: float(limit[0]) for fpr, limit in of.items()} for name, of in limits.items()}
        document["real_pairs"] = _aliased({name: rated(pairs, s, at[name]) for name, s in looked_up.items()})
    document["seconds"] = round(time.monotonic() - began, 1)
    return document


def _normalised(derived: Sequence[Derived]) -> list[str]:
    """Names of the entrants that need a background."""
    return list(dict.fromkeys(one.base for one in derived if isinstance(one, Transformed) and one.normalised))


def _unrelated(drawn: Plan, pairs: Sequence[tuple[Path, Path, str]]) -> list[int]:
    """Positions of the pictures that share no source with any pair."""
    paired = {path for query, reference, _ in pairs for path in (query, reference)}
    related = {s for s, p in zip(drawn.sources.tolist(), drawn.pictures, strict=True) if p.path in paired}
    return [i for i, source in enumerate(drawn.sources.tolist()) if source not in related]


def _document(
    drawn: Plan, settings: Settings, results: Mapping[str, Results], skipped: Sequence[str]
) -> dict[str, Any]:
    any_result = next(iter(results.values()))
    return {
        "memguard": __version__,
        "protocol": {
            "splits": settings.splits,
            "seed": settings.seed,
            "longer_side_px": settings.side,
            "resamples": settings.resamples,
            "edits_version": VERSION,
            "edits": {e.name: {"family": e.family, "parameters": dict(e.parameters)} for e in settings.edits},
            "groups": any_result.counts,
            "carriers": len(drawn.carriers),
            "thresholds": "exclusive; at most the share FPR of the negative queries lies above",
        },
        "skipped": list(skipped),
        "results": _aliased({
            name: {
                group: {key: _figures(figures) for key, figures in by_edit.items()}
                for group, by_edit in result.figures.items()
            }
            for name, result in results.items()
        }),
        "thresholds": _aliased({
            name: {group: {str(fpr): _number(limit[0]) for fpr, limit in limits.items()}
                   for group, limits in result.thresholds.items()}
            for name, result in results.items()
        }),
        "false_positive_rates": _aliased({
            name: {
                group: {str(fpr): {"untouched": _interval(plain), "edited": _interval(edited)}
                        for fpr, (plain, edited) in rates.items()}
                for group, rates in result.false_positives.items()
            }
            for name, result in results.items()
        }),
        "look_alikes": _aliased({
            name: {group: {str(fpr): _interval(rate) for fpr, rate in rates.items()}
                   for group, rates in result.look_alikes.items()}
            for name, result in results.items()
        }),
    }  # fmt: skip


def _paired(results: Mapping[str, Results], one: Derived) -> dict[str, Any]:
    """By how much it differs from its base, by group and family."""
    found = paired(results[one.name], results[one.base])
    means = {
        group: {
            key: difference.to_dict()
            for key, difference in by_edit.items()
            if key == ALL_EDITS or key.startswith("family:")
        }
        for group, by_edit in found.items()
    }
    return {"against": one.base, "differences": means}


def _called(one: Called, sources: int) -> dict[str, Any]:
    return {
        "found": {key: _interval(share) for key, share in one.found.items()},
        "false": {"untouched": _rare(one.untouched, sources), "edited": _rare(one.edited, sources)},
        "look_alikes": _rare(one.look_alikes, sources),
    }


def _rare(values: Floats, sources: int) -> dict[str, float | None]:
    """A bootstrap of nothing but zeros says nothing: then the upper bound is Wilson's, of so many sources."""
    found = _interval(values)
    return {**found, "high": _number(wilson(0, sources).high)} if found["value"] == 0 else found


def _aliased(by_name: dict[str, Any]) -> dict[str, Any]:
    """The default embedder's under `default` too, and what is made of it under `default+…`."""
    for name in list(by_name):
        if name == DEFAULT or name.startswith(f"{DEFAULT}+"):
            by_name[name.replace(DEFAULT, "default", 1)] = by_name[name]
    return by_name


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "recall_at_fpr": {str(fpr): _interval(figures.recall_at_fpr[fpr]) for fpr in FPRS},
        "recall_at_own_fpr": {str(fpr): _interval(figures.recall_at_own_fpr[fpr]) for fpr in FPRS},
        "recall_at_1": _interval(figures.recall_at_1),
        "micro_ap": _interval(figures.micro_ap),
    }


def _interval(values: Floats) -> dict[str, float | None]:
    found: Interval = summary(values)
    return {"value": _number(found.value), "low": _number(found.low), "high": _number(found.high)}


def _number(value: float) -> float | None:
    """None where there is nothing to say: JSON knows no nan."""
    return round(float(value), 6) if math.isfinite(value) else None
