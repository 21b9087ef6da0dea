"""What a comparison means: the kinds of evidence. Knows no pixels; the thresholds are guard.verification.limits'.

docs/verification.md says each kind in words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from guard.types import EvidenceKind
from guard.verification.agreement import Comparison
from guard.verification.limits import Limits

__all__ = ["UNDETERMINED", "Judgement", "judged"]

UNDETERMINED = -0.02
"""Strength of what agrees with a pattern, and can be neither shown nor refuted: see guard.verification.weigh.DOUBT."""


class Judgement(NamedTuple):
    kind: EvidenceKind
    strength: float
    """In [-1, 1]: how far the weakest of the numbers that it took lies beyond its limit, 0 at the limit; below 0 it is
    no copy, and this is how far it is from one."""


def judged(
    comparison: Comparison,
    *,
    inliers: int,
    few_keypoints: bool,
    upright: bool,
    limits: Limits,
    keypoints: int = 0,
    moved: float = 0.0,
    repeats: Callable[[float], bool] = lambda _share: False,
    simple: Callable[[int], bool] = lambda _keypoints: False,
) -> Judgement:
    """inliers: that the transform explains. few_keypoints: of either picture. upright: it neither turns nor mirrors.

    keypoints: of the picture with fewer; 0 if nobody looked. moved: how far the corner that moves most lies from where
    the nearest flip or quarter turn would put it, in shares of the sides. repeats: whether both pictures show at least
    this share of their structure in another place (see guard.verification.repeats). simple: whether the reference has
    fewer keypoints than this. Both are asked only where it matters.
    """
    c = comparison
    coincide = min(c.overlap_query, c.overlap_reference) >= limits.same_frame
    found = _found(c, inliers, few_keypoints, coincide, limits)
    against = _against(c, inliers, coincide, limits)
    strength = min(
        found, against, _kept(c, inliers, keypoints, coincide, limits), _placed(c, inliers, moved, coincide, limits)
    )  # fmt: skip
    if strength >= 0:
        for determined, elsewhere in (_determined(c, inliers, moved, limits), _plain(c, inliers, moved, limits)):
            if determined < 0 and repeats(elsewhere):
                strength = min(strength, max(determined, UNDETERMINED))
        known = _known(c, inliers, moved, limits)
        if known < 0 and simple(limits.keypoints_simple):
            strength = min(strength, max(known, UNDETERMINED))
    if strength >= 0:
        return Judgement(_copy(c, upright, limits), strength)
    one_layout = found >= 0 or (inliers >= limits.inliers and coincide)
    return Judgement(EvidenceKind.SAME_TEMPLATE if one_layout else EvidenceKind.NONE, strength)


def _found(c: Comparison, inliers: int, few_keypoints: bool, coincide: bool, limits: Limits) -> float:
    """Margin of the best of four ways to be found: by many inliers; or, where the overlap is the whole of either
    picture, by some, by pixels alone, as a redrawing."""
    toned = c.agreement >= limits.agreement_alone and c.coloured >= limits.toned_colours
    plain = coincide and c.tiled_l2 <= limits.plain_tiled_l2
    needed = limits.structure if plain else limits.structure_toned if toned else limits.structure_alone
    structure, detail = _count(c.structure, needed), _share(c.detail, limits.detail)
    redrawn = min(
        _share(c.coarse_agreement, limits.coarse_agreement), _share(c.coarse_detail, limits.coarse_detail)
    )  # fmt: skip
    many = min(
        _count(inliers, limits.inliers),
        max(_share(c.agreement, limits.agreement_with_inliers), redrawn),
        _count(c.structure, limits.structure),
    )
    some = min(
        1.0 if few_keypoints else _count(inliers, limits.some_inliers),
        _share(c.agreement, limits.agreement_with_some),
        detail,
        structure,
    )
    alone = min(_share(c.agreement, limits.agreement_alone), detail, structure)
    whole = max(c.overlap_query, c.overlap_reference)
    if whole < limits.whole_few:
        # An edit leaves the whole of one picture, or many keypoints; two scenes may share a house.
        return min(many, _count(inliers, limits.inliers_apart if whole < limits.whole_many else limits.inliers_many))
    return max(many, some, alone, min(redrawn, structure))


def _against(c: Comparison, inliers: int, coincide: bool, limits: Limits) -> float:
    """Margin of what a copy also needs, or it is a template: its colours, and in coinciding frames its structure."""
    many = max(
        _count(inliers, limits.inliers_many),
        min(_count(inliers, limits.inliers), _share(c.agreement, limits.agreement_any_colours)),
    )
    colours = max(many, _share(c.coloured, limits.colours))
    if not coincide:
        return colours
    redrawn = c.coarse_agreement >= limits.coarse_agreement and c.coarse_detail >= limits.coarse_detail
    agreeing = max(c.agreeing, c.coarse_agreeing) if redrawn else c.agreeing
    steady = min(_share(agreeing, limits.template_steady), _share(c.steady, limits.steady))
    most = max(_share(agreeing, limits.template), steady)
    fine = min(_share(agreeing, limits.template_few_inliers), _share(c.detail, limits.detail))
    layout = max(min(many, most), fine, _share(agreeing, limits.template_rough))
    return min(colours, layout)


def _kept(c: Comparison, inliers: int, keypoints: int, coincide: bool, limits: Limits) -> float:
    """Margin of the best of seven signs that the same picture was edited, rather than one like it drawn."""
    closely = max(_count(inliers, limits.some_inliers), _share(c.coarse_agreement, limits.coarse_agreement_alone))
    coarse = min(closely, _share(c.coarse_agreement, limits.coarse_agreement))
    alone = min(coarse, _share(c.coarse_agreeing, limits.kept_coarse_alone))
    share = min(1.0, inliers / keypoints) if keypoints else 0.0
    most = min(_count(inliers, limits.inliers_kept_few), _share(share, limits.inliers_share))
    return max(
        min(_share(c.crisp, limits.crisp), _count(inliers, limits.some_inliers)),
        min(_share(c.steady, limits.steady), _count(inliers, limits.inliers_kept_apart)),
        _redrawn(c, inliers, limits),
        alone,
        _count(inliers, limits.inliers_kept if coincide else limits.inliers_kept_apart),
        most,
        _share(c.agreement, limits.agreement_alone),
    )


def _redrawn(c: Comparison, inliers: int, limits: Limits) -> float:
    """Margin of what shows all of it to be redrawn or bent, with inliers."""
    return min(
        _share(c.coarse_agreeing, limits.kept_coarse),
        _share(c.coarse_agreement, limits.coarse_agreement),
        _count(inliers, limits.inliers),
    )


def _placed(c: Comparison, inliers: int, moved: float, coincide: bool, limits: Limits) -> float:
    """Margin of what else a copy needs: inliers, the more in coinciding frames unless all of it was redrawn; or not to
    be moved; or structure with its detail and, of a redrawing, its colours."""
    detail = max(_share(c.detail, limits.detail_moved), _share(c.agreeing, limits.agreeing_moved))
    colours = max(_share(c.coloured, limits.colours_moved), _share(c.agreement, limits.agreement_alone))
    return max(
        _count(inliers, limits.inliers_kept if coincide else limits.inliers),
        _redrawn(c, inliers, limits),
        -_count(moved, limits.still),
        min(detail, colours, _count(c.structure, limits.structure_moved)),
    )


def _determined(c: Comparison, inliers: int, moved: float, limits: Limits) -> tuple[float, float]:
    """Margin of what lays a picture that repeats itself on no other place: many inliers, or all left as it was.

    And the share of their structure that both must show elsewhere, so that what agrees does not tell this place.
    """
    still = min(
        _share(c.agreement, limits.agreement_repeating),
        _share(c.coloured, limits.colours_repeating),
        -_count(moved, limits.still),
    )
    missing = 1 - min(c.agreeing, c.coloured)
    elsewhere = 1 - missing / limits.telling if limits.telling > 0 else 0.0
    needed = max(limits.repetition, min(elsewhere, 1 - limits.telling_nothing))
    return max(_count(inliers, limits.inliers_many), still), needed


def _plain(c: Comparison, inliers: int, moved: float, limits: Limits) -> tuple[float, float]:
    """The same of little structure, most of which repeats: some inliers, or not to be moved and to agree."""
    still = min(_share(c.agreement, limits.agreement_plain), -_count(moved, limits.still))
    margin = max(_count(inliers, limits.inliers), _count(c.structure, limits.structure_repeating), still)
    return margin, limits.repetition_plain


def _known(c: Comparison, inliers: int, moved: float, limits: Limits) -> float:
    """Margin of what tells a simple picture from another one: some inliers, or its place, or all of it agrees."""
    return max(
        _count(inliers, limits.some_inliers),
        -_count(moved, limits.still),
        _share(c.agreement, limits.agreement_simple),
        _share(c.agreeing, limits.agreeing_simple),
    )


def _copy(c: Comparison, upright: bool, limits: Limits) -> EvidenceKind:
    if min(c.copied_query, c.copied_reference) < limits.whole:
        return EvidenceKind.PARTIAL
    identical = (
        upright
        and min(c.overlap_query, c.overlap_reference) >= limits.identical_frame
        and c.agreement >= limits.identical_agreement
        and c.tiled_l2 <= limits.identical_tiled_l2
    )
    return EvidenceKind.NEAR_IDENTICAL if identical else EvidenceKind.EDITED


def _share(value: float, limit: float) -> float:
    """Of a number in [0, 1]: 0 at its limit, 1 at 1, -1 at 0."""
    if value >= limit:
        return 1.0 if limit >= 1 else (value - limit) / (1 - limit)
    return (value - limit) / limit


def _count(value: float, limit: float) -> float:
    """Of a number without an upper end: 0 at its limit, 0.5 at twice as many, -1 at 0."""
    if value >= limit:
        return 1.0 - limit / value if value > 0 else 1.0
    return value / limit - 1
