"""What a comparison means: the kinds of evidence, and every threshold behind them. Knows no pixels.

docs/verification.md says each kind in words. The thresholds come from pairs of procedural and public pictures; an
index whose pictures resemble one another more than those (X-rays, faces in one pose) needs its own, by calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

from guard.errors import ConfigError
from guard.types import EvidenceKind
from guard.verification.agreement import Comparison

__all__ = ["COUNTS", "Limits", "kind_of"]

COUNTS = frozenset({"inliers", "inliers_many", "some_inliers", "structure", "structure_alone", "structure_toned"})


@dataclass(frozen=True, slots=True)
class Limits:
    """All bounds are inclusive: what reaches one, has it."""

    inliers: int = 12
    """Matched keypoints, one a cell, from which they count as a find of their own; look-alike facades and X-rays of
    different people reach 8."""
    agreement_with_inliers: float = 0.40
    """Structural agreement that the pixels must then have: the keypoints may all lie on a logo or a frame."""
    some_inliers: int = 5
    """Matched keypoints, one a cell, that are no find of their own and yet no accident where the pixels agree."""
    agreement_with_some: float = 0.70
    """As above with some inliers, or where either picture has too few keypoints to find a copy by; X-rays of different
    people reach 0.54, flags 0.68."""
    agreement_alone: float = 0.88
    """As above against all keypoints; two pullovers of one cut, aligned by their outlines, reach 0.75."""
    detail: float = 0.55
    """Mean correlation of all windows with any detail, needed with fewer than `inliers`: garments of one cut reach an
    agreement of 0.90 by their outlines, and 0.51 here."""
    coarse_agreement: float = 0.80
    """Agreement after a stronger blur that, with the next, makes up for fine agreement and detail: a redrawing keeps
    what is coarse. Garments of one cut reach 0.94 and a detail of 0.67."""
    coarse_detail: float = 0.74
    structure: float = 12.0
    """Windows with structure, in number: fewer say nothing."""
    structure_alone: float = 60.0
    """As above with fewer inliers: three stripes of a flag are some fifty windows, and agree with other stripes."""
    structure_toned: float = 40.0
    """As structure_alone where agreement_alone is reached and the colours are the same but for one change of tone; a
    single edge across the picture is some thirty windows."""
    toned_colours: float = 0.95
    """Share of the overlap that this asks of the colours; other flags reach 0.91."""
    plain_tiled_l2: float = 0.06
    """Pictures with less structure also are the same if the frames coincide and no tile differs by more."""
    colours: float = 0.75
    """Share of the overlap whose colours must be the same but for one change of tone of the whole, below inliers_many;
    less of it is a drawing in other colours. Most recoloured emoji stay below 0.73."""
    inliers_many: int = 25
    """Matched keypoints, one a cell, from which neither colours nor the stricter share of structure is asked for: a
    photograph blended with another, or under stickers."""
    agreement_any_colours: float = 0.85
    """With fewer of them, and no less than inliers, the same from this agreement."""
    same_frame: float = 0.8
    """Share of either picture that the overlap covers where both frames coincide."""
    template: float = 0.5
    """Share of the reference's structure that must agree in coinciding frames; less of it is one layout with other
    content."""
    template_few_inliers: float = 0.78
    """The same below inliers_many: flags that share a canton reach 0.77 (and one pair 0.81)."""
    whole: float = 0.6
    """Share of the reference that is shown, and of the query that shows it; less of either is a part."""
    identical_frame: float = 0.93
    """As same_frame, for near_identical."""
    identical_agreement: float = 0.8
    identical_tiled_l2: float = 0.15
    """Carlini et al. 2023 call a generation of Stable Diffusion a copy below this distance; here it is inclusive."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            most = None if name in COUNTS else 1
            if not value >= 0 or (most is not None and value > most):
                raise ConfigError(
                    f"Limits.{name} = {value!r} is out of range: at least 0" + (", at most 1" * bool(most))
                )


def kind_of(
    comparison: Comparison, *, inliers: int, few_keypoints: bool, upright: bool, limits: Limits
) -> EvidenceKind:
    """inliers: that the transform explains. few_keypoints: of either picture. upright: it neither turns nor mirrors."""
    c, enough = comparison, inliers >= limits.inliers
    coincide = min(c.overlap_query, c.overlap_reference) >= limits.same_frame
    needed = limits.agreement_alone
    if enough:
        needed = limits.agreement_with_inliers
    elif few_keypoints or inliers >= limits.some_inliers:
        needed = limits.agreement_with_some
    structure = limits.structure_alone
    if enough or (coincide and c.tiled_l2 <= limits.plain_tiled_l2):
        structure = limits.structure
    elif c.agreement >= limits.agreement_alone and c.coloured >= limits.toned_colours:
        structure = limits.structure_toned
    redrawn = c.coarse_agreement >= limits.coarse_agreement and c.coarse_detail >= limits.coarse_detail
    fine = c.agreement >= needed and (enough or c.detail >= limits.detail)
    if c.structure < structure or not (fine or redrawn):
        return EvidenceKind.SAME_TEMPLATE if enough and coincide else EvidenceKind.NONE
    many = inliers >= limits.inliers_many or (enough and c.agreement >= limits.agreement_any_colours)
    recoloured = not many and c.coloured < limits.colours
    agreeing = max(c.agreeing, c.coarse_agreeing) if redrawn else c.agreeing
    if recoloured or (coincide and agreeing < (limits.template if many else limits.template_few_inliers)):
        return EvidenceKind.SAME_TEMPLATE
    if min(c.copied_query, c.copied_reference) < limits.whole:
        return EvidenceKind.PARTIAL
    identical = (
        upright
        and min(c.overlap_query, c.overlap_reference) >= limits.identical_frame
        and c.agreement >= limits.identical_agreement
        and c.tiled_l2 <= limits.identical_tiled_l2
    )
    return EvidenceKind.NEAR_IDENTICAL if identical else EvidenceKind.EDITED
