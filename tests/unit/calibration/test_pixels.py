"""Compared pixels in a calibration: measured, kept, and asked for by a guard that verifies."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard import ConfigError, Decision, Guard, Policy, fpr
from guard.calibration.calibrate import CalibrationReport, calibrate_index
from guard.calibration.calibrated import Calibrated
from guard.calibration.pixels import NOTHING, Compared, compare_clean
from guard.calibration.rates import Rates
from guard.calibration.record import ComparedPixels
from guard.calibration.sample import Sample
from guard.calibration.strength import in_words, left_to_similarity, strength_keeping
from guard.config import load_config
from guard.indexes.builder import build_index
from guard.indexes.store import open_index
from guard.types import Evidence, EvidenceKind, Match, Record
from guard.verification.examiner import Examiner
from guard.verification.limits import Limits
from guard.verification.verifier import PixelVerifier, identity_of
from guard.verification.weigh import by_pixels
from tests.support.photographs import photograph
from tests.support.pictures_in_memory import InMemory
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()
NAMES = ("astronaut", "chelsea", "coffee", "rocket")
CLEAN = 130


def cropped(name: str, left: int, side: int = 96) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(photograph(name, 256)[20 : 20 + side, left : left + side]))


def clean(copies: int = 0) -> InMemory:
    """Smooth noise and crops of photographs that are in no index; and crops of one that is."""
    strangers = [cropped("camera", 2 * i) for i in range(40)] + [picture(i, 64, 64) for i in range(CLEAN - 40)]
    return InMemory(strangers + [cropped("chelsea", 10 * i, 150) for i in range(copies)])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pixels") / "x.index"
    build_index(InMemory([Image.fromarray(photograph(name, 256)) for name in NAMES]), path, TOY)
    return path


@pytest.fixture(scope="module")
def report(built: Path) -> CalibrationReport:
    return calibrate_index(built, clean=clean(), embedder=TOY, targets=(0.2, 1e-3), candidates=4)


def test_what_pixels_say_is_kept_beside_the_similarities(report: CalibrationReport, built: Path) -> None:
    pixels = report.calibration.pixels
    assert pixels is not None
    assert pixels.verifier == identity_of()
    assert pixels.candidates == 4
    assert pixels.strengths.pictures == pixels.unrefuted.pictures == CLEAN
    assert pixels.strengths.sample.reaching(0.0) == 0
    assert report.copies == ()
    common, rare = pixels.thresholds
    assert (common.rate, common.strength) == (0.2, 0.0)  # none of 130 bounds the rate by 0.028
    assert common.similarity is not None
    kept = {entry.rate: entry.similarity for entry in report.calibration.thresholds}
    assert common.similarity >= kept[0.2]
    assert rare.strength is None
    shown = json.loads(json.dumps(report.to_dict()))
    assert "levels" not in shown["pixels"]["strengths"]
    assert shown["copies_by_pixels"] == []
    index = open_index(built)
    again = Calibrated.of(index, "x.index")
    index.close()
    assert again is not None
    assert again.calibration == report.calibration


def test_copies_among_the_clean_are_named_and_ask_for_stronger_evidence(tmp_path: Path) -> None:
    build_index(InMemory([Image.fromarray(photograph(name, 256)) for name in NAMES]), tmp_path / "x.index", TOY)
    found = calibrate_index(tmp_path / "x.index", clean=clean(9), embedder=TOY, targets=(0.2, 0.06), candidates=4)
    assert len(found.copies) >= 8
    assert {reference for _, reference, _ in found.copies} == {"1.bmp"}  # chelsea
    pixels = found.calibration.pixels
    assert pixels is not None
    assert pixels.strengths.sample.reaching(0.0) == len(found.copies)
    common, rare = pixels.thresholds
    assert common.strength is not None
    assert rare.strength is None or rare.strength > common.strength
    without = calibrate_index(tmp_path / "x.index", clean=clean(9), embedder=TOY, targets=(0.2,), verify=False)
    assert without.calibration.pixels is None


def test_references_are_compared_by_their_thumbnails(tmp_path: Path) -> None:
    pictures = [picture(i, 64, 64) for i in range(110)] + [Image.fromarray(photograph(name, 256)) for name in NAMES]
    pictures += [cropped("coffee", 60, 150)]  # a copy of which no descriptor and no hash knows
    build_index(InMemory(pictures), tmp_path / "x.index", TOY)
    found = calibrate_index(tmp_path / "x.index", targets=(0.2,), candidates=16, workers=1)
    pixels = found.calibration.pixels
    assert pixels is not None
    assert pixels.strengths.pictures == found.calibration.pictures
    assert {frozenset(pair[:2]) for pair in found.copies} == {frozenset({"112.bmp", "114.bmp"})}
    build_index(InMemory(pictures[:110]), tmp_path / "none.index", TOY, thumbnails=0)
    assert calibrate_index(tmp_path / "none.index", targets=(0.2,)).calibration.pixels is None
    with pytest.raises(ConfigError, match="no thumbnails"):
        calibrate_index(tmp_path / "none.index", targets=(0.2,), verify=True)


def opened(path: Path, **settings: object) -> Guard:
    known = {"verify": True, "verify_candidates": 4, "deadline_s": None, "verify_budget_ms": 60_000.0, **settings}
    return Guard.open(path, embedder=TOY, **known)  # type: ignore[arg-type]


def test_a_guard_that_verifies_keeps_the_rate_of_the_whole(report: CalibrationReport, built: Path) -> None:
    guard, plain = (opened(built, policy=Policy(flag=fpr(0.2), block=0.99), verify=on) for on in (True, False))
    pixels = report.calibration.pixels
    assert pixels is not None
    assert guard.rules.others.flag == pytest.approx(pixels.thresholds[0].similarity)
    assert guard.rules.others.flag_strength == 0
    assert plain.rules.others.flag < guard.rules.others.flag
    assert guard.check(np.asarray(cropped("astronaut", 60, 150)))[0].decision is not Decision.ALLOW
    expected = guard.metrics.registry.get_sample_value("memguard_expected_flag_ratio", {"index": "x.index"})
    assert expected is not None
    assert 0 <= expected <= 0.2
    assert guard.calibration is not None
    whole = guard.calibration.whole_rate(guard.rules.others.flag, pixels=ComparedPixels(pixels.verifier, 4))
    assert whole.low <= whole.value <= whole.high
    assert whole.value == pytest.approx(expected)
    rare = opened(built, policy=Policy(flag=fpr(0.2), block=fpr(0.05)))
    assert rare.rules.others.block_strength >= rare.rules.others.flag_strength


def test_a_calibration_that_does_not_know_these_comparisons_is_refused(built: Path, report: CalibrationReport) -> None:
    policy = Policy(flag=fpr(0.2), block=1.0)
    with pytest.raises(ConfigError, match=r"5 candidates are compared, and 4 were"):
        opened(built, policy=policy, verify_candidates=5)
    index = open_index(built)
    try:
        other = PixelVerifier(Limits(inliers=20))
        known = Calibrated.of(index, "x.index")
        assert known is not None
        config = load_config(None, policy=policy, verify=True, verify_candidates=4)
        with pytest.raises(ConfigError, match="the verifier is another one"):
            Guard(index, TOY, config=config, verifier=other, calibration=known)
    finally:
        index.close()
    assert report.calibration.misfits(known.manifest, pixels=ComparedPixels(identity_of(), 3)) == []
    without = report.calibration.model_copy(update={"pixels": None})
    assert without.misfits(known.manifest, pixels=ComparedPixels(identity_of(), 3)) == [
        "pixels are compared now, and were not"
    ]
    assert Calibrated(without, known.manifest, "x").strength(0.2) == math.inf


def test_pixels_that_nobody_must_compare_keep_a_rate_or_only_confirm(
    report: CalibrationReport, built: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With `verify` left open nothing is refused, and no threshold means anything else than it did."""
    common, rare = Policy(flag=fpr(0.2), block=0.99), Policy(flag=fpr(0.05), block=0.99)
    measured = opened(built, policy=common, verify="auto")
    assert measured.config.verify_margin > 0
    assert measured.rules.others == opened(built, policy=common).rules.others
    assert caplog.records == []
    assert measured.check(np.asarray(cropped("astronaut", 60, 150)))[0].decision is not Decision.ALLOW
    for policy, settings, why in (
        (common, {"verify_candidates": 5}, "5 candidates are compared, and 4 were"),
        (rare, {}, "no strength of evidence is known to keep fpr:0.05"),
    ):
        guard, plain = (opened(built, policy=policy, verify=v, **settings) for v in ("auto", False))
        assert (guard.config.verify, guard.config.verify_margin) == (True, 0.0)
        assert guard.rules.of_the_policy == plain.rules.of_the_policy
        assert math.isinf(guard.rules.others.flag_strength)
        copy = guard.check(photograph("coffee", 256))[0]
        assert (copy.decision, copy.verified) == (Decision.BLOCK, True)
        assert copy.matches[0].evidence is not None
        assert [one.levelname for one in caplog.records] == ["WARNING"]
        assert why in caplog.text
        caplog.clear()
    flags, blocks = Policy(flag=0.99, block=1.0), {"policy": {"flag": "fpr:0.05"}}
    guard = opened(built, policy=flags, verify="auto")
    assert guard.config.verify_margin > 0
    assert guard.explain(photograph("camera", 256), options=blocks).uncompared != ""
    without = report.calibration.model_copy(update={"pixels": None})
    with open_index(built) as index:
        known = Calibrated(without, index.manifest, "x.index")
        config = load_config(None, policy=common)
        assert Guard(index, TOY, config=config, calibration=known).config.verify_margin == 0
        assert Guard(index, TOY, config=load_config(None, policy=flags), calibration=known).config.verify_margin > 0


