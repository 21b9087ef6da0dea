"""What every verifier promises. A subclass says how to build one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from guard.types import Evidence, EvidenceKind
from guard.verification.verifier import Verifier
from tests.support.photographs import photograph

PAIRS = (("astronaut", "astronaut"), ("coffee", "astronaut"), ("chelsea", "coffee"))


class VerifierContract:
    def build(self) -> Verifier:
        raise NotImplementedError

    @pytest.fixture
    def verifier(self) -> Verifier:
        return self.build()

    def test_it_is_one(self, verifier: Verifier) -> None:
        assert isinstance(verifier, Verifier)

    def test_a_picture_shows_itself(self, verifier: Verifier) -> None:
        evidence = verifier.verify(photograph("chelsea", 320), photograph("chelsea"))
        assert evidence.kind is EvidenceKind.NEAR_IDENTICAL
        assert evidence.copied_area_query > 0.95
        assert evidence.copied_area_reference > 0.95
        assert evidence.transform is not None
        np.testing.assert_allclose(evidence.transform, [1, 0, 0, 0, 1, 0], atol=0.01)

    def test_another_picture_is_no_copy(self, verifier: Verifier) -> None:
        assert not verifier.verify(photograph("chelsea"), photograph("coffee")).is_copy

    def test_a_crop_is_partial(self, verifier: Verifier) -> None:
        reference = photograph("astronaut")
        evidence = verifier.verify(np.ascontiguousarray(reference[20:150, 60:190]), reference)
        assert evidence.kind is EvidenceKind.PARTIAL
        assert evidence.copied_area_query > 0.9
        assert evidence.copied_area_reference == pytest.approx(130 * 130 / (256 * 256), abs=0.03)

    def test_values_keep_their_ranges(self, verifier: Verifier) -> None:
        for query, reference in PAIRS:
            e = verifier.verify(photograph(query, 320)[:150], photograph(reference))
            assert isinstance(e, Evidence)
            for share in (e.copied_area_query, e.copied_area_reference, e.agreement):
                assert 0 <= share <= 1
            assert e.inliers >= 0
            assert e.tiled_l2 is None or 0 <= e.tiled_l2 <= 1
            assert (e.transform is None) == (e.mask is None) == (e.tiled_l2 is None)
            assert json.loads(json.dumps(e.to_dict()))["kind"] == e.kind.value

    def test_sizes_may_differ(self, verifier: Verifier) -> None:
        large = photograph("astronaut", 512)
        for side in (96, 160, 256):
            assert verifier.verify(large, photograph("astronaut", side)).is_copy
            assert verifier.verify(photograph("astronaut", side), large).is_copy

    def test_prepared_pictures_give_the_same(self, verifier: Verifier) -> None:
        for query, reference in PAIRS:
            q, r = photograph(query)[30:200], photograph(reference)
            prepared = verifier.prepare(q), verifier.prepare(r)
            assert verifier.verify(*prepared) == verifier.verify(q, r) == verifier.verify(*prepared)

    def test_pictures_are_not_written_to(self, verifier: Verifier) -> None:
        query, reference = photograph("coffee").copy(), photograph("astronaut").copy()
        verifier.verify(query, reference)
        np.testing.assert_array_equal(query, photograph("coffee"))
        np.testing.assert_array_equal(reference, photograph("astronaut"))

    def test_threads_do_not_disturb_one_another(self, verifier: Verifier) -> None:
        reference = verifier.prepare(photograph("astronaut"))
        crops = [np.ascontiguousarray(photograph("astronaut")[y : y + 150, y : y + 150]) for y in range(0, 90, 15)]
        alone = [verifier.verify(crop, photograph("astronaut")) for crop in crops]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda crop: verifier.verify(crop, reference), crops))
        assert together == alone
