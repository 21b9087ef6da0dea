"""Every threshold behind the kinds of evidence, each with its reason. Knows no comparison.

They come from pairs of procedural and public pictures; an index whose pictures resemble one another more than those
(X-rays, faces in one pose) needs its own, by calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

from guard.errors import ConfigError

__all__ = ["COUNTS", "Limits"]

COUNTS = frozenset(
    {
        "inliers",
        "inliers_many",
        "inliers_apart",
        "inliers_kept",
        "inliers_kept_apart",
        "inliers_kept_few",
        "some_inliers",
        "keypoints_simple",
        "structure",
        "structure_alone",
        "structure_moved",
        "structure_toned",
        "structure_repeating",
    }
)


@dataclass(frozen=True, slots=True)
class Limits:
    """All bounds are inclusive: what reaches one, has it."""

    inliers: int = 12
    """Matched keypoints, one a cell, from which they count as a find of their own; look-alike facades and X-rays of
    different people reach 8."""
    agreement_with_inliers: float = 0.40
    """Structural agreement that the pixels must then have: the keypoints may all lie on a logo or a frame. Scans of
    chests under several edits keep 0.44."""
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
    inliers_apart: int = 40
    """Needed where the overlap is the whole of neither picture: two places of one fractal reach 29, and two scenes with
    one rock 37."""
    agreement_any_colours: float = 0.85
    """With fewer of them, and no less than inliers, the same from this agreement."""
    same_frame: float = 0.8
    """Share of either picture that the overlap covers where both frames coincide."""
    whole_few: float = 0.9
    """Share of one of them that it must cover with fewer than inliers_many; two places of one fractal reach 0.82."""
    whole_many: float = 0.85
    """The same with fewer than inliers_apart; a facade under several edits keeps 0.86."""
    template: float = 0.68
    """Share of the reference's structure that must agree in coinciding frames; less of it is one layout with other
    content. Photographs under stickers keep 0.69."""
    template_steady: float = 0.5
    """The same where that structure is steady: a picture under another one."""
    template_few_inliers: float = 0.82
    """The same below inliers_many: flags that share a canton reach 0.77 (and one pair 0.81), and emblems within one
    ring 0.81."""
    template_rough: float = 0.87
    """The same where the detail is less than that which fewer inliers need: scans of one spine with other organs reach
    0.84, with a detail of 0.51."""
    crisp: float = 0.86
    """Correlation that three quarters of the agreeing windows must have, with some_inliers: what an overlay leaves is
    as it was, and what a drawing shares with another of the same layout mostly is not. Other signs: see
    `classify._kept`."""
    steady: float = 0.88
    """Share of the reference's structure that is drawn in one strength, with inliers_kept_apart: it lies under another
    picture, or under noise. Drawings of one layout with so many inliers reach 0.86."""
    kept_coarse: float = 0.92
    """Share of the reference's structure that agrees after a stronger blur, with coarse_agreement and inliers: all of
    it was redrawn or bent, and no part is another."""
    kept_coarse_alone: float = 0.97
    """The same with fewer inliers; chests of one outline reach 0.95."""
    coarse_agreement_alone: float = 0.895
    """As coarse_agreement, with fewer than some_inliers: one drawing in other colours under noise, and a disc of noise,
    reach 0.893."""
    inliers_kept: int = 40
    """Matched keypoints, one a cell; drawings of one layout reach 36."""
    inliers_kept_apart: int = 25
    """The same where the frames do not coincide: what shares a layout shares its frame, and a crop, a turn or a page
    does not."""
    inliers_kept_few: int = 20
    """As inliers_kept where they are inliers_share of the keypoints."""
    inliers_share: float = 0.25
    """Of the picture with fewer; drawings of one layout reach 0.23, or lie on one and the same texture."""
    whole: float = 0.6
    """Share of the reference that is shown, and of the query that shows it; less of either is a part."""
    repetition: float = 0.85
    """Share of its structure that a picture shows in another place too, mean of both pictures, from which they repeat
    themselves: what agrees then agrees with the pattern, and with fewer inliers than inliers_many it takes more."""
    telling: float = 0.2
    """Of what they show in one place only, the share that may be missing, in structure and in colours: of lattices with
    other marks more is."""
    telling_nothing: float = 0.04
    """If they show no more than this in one place only, nothing tells one place from another: stripes."""
    agreement_repeating: float = 0.95
    """Agreement that also does, with the next two: patterns of one pitch reach 0.92."""
    colours_repeating: float = 0.95
    """As colours; other marks on one lattice reach 0.98 in agreement, and 0.949 here."""
    still: float = 0.01
    """How far a corner may be moved, in shares of the sides, but for flips and quarter turns: stripes are stretched
    onto others and agree by 0.99, and the next place of a lattice may be as near as 0.02."""
    repetition_plain: float = 0.6
    """As repetition with less structure than the next and fewer than `inliers`: two bars that cross are shown elsewhere
    by 0.6 to 0.84, and lie on any other two when enlarged, by 0.995."""
    structure_repeating: float = 130.0
    agreement_plain: float = 0.85
    """Agreement that then does, if no corner is moved by more than `still`; bars of another width reach 0.74."""
    keypoints_simple: int = 35
    """Of a reference that tells little: with fewer, moved by more than `still` and without some_inliers, it takes one
    of the next two. Scans of one outline have 11 to 34, photographs of things 68 and more."""
    agreement_simple: float = 0.95
    """As agreement; those scans reach 0.91, and a face that a crop shows without what differs 0.944."""
    agreeing_simple: float = 0.985
    """As agreeing_moved; a cross in a corner of another one reaches 0.98."""
    structure_moved: float = 32.0
    """As structure, of what was moved by more than `still` and has fewer than `inliers`, or inliers_kept in coinciding
    frames: a hill lies on another hill, bent, by 29."""
    detail_moved: float = 0.72
    """As detail, of the same; other things on one table reach 0.71 with 18 inliers, and other marks over one mesh 0.67
    with 28. Or what follows is reached, or kept_coarse with inliers."""
    agreeing_moved: float = 0.91
    """Share of the reference's structure that agrees; those scans reach 0.89."""
    colours_moved: float = 0.85
    """As colours, of the same below agreement_alone: rays in other colours reach 0.846 on others, bent."""
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
