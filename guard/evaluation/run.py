"""The whole evaluation of descriptors, from folders to one document of plain values. Knows the order of the parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from guard.embedders.registry import DEFAULT, load_embedder
from guard.embedders.views import has_windows
from guard.errors import ConfigError
from guard.evaluation.background import BACKGROUND, beside, divided, embed_background
from guard.evaluation.derived import Derived
from guard.evaluation.document import aliased, called_of, described, paired_of
from guard.evaluation.edits import EDITS, Edit
from guard.evaluation.entrants import (
    LEVELS,
    REGIONS,
    WINDOWS,
    Entrant,
    baselines,
    entrants_of,
    multi_view_entrants,
    with_regions,
)
from guard.evaluation.pdq_beside import PDQ, PdqBeside, called_identical, differing_bits, either
from guard.evaluation.pictures import SIDE, PictureFile, find_pictures, load, read_pairs
from guard.evaluation.protocol import POOLED, RESAMPLES, Plan, Results, evaluate, plan
from guard.evaluation.real_pairs import pair_similarities, rated, references_of
from guard.evaluation.scores import Embedded, embed_all, inner_products, score
from guard.evaluation.transformed import Transformed, outside
from guard.indexes.usual import ABOVE, REGIONS_UP_TO
from guard.pixels import RGBArray

__all__ = ["Arranged", "Progress", "Settings", "arranged", "evaluate_descriptors", "looked_up_as", "takes_part"]

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


def takes_part(
    names: Sequence[str], *, with_baselines: bool = True, multi_view: bool = False, regions: bool = False
) -> dict[str, Entrant]:
    """The default embedder (also as `default`), those that are named, and the baselines; by name.

    Each takes part with windows as well, where it has them. multi_view: the first of them with quarter turns and crops
    as well, each an entrant of its own. regions: those with windows also with crops of the references, and with
    equalised copies beside these.
    """
    entrants: dict[str, Entrant] = {}
    named = dict.fromkeys([DEFAULT, *names]) if with_baselines else dict.fromkeys(names or [DEFAULT])
    for i, name in enumerate(named):
        embedder = load_embedder(name)
        own = entrants_of(name, embedder)
        ways = multi_view_entrants(name, embedder) if multi_view and i == 0 else []
        if regions and has_windows(embedder):
            ways += with_regions(own[-1], embedder)
        entrants |= {entrant.name: entrant for entrant in [*own, *ways]}
    if with_baselines:
        entrants |= {entrant.name: entrant for entrant in baselines() if entrant.name not in entrants}
    return entrants


@dataclass(frozen=True, slots=True, eq=False)
class Arranged:
    """Pictures with their parts, and what every entrant makes of them."""

    plan: Plan
    carriers: list[RGBArray]
    embedded: dict[str, Embedded]
    background: list[PictureFile]
    """Of --background, without those that share a source with a picture of the plan."""
    not_outside: int
    """How many those were."""
    skipped: tuple[str, ...]


def arranged(
    groups: Mapping[str, Sequence[Path]],
    entrants: Mapping[str, Entrant],
    settings: Settings,
    *,
    progress: Progress = lambda _what, _done, _all: None,
) -> Arranged:
    """Read the pictures, draw their parts, edit and embed. Raises ConfigError for what cannot serve."""
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

    carriers = [load(c.path, settings.side) for c in drawn.carriers]
    embedded = embed_all(
        drawn.pictures,
        carriers,
        settings.edits,
        list(entrants.values()),
        seed=settings.seed,
        side=settings.side,
        cache=settings.cache,
        progress=one_more,
    )
    return Arranged(drawn, carriers, embedded, background, not_outside, found.skipped)


def evaluate_descriptors(
    groups: Mapping[str, Sequence[Path]],
    entrants: Mapping[str, Entrant],
    settings: Settings | None = None,
    *,
    derived: Sequence[Derived] = (),
    progress: Progress = lambda _what, _done, _all: None,
) -> dict[str, Any]:
    """Run the protocol; docs/evaluation.md describes the document that comes back.

    derived: what takes part beside the entrants, each compared with its base among them. What is called `default` is
    the default embedder as a guard uses it: with windows, with crops and equalised copies of the references and with
    PDQ beside it, if these take part, and whitened and beside rivals, where there are as many references as an index
    has that with by default (guard.indexes.usual); each also takes part alone then.
    Raises ConfigError for folders, tables or groups that cannot serve, and what an embedder raises.
    """
    settings = settings or Settings()
    began = time.monotonic()
    pairs = read_pairs(settings.real_pairs) if settings.real_pairs else []
    if settings.real_pairs and not pairs:
        raise ConfigError(f"{settings.real_pairs} lists no pair")
    ready = arranged(groups, entrants, settings, progress=progress)
    drawn, embedded, background = ready.plan, ready.embedded, ready.background
    for i, name in enumerate(wanted := _normalised(derived) if background else []):
        progress("embedding the background", i, len(wanted))
        embedded[name] = replace(embedded[name], background=embed_background(background, entrants[name], settings.side))
    default, guarded = _as_guarded(entrants, derived, drawn)
    derived = list({one.name: one for one in (*derived, *guarded)}.values())
    results: dict[str, Results] = {}
    compared = {name: inner_products(embedded[name]) for name in entrants}
    compared |= {one.name: one.similarities(embedded, drawn) for one in derived}
    for i, (name, similarities) in enumerate(compared.items()):
        progress("counting", i, len(compared))
        scores = score(similarities, drawn.sources, drawn.is_reference)
        results[name] = evaluate(drawn, settings.edits, scores, resamples=settings.resamples)
    progress("counting", len(compared), len(compared))
    document = described(drawn, settings, results, ready.skipped, default)
    if settings.background:
        near = {name: len(background) - len(outside(embedded[name])) for name in wanted}
        document["background"] = {
            "pictures": len(background), "left_out": {"of_one_source": ready.not_outside, "near_copies": aliased(near)}
        }  # fmt: skip
    pairs_with = {name: one.against for name, one in entrants.items() if one.against in entrants}
    pairs_with |= {one.name: one.base for one in derived}
    if pairs_with:
        document["paired"] = aliased({name: paired_of(results, name, of) for name, of in pairs_with.items()}, default)
    if any(isinstance(one, PdqBeside) for one in derived):
        called = called_identical(drawn, settings.edits, embedded[PDQ], resamples=settings.resamples)
        counts = results[derived[0].base].counts
        document["identical"] = {group: called_of(one, counts[group]["sources"]) for group, one in called.items()}
    document["weights_sha256"] = aliased({name: entrant.weights_sha256 for name, entrant in entrants.items()})
    if pairs:
        clean = _unrelated(drawn, pairs)
        looked_up = {
            name: pair_similarities(pairs, embedded[name].references[clean], entrant, side=settings.side)
            for name, entrant in entrants.items()
        }
        looked_up |= {
            one.name: pair_similarities(
                pairs,
                embedded[one.base].references[clean],
                entrants[one.base],
                side=settings.side,
                compare=one.compared,
            )
            for one in derived
            if isinstance(one, Transformed) and one.whitened and not one.normalised
        }
        hashed = [one for one in derived if isinstance(one, PdqBeside)]
        if hashed:
            queries = entrants[PDQ].queries([load(path, settings.side) for path in references_of(pairs)])
            usable = [q.any() for q in queries] + [embedded[PDQ].queries[i][0].any() for i in clean]
            bits = differing_bits(looked_up[PDQ], np.array(usable))
            looked_up |= {one.name: either(looked_up[one.base], bits) for one in hashed}
        limits = {name: results[name].thresholds[POOLED] for name in looked_up}
        at = {name: {fpr: float(limit[0]) for fpr, limit in of.items()} for name, of in limits.items()}
        document["real_pairs"] = aliased({name: rated(pairs, s, at[name]) for name, s in looked_up.items()}, default)
    document["seconds"] = round(time.monotonic() - began, 1)
    return document


def _as_guarded(entrants: Mapping[str, Entrant], derived: Sequence[Derived], drawn: Plan) -> tuple[str, list[Derived]]:
    """Name of the default embedder as a guard compares by default, and what takes part for its sake.

    No whitening if one with other settings was asked for: two would have one name.
    """
    if DEFAULT not in entrants:
        return DEFAULT, []
    views = DEFAULT + WINDOWS if DEFAULT + WINDOWS in entrants else DEFAULT
    usual = looked_up_as(DEFAULT, entrants, drawn)
    bases = dict.fromkeys([DEFAULT, views, usual])
    white = [Transformed(base, whitened=True, rivals=rivals) for rivals in (False, True) for base in bases]
    asked = {one.name: one for one in derived}
    if drawn.is_reference.sum(axis=1).min() <= ABOVE or any(asked.get(one.name, one) != one for one in white):
        beside, made = PdqBeside(usual), list[Derived]()
    else:
        beside, made = PdqBeside(white[-1].name, white[-1]), list[Derived](white)
    return (beside.name, [*made, beside]) if PDQ in entrants else (beside.base, made)


def looked_up_as(name: str, entrants: Mapping[str, Entrant], drawn: Plan) -> str:
    """An embedder as a guard looks an index of its cosines up by default, of the ways that take part: with windows of a
    query, and with crops and equalised copies of the references, if there are no more than an index has these of."""
    views = name + WINDOWS if name + WINDOWS in entrants else name
    few = drawn.is_reference.sum(axis=1).max() <= REGIONS_UP_TO
    of_regions = [views + REGIONS + LEVELS, views + REGIONS] if few else []
    return next((way for way in of_regions if way in entrants), views)


def _normalised(derived: Sequence[Derived]) -> list[str]:
    """Names of the entrants that need a background."""
    return list(dict.fromkeys(one.base for one in derived if isinstance(one, Transformed) and one.normalised))


def _unrelated(drawn: Plan, pairs: Sequence[tuple[Path, Path, str]]) -> list[int]:
    """Positions of the pictures that share no source with any pair."""
    paired = {path for query, reference, _ in pairs for path in (query, reference)}
    related = {s for s, p in zip(drawn.sources.tolist(), drawn.pictures, strict=True) if p.path in paired}
    return [i for i, source in enumerate(drawn.sources.tolist()) if source not in related]
