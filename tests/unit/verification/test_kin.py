"""Related pictures that pixels once took for copies of one another; one of each sort that a rule was made for."""

from __future__ import annotations

import pytest

from guard.training.generators import Kin, kindred
from guard.verification.verifier import PixelVerifier

VERIFIER = PixelVerifier()
PROGRAMS = {
    "one layout, other colours": (1218613084212, Kin.VARIANT),
    "two corners of one pattern": (1235390300327, Kin.SIBLING),
    "curves drawn alike": (1245456629761, Kin.VARIANT),
    "a cross, enlarged": (1252167516282, Kin.SIBLING),
    "a cross whose field has other sides": (1325987266704, Kin.SIBLING),
    "two places of a fractal": (1253845237945, Kin.SIBLING),
    "two places of a fractal, many keypoints": (1304176885784, Kin.SIBLING),
    "hills, bent": (1257200680974, Kin.VARIANT),
    "scans of one spine": (1260556124165, Kin.VARIANT),
    "smooth scans of one outline": (1322631823419, Kin.VARIANT),
    "discs of noise": (1322631823402, Kin.VARIANT),
    "rays in other colours": (1341086760986, Kin.SIBLING),
    "marks on one lattice, drawn otherwise": (1339409039406, Kin.SIBLING),
    "other marks over one mesh": (1331020431384, Kin.VARIANT),
}


@pytest.mark.parametrize("sort", PROGRAMS)
def test_kin_are_no_copies(sort: str) -> None:
    program, kin = PROGRAMS[sort]
    pictures = kindred(program, 256)
    evidence = VERIFIER.verify(pictures[kin], pictures[Kin.FIRST])
    assert not evidence.is_copy, evidence
    assert VERIFIER.verify(pictures[Kin.FIRST], pictures[Kin.FIRST]).is_copy
