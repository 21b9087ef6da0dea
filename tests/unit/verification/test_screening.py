"""At a glance: which references are worth a comparison, in what order, and how little is looked at for it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from guard.verification import screening
from guard.verification.dense import whole, whole_correlations
from guard.verification.features import Prepared, compacted, mirrored
from guard.verification.screening import LEAST_VOTES, Shortlist, votes
from guard.verification.verifier import FEW_KEYPOINTS, PixelVerifier, SupportsShortlist
from guard.verification.walk import Walk
from tests.support.photographs import photograph

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "immunohistochemistry", "brick", "retina")
OTHERS = [Prepared(photograph(name)) for name in NAMES[1:]]


def page(scale: float = 0.45, flipped: bool = False) -> Prepared:
    """The astronaut on a photograph of the moon, which is in no list."""
    large = photograph("moon", 512).copy()
    small = Image.fromarray(photograph("astronaut", 384)).resize((round(512 * scale),) * 2)
    pasted = np.asarray(small)[:, ::-1] if flipped else np.asarray(small)
    large[60 : 60 + len(pasted), 90 : 90 + len(pasted)] = pasted
    return Prepared(large)


def shortlist(query: Prepared, references: list[Prepared]) -> list[int]:
    return list(Shortlist(query, references, few_keypoints=FEW_KEYPOINTS))


def test_a_part_of_a_page_gets_the_votes_also_in_a_mirror() -> None:
    references = [*OTHERS, Prepared(photograph("astronaut"))]
    for flipped in (False, True):
        counts = votes(page(flipped=flipped), references)
        assert counts.argmax() == len(OTHERS)
        assert counts[-1] >= 2 * LEAST_VOTES
        assert (counts[:-1] < LEAST_VOTES).mean() > 0.7
        assert len(OTHERS) in shortlist(page(flipped=flipped), references)[:3]


def test_duplicates_do_not_take_each_others_votes() -> None:
    astronaut = [Prepared(photograph("astronaut")) for _ in range(4)]
    counts = votes(page(), [*OTHERS, *astronaut])
    assert (counts[-4:] >= LEAST_VOTES).all()


def test_a_whole_copy_comes_first_and_costs_no_keypoints() -> None:
    query, copy = Prepared(photograph("coffee", 300)[:, ::-1].copy()), Prepared(photograph("coffee", 200))
    references = [Prepared(photograph(name)) for name in ("rocket", "camera", "coins", "retina", "brick")] + [copy]
    assert next(iter(Shortlist(query, references, few_keypoints=FEW_KEYPOINTS))) == 5
    assert not any(picture.has_keypoints for picture in (query, *references))


def test_few_references_are_all_compared_and_the_nearest_of_many_always() -> None:
    query = Prepared(photograph("page", 200))
    assert shortlist(query, OTHERS[: screening.FEW_REFERENCES]) == list(range(screening.FEW_REFERENCES))
    chosen = shortlist(query, OTHERS)
    assert 0 in chosen
    assert len(chosen) == len(set(chosen)) <= screening.BY_VOTES + screening.BY_WHOLE + screening.MUTE + 1


def test_pictures_without_keypoints_cannot_be_dismissed_by_votes() -> None:
    plain = [Prepared(np.full((64, 64, 3), level, np.uint8)) for level in (40, 120)]
    references = [*OTHERS[:5], *plain]
    chosen = shortlist(page(), references)
    assert 5 in chosen
    verifier = PixelVerifier()
    assert isinstance(verifier, SupportsShortlist)
    walk = Walk(verifier, page(), references)
    compared = list(walk.order())
    dismissed = dict(walk.dismissed())
    assert sorted([*compared, *dismissed]) == list(range(len(references)))
    assert all(evidence.keypoints is not None and not evidence.is_copy for evidence in dismissed.values())


def test_out_of_time_leaves_the_rest_unseen() -> None:
    references = [Prepared(photograph(name)) for name in NAMES[1:]]
    left = [2]

    def in_time() -> bool:
        left[0] -= 1
        return left[0] >= 0

    walk = Walk(PixelVerifier(), page(), references, in_time)
    seen = [*walk.order(), *(i for i, _ in walk.dismissed())]
    assert set(seen) == {0, 1}
    assert sum(reference.has_keypoints for reference in references) == 2


def test_a_glance_at_whole_frames_is_what_the_comparison_finds() -> None:
    query = Prepared(np.ascontiguousarray(np.rot90(photograph("coins", 300))))
    expected = [whole(query, reference).correlation for reference in OTHERS]
    np.testing.assert_allclose(whole_correlations(query, OTHERS), expected, atol=1e-5)


def test_compact_rows_are_unit_and_keep_what_is_alike() -> None:
    keypoints = OTHERS[0].keypoints
    rows = keypoints.unit_rows()
    compact = compacted(rows)
    np.testing.assert_allclose(np.linalg.norm(compact, axis=1), 1, atol=1e-5)
    assert keypoints.compact().shape == (len(keypoints), 32)
    assert keypoints.compact() is keypoints.compact()
    full, slow = rows @ rows.T, compact @ compact.T
    assert np.corrcoef(full.ravel(), slow.ravel())[0, 1] > 0.9
    np.testing.assert_allclose(compacted(mirrored(mirrored(rows))), compact, atol=1e-6)