def test_strengths_that_keep_a_rate() -> None:
    rng = np.random.default_rng(0)
    none = Rates(Sample.of(np.full(1000, -np.inf)), None, "nothing was aligned")
    assert strength_keeping(none, 0.01) == 0
    assert strength_keeping(none, 1e-4) == math.inf  # a thousand do not show it
    some = Rates(Sample.of(np.concatenate([rng.uniform(-1, -0.5, 4000), rng.uniform(0.1, 0.3, 40)])), None)
    at = strength_keeping(some, 0.008)
    assert 0.1 < at < 0.3
    assert strength_keeping(some, 0.1) == 0
    assert left_to_similarity(0.01, math.inf) == 0.01
    assert left_to_similarity(0.01, at) == 0.005
    assert in_words(0.0) == "12 inliers with an agreement of 0.40"
    assert in_words(0.25) == "16 inliers with an agreement of 0.55"
    assert in_words(math.inf) == "pixels only confirm"


def test_weak_evidence_needs_the_similarity() -> None:
    evidence = Evidence(EvidenceKind.EDITED, agreement=0.95, strength=0.3)
    one = Match(Record(0, "a.png", ""), 0.5, evidence=evidence)
    assert by_pixels(one, 0.8, 0.0, 0.0, "a.png")[0] is Decision.BLOCK
    assert by_pixels(one, 0.8, 0.0, 0.4, "a.png")[0] is Decision.FLAG
    decision, said = by_pixels(one, 0.8, 0.4, 0.4, "a.png")
    assert decision is Decision.ALLOW
    assert "strength 0.30, and only a strength of 0.40 counts by itself" in said
    assert by_pixels(one, 0.8, math.inf, math.inf, "a.png")[0] is Decision.ALLOW
    assert by_pixels(one, 0.5, math.inf, math.inf, "a.png")[0] is Decision.BLOCK  # the similarity reaches block


def test_a_picture_that_cannot_be_compared_keeps_its_similarity() -> None:
    found = compare_clean(
        Examiner(object()), [photograph("coffee")], np.array([[0, -1]]), np.array([[0.4, -np.inf]], np.float32)
    )
    assert found.strength.tolist() == [NOTHING]
    assert found.unrefuted.tolist() == pytest.approx([0.4])
    strengths, unrefuted = Compared(
        np.array([0.5, NOTHING, 0.2], np.float32), np.array([0.9, 0.4, -np.inf], np.float32), np.zeros(3, np.int64)
    ).samples(np.array([True, False, False]))
    assert (strengths.n, strengths.reaching(0.0)) == (3, 1)
    assert (unrefuted.n, unrefuted.identical, unrefuted.reaching(0.0)) == (3, 1, 2)
