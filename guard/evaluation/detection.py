"""The whole evaluation of detection: descriptor and verifier as one decision, from folders to a document.

The protocol, the figures and the layout are those of guard.evaluation.run; added are the entrants NAME+verifier and
NAME+pdq+verifier, the kinds of evidence, what no false match at all leaves, related pictures, and a test of each edit
against the descriptor alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guard.embedders.registry import DEFAULT
from guard.evaluation.comparing import compare_all
from guard.evaluation.derived import Derived
from guard.evaluation.document import aliased, described, number, paired_of
from guard.evaluation.entrants import Entrant
from guard.evaluation.evidence_found import evidence_found
from guard.evaluation.intervals import clopper_pearson
from guard.evaluation.kin import compare_kin, kin_described
from guard.evaluation.kin_decided import kin_entrants, kin_standings
from guard.evaluation.metrics import FPRS
from guard.evaluation.paired import holm, p_below
from guard.evaluation.pdq_beside import PDQ, PdqBeside
from guard.evaluation.protocol import POOLED, Results, evaluate
from guard.evaluation.run import Progress, Settings, arranged, looked_up_as
from guard.evaluation.scores import inner_products, score
from guard.evaluation.verified import Verified, nearest
from guard.verification.examiner import CANDIDATES
from guard.verification.verifier import PixelVerifier, Verifier

__all__ = ["STRICT", "DetectionSettings", "evaluate_detection"]

RESAMPLES = 2000  # of which a twentieth must exceed the number of edits that are tested together
RAREST = min(FPRS)
STRICT = {fpr: 0.0 if fpr == RAREST else fpr for fpr in FPRS}
"""At the rarest rate no negative may lie above the threshold at all."""


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    protocol: Settings = field(default_factory=lambda: Settings(resamples=RESAMPLES))
    candidates: int = CANDIDATES
    """Nearest references that are looked at for each query."""
    kin: int = 0
    """Procedural programs whose siblings and variants are compared."""
    workers: int | None = None
    """Threads; None: one a core, at most four."""


def evaluate_detection(
    groups: Mapping[str, Sequence[Path]],
    entrants: Mapping[str, Entrant],
    names: Sequence[str],
    settings: DetectionSettings | None = None,
    *,
    verifier: Verifier | None = None,
    progress: Progress = lambda _what, _done, _all: None,
) -> dict[str, Any]:
    """Run the protocol; docs/evaluation.md describes the document that comes back.

    names: of the embedders that take part with the verifier behind them, each as a guard looks an index of its cosines
    up (guard.evaluation.run.looked_up_as); the first one's evidence is described, and the default embedder's way is
    called `default`.
    verifier: None for the one that a guard has.
    Raises ConfigError for folders, tables or groups that cannot serve, and what an embedder raises.
    """
    settings = settings or DetectionSettings()
    protocol, began = settings.protocol, time.monotonic()
    verifier = verifier or PixelVerifier()
    ready = arranged(groups, entrants, protocol, progress=progress)
    drawn, embedded = ready.plan, ready.embedded
    bases = [looked_up_as(name, entrants, drawn) for name in names]
    plain = {name: inner_products(embedded[name]) for name in entrants}
    asked = [nearest(plain[base], drawn, settings.candidates) for base in bases]
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        progress("comparing pixels", done, len(drawn.pictures))

    compared = compare_all(
        drawn.pictures, ready.carriers, protocol.edits, asked, verifier, seed=protocol.seed, side=protocol.side,
        cache=protocol.cache, workers=settings.workers, progress=one_more,
    )  # fmt: skip
    derived: list[Derived] = []
    for asking, base in enumerate(bases):
        block = entrants[base].block
        derived.append(Verified(base, settings.candidates, block, compared, asking))
        if PDQ in entrants:
            derived += [PdqBeside(base), Verified(base, settings.candidates, block, compared, asking, hashes=True)]
    results: dict[str, Results] = {}
    similarities = plain | {one.name: one.similarities(embedded, drawn) for one in derived}
    for i, (name, of_pair) in enumerate(similarities.items()):
        progress("counting", i, len(similarities))
        scores = score(of_pair, drawn.sources, drawn.is_reference)
        results[name] = evaluate(drawn, protocol.edits, scores, resamples=protocol.resamples, allowed=STRICT)
    progress("counting", len(similarities), len(similarities))
    default = dict(zip(names, bases, strict=True)).get(DEFAULT, DEFAULT)
    document = described(drawn, protocol, results, ready.skipped, default)
    document["protocol"] |= {
        "candidates": settings.candidates,
        "bases": list(bases),
        "verifier": repr(verifier),
        "rarest_fpr": f"{RAREST:g} stands for no false match at all",
    }
    document["paired"] = aliased({one.name: _against(results, one) for one in derived}, default)
    document["no_false_match"] = _no_false_match(results)
    document["evidence"] = evidence_found(drawn, protocol.edits, compared, asked[0])
    document["weights_sha256"] = aliased({name: entrant.weights_sha256 for name, entrant in entrants.items()})
    if settings.kin:
        document["kin"] = _kin(entrants, bases, results, settings, verifier, progress, default)
    document["seconds"] = round(time.monotonic() - began, 1)
    return document


def _against(results: Mapping[str, Results], one: Derived) -> dict[str, Any]:
    """As in eval descriptors, of every edit, and the adjusted p of each edit's recall being below its base's."""
    ours, base = results[one.name], results[one.base]
    below: dict[str, dict[str, dict[str, float | None]]] = {}
    for group, by_key in ours.figures.items():
        edits = [key for key in by_key if key != "all_edits" and not key.startswith("family:")]
        below[group] = {}
        for fpr in FPRS:
            p = holm({
                edit: p_below(by_key[edit].recall_at_fpr[fpr], base.figures[group][edit].recall_at_fpr[fpr])
                for edit in edits
            })  # fmt: skip
            below[group][str(fpr)] = {edit: number(value) for edit, value in p.items()}
    return {**paired_of(results, one.name, one.base, every_edit=True), "below": below}


def _no_false_match(results: Mapping[str, Results]) -> dict[str, Any]:
    """Of each group: how far a rate of no false match is known, by queries and by sources."""
    counts = next(iter(results.values())).counts
    return {
        group: {
            "negative_queries": of["negative_queries"],
            "upper_bound_if_queries_were_independent": number(clopper_pearson(0, of["negative_queries"]).high),
            "sources": of["sources"],
            "upper_bound_by_sources": number(clopper_pearson(0, of["sources"]).high),
        }
        for group, of in counts.items()
    }


def _kin(
    entrants: Mapping[str, Entrant],
    bases: Sequence[str],
    results: Mapping[str, Results],
    settings: DetectionSettings,
    verifier: Verifier,
    progress: Progress,
    default: str,
) -> dict[str, Any]:
    pairs = compare_kin(
        settings.kin, settings.protocol.edits, kin_entrants(entrants, bases), verifier, seed=settings.protocol.seed,
        workers=settings.workers, progress=lambda done: progress("comparing kin", done, settings.kin),
    )  # fmt: skip
    ranked = {**pairs.similarities, **kin_standings(pairs, {base: entrants[base].block for base in bases})}
    limits = {
        name: {str(fpr): float(of[0]) for fpr, of in results[name].thresholds[POOLED].items()} for name in ranked
    }  # fmt: skip
    found = kin_described(pairs, ranked, limits)
    return {**found, "false_matches": aliased(found["false_matches"], default)}
