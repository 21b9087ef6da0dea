"""What a guard decides about related pictures, alone: without pictures of a user, at thresholds that are given.

Knows entrants, pairs and guard.verification.weigh.standing; draws and compares nothing itself. `memguard eval kin` is
this; `memguard eval detection` has it at the thresholds of its own negatives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from guard._version import __version__
from guard.errors import ConfigError
from guard.evaluation.document import aliased
from guard.evaluation.edits import EDITS, VERSION, Edit
from guard.evaluation.entrants import Entrant
from guard.evaluation.kin import KIN_PX, KinPairs, compare_kin, kin_described
from guard.evaluation.pdq_beside import IDENTICAL_BITS, PDQ, differing_bits, either
from guard.types import Match, Record
from guard.verification.verifier import PixelVerifier, Verifier
from guard.verification.weigh import standing

__all__ = ["KinSettings", "evaluate_kin", "kin_entrants", "kin_standings"]

Values = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class KinSettings:
    programs: int = 1000
    seed: int = 0
    """Other seeds draw other programs; none of them is one that a training run draws."""
    at: Sequence[float] = ()
    """Similarities from which something counts, inclusive; none: those that each embedder advises."""
    workers: int | None = None
    edits: Sequence[Edit] = field(default_factory=lambda: tuple(EDITS.values()))


def evaluate_kin(
    entrants: Mapping[str, Entrant],
    bases: Sequence[str],
    settings: KinSettings | None = None,
    *,
    verifier: Verifier | None = None,
    progress: Callable[[int], None] = lambda _done: None,
) -> dict[str, Any]:
    """Plain JSON values; docs/evaluation.md describes them. bases: names of the entrants that take part.

    progress: called with how many programs are done. Raises ConfigError where there is no threshold.
    """
    settings, began = settings or KinSettings(), time.monotonic()
    verifier = verifier or PixelVerifier()
    thresholds = {base: _thresholds(entrants[base], settings.at) for base in bases}
    pairs = compare_kin(
        settings.programs, settings.edits, kin_entrants(entrants, bases), verifier, seed=settings.seed,
        workers=settings.workers, progress=progress,
    )  # fmt: skip
    ranked: dict[str, Values] = {}
    limits: dict[str, dict[str, float]] = {}
    for base, named in thresholds.items():
        of_base = kin_standings(pairs, {base: entrants[base].block})
        ranked |= {base: pairs.similarities[base]} | of_base
        exclusive = {at: float(np.nextafter(np.float32(value), np.float32(-np.inf))) for at, value in named.items()}
        limits |= dict.fromkeys([base, *of_base], exclusive)
    found = kin_described(pairs, ranked, limits)
    return {
        "memguard": __version__,
        "protocol": {
            "programs": settings.programs,
            "seed": settings.seed,
            "pixels": KIN_PX,
            "edits_version": VERSION,
            "edits": [edit.name for edit in settings.edits],
            "bases": list(bases),
            "thresholds": thresholds,
            "verifier": repr(verifier),
        },
        "weights_sha256": aliased({base: entrants[base].weights_sha256 for base in bases}),
        **found,
        "false_matches": aliased(found["false_matches"]),
        "seconds": round(time.monotonic() - began, 1),
    }


def kin_entrants(entrants: Mapping[str, Entrant], bases: Sequence[str]) -> dict[str, Entrant]:
    """Those that related pictures are embedded for: the bases, and PDQ if it takes part."""
    return {name: entrants[name] for name in dict.fromkeys([*bases, *([PDQ] if PDQ in entrants else [])])}


def kin_standings(pairs: KinPairs, blocks: Mapping[str, float]) -> dict[str, Values]:
    """Of each base with the verifier, with PDQ, and with both: (programs, 2 * relations) as guard.verification.weigh
    ranks one candidate. blocks: base -> the similarity from which a check blocks.
    """
    ranked: dict[str, Values] = {}
    bits = None
    if PDQ in pairs.similarities:
        # A first picture without enough detail is not known here; one that PDQ cannot hash matches too often, not less.
        bits = differing_bits(pairs.similarities[PDQ], np.ones(pairs.similarities[PDQ].shape, np.bool_))
    for base, block in blocks.items():
        similarity = pairs.similarities[base]
        ranked[f"{base}+verifier"] = _standings(pairs, similarity, None, block)
        if bits is not None:
            ranked[f"{base}+pdq"] = either(similarity, bits)
            ranked[f"{base}+pdq+verifier"] = _standings(pairs, similarity, bits, block)
    return ranked


def _standings(pairs: KinPairs, similarity: Values, bits: Values | None, block: float) -> Values:
    found = np.empty(similarity.shape, np.float32)
    for i, row in enumerate(pairs.evidence):
        for j, evidence in enumerate(row):
            same = None if bits is None or bits[i, j] > IDENTICAL_BITS else int(bits[i, j])
            one = Match(Record(0, "", ""), float(similarity[i, j]), same, evidence)
            found[i, j] = standing(one, block=block)
    return found


def _thresholds(entrant: Entrant, given: Sequence[float]) -> dict[str, float]:
    """By name; inclusive."""
    if given:
        return {f"{value:g}": value for value in given}
    if entrant.advice is None:
        raise ConfigError(f"{entrant.name} advises no thresholds: give similarities, --at 0.7")
    return {"flag": entrant.advice.flag, "block": entrant.advice.block}
