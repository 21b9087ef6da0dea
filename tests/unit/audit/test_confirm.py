from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard.audit.confirm import Confirmer, Criterion, Rule
from guard.audit.distance import rms_between
from guard.errors import ConfigError
from guard.indexes.store import OpenIndex, open_index
from guard.pixels import RGBArray
from guard.types import EvidenceKind, Match
from guard.verification.verifier import PixelVerifier
from tests.support.audits import SIDE, training_pictures, write_training_index
from tests.support.toys import ToyEmbedder, picture

SIZE = (SIDE, SIDE)
PICTURES = training_pictures(70)
DUPLICATED = "caption 3"
PLAIN = "plain"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIndex]:
    """70 pictures, one of them 30 times, and one that is nearly black."""
    night = np.full((*SIZE, 3), 6, np.uint8)
    night[10:14, 20:23] = 90
    path = write_training_index(tmp_path_factory.mktemp("confirm"), {**PICTURES, PLAIN: night}, copies={DUPLICATED: 30})
    with open_index(path) as opened:
        yield opened


def noisy(pixels: RGBArray, sigma: float) -> RGBArray:
    return (pixels + np.random.default_rng(0).normal(0, sigma, pixels.shape)).clip(0, 255).round().astype(np.uint8)


def test_a_copy_is_memorised(index: OpenIndex) -> None:
    confirmer = Confirmer(index, ToyEmbedder(), SIZE, verifier=PixelVerifier())
    found = confirmer.confirm(noisy(PICTURES["caption 7"], 8))
    assert found is not None
    assert (found.record.caption, found.memorised, found.near, found.plain) == ("caption 7", True, True, False)
    assert 0.01 < found.l2 < 0.06
    assert found.tiled_l2 >= found.l2
    assert found.neighbours == 50
    assert found.likeness is not None
    assert found.likeness.agrees
    assert found.likeness.similarity > 0.9
    assert found.likeness.similar.record.id == found.record.id
    assert found.likeness.evidence is not None
    assert found.likeness.evidence.kind is EvidenceKind.NEAR_IDENTICAL


def test_another_picture_is_not(index: OpenIndex) -> None:
    found = Confirmer(index, ToyEmbedder(), SIZE).confirm(np.array(picture(9_999)))
    assert found is not None
    assert (found.memorised, found.near, found.likeness) == (False, False, None)
    assert found.ratio is not None
    assert found.ratio > 1


def test_the_ratio_is_that_of_the_paper(index: OpenIndex) -> None:
    """Of a picture in the set once: its distance over half of the mean distance to the 50 nearest others."""
    confirmer, query = Confirmer(index, ToyEmbedder(), SIZE), noisy(PICTURES["caption 7"], 20)
    found = confirmer.confirm(query)
    _, everything = confirmer.references.pixels(sorted(set(confirmer._first.values())))
    distances = np.sort(rms_between(query[None], everything)[0])
    assert found is not None
    assert found.ratio == pytest.approx(distances[0] / (0.5 * distances[1:51].mean()), rel=1e-4)


def test_duplicates_do_not_stand_in_each_others_way(index: OpenIndex) -> None:
    """Thirty equal neighbours would make the mean distance that of the picture itself, and the ratio two."""
    found = Confirmer(index, ToyEmbedder(), SIZE).confirm(noisy(PICTURES[DUPLICATED], 8))
    assert found is not None
    assert found.ratio is not None
    assert found.ratio < 0.5
    assert found.memorised
    assert found.record.id == min(r.id for r in index.reader.all() if r.caption == DUPLICATED)


def test_a_picture_that_one_colour_passes_for_confirms_nothing(index: OpenIndex) -> None:
    found = Confirmer(index, ToyEmbedder(), SIZE).confirm(np.full((*SIZE, 3), 7, np.uint8))
    assert found is not None
    assert (found.record.caption, found.near, found.plain, found.memorised) == (PLAIN, True, True, False)


def test_colours_in_places_are_not_enough(index: OpenIndex) -> None:
    """Within 0.15 of a picture and far from all others, with none of its structure."""
    reference = PICTURES["caption 11"]
    mean = reference.mean(axis=(0, 1))
    flat = (reference * 0.25 + mean * 0.75).clip(0, 255).astype(np.uint8)  # nearly its mean colour
    blurred = np.roll(flat, 24, axis=1)  # and what is left stands elsewhere
    for criterion, memorised in ((Criterion.L2, True), (Criterion.AGREED, False)):
        rule = Rule(criterion, delta=0.5)
        found = Confirmer(index, ToyEmbedder(), SIZE, rule=rule, verifier=PixelVerifier()).confirm(blurred)
        assert found is not None
        assert found.memorised is (memorised and not found.plain)


def test_criteria() -> None:
    both, l2, adaptive = (Rule(c) for c in (Criterion.BOTH, Criterion.L2, Criterion.ADAPTIVE))
    for distance, ratio, expected in (
        (0.15, 0.99, (True, True, True)),
        (0.151, 0.99, (False, False, True)),
        (0.15, 1.0, (False, True, False)),
        (0.1, None, (False, True, False)),
    ):
        assert tuple(rule.near(distance, ratio) for rule in (both, l2, adaptive)) == expected


def test_copies_among_generations(index: OpenIndex) -> None:
    confirmer = Confirmer(index, ToyEmbedder(), SIZE)
    mine = PICTURES["caption 7"]
    found = confirmer.confirm(noisy(mine, 8))
    assert found is not None
    generations = np.stack([mine, noisy(mine, 20), np.array(picture(9_999)), PICTURES["caption 8"]])
    assert confirmer.copies(generations, found).tolist() == [True, True, False, False]


def test_something_must_be_able_to_agree(index: OpenIndex) -> None:
    silent = ToyEmbedder(thresholds=None)
    with pytest.raises(ConfigError, match="nothing can agree"):
        Confirmer(index, silent, SIZE)
    assert Confirmer(index, silent, SIZE, rule=Rule(Criterion.BOTH)).similarity is None
    assert Confirmer(index, silent, SIZE, rule=Rule(similarity=0.5)).similarity == 0.5


def test_beyond_the_exhaustive_size_candidates_come_by_descriptor(index: OpenIndex, tmp_path: Path) -> None:
    confirmer = Confirmer(index, ToyEmbedder(), SIZE)
    query = noisy(PICTURES[DUPLICATED], 8)
    wide = confirmer.confirm(query)
    confirmer.exhaustive = False
    narrow = confirmer.confirm(query)
    assert wide is not None
    assert narrow is not None
    assert (narrow.record, narrow.l2, narrow.memorised) == (wide.record, wide.l2, True)
    assert narrow.neighbours == 50


LARGE = training_pictures(8, 128)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIndex]:
    path = write_training_index(tmp_path_factory.mktemp("large"), LARGE)
    with open_index(path) as opened:
        yield opened


def shown_elsewhere(how: str) -> RGBArray:
    image = Image.fromarray(noisy(LARGE["caption 7"], 6))
    shown = {
        "mirrored": image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "cut": image.crop((16, 8, 120, 112)).resize((128, 128)),
        "stretched": image.crop((0, 20, 128, 108)).resize((128, 128)),
    }
    return np.asarray(shown[how])


@pytest.mark.parametrize("how", ["mirrored", "cut", "stretched"])
def test_a_copy_that_lies_elsewhere_is_memorised(large: OpenIndex, how: str) -> None:
    """Training flips and cuts pictures at random, and models draw them so: in their places nothing is near."""
    anything = Rule(similarity=-1.0)  # the toy's descriptors know no mirror images
    confirmer = Confirmer(large, ToyEmbedder(), (128, 128), rule=anything, verifier=PixelVerifier())
    confirmer._similar = lambda _: Match(large.records([7])[0], 0.0)  # type: ignore[method-assign]
    generation = shown_elsewhere(how)
    found = confirmer.confirm(generation, likeness=True)
    assert found is not None
    assert (found.record.caption, found.memorised, found.moved, found.near) == ("caption 7", True, True, False)
    assert found.l2 < 0.1
    assert found.likeness is not None
    assert found.likeness.evidence is not None
    assert found.likeness.evidence.mirrored is (how == "mirrored")
    generations = np.stack([generation, noisy(generation, 10), np.array(picture(9_999, 128, 128)), LARGE["caption 3"]])
    assert confirmer.copies(generations, found).tolist() == [True, True, False, False]


def test_what_lies_elsewhere_needs_descriptors_pixels_and_the_default_rule(large: OpenIndex) -> None:
    mirrored = shown_elsewhere("mirrored")
    for rule, verifier in (
        (Rule(similarity=1.1), PixelVerifier()),  # unlike by descriptor
        (Rule(similarity=-1.0), None),
        (Rule(Criterion.BOTH), PixelVerifier()),  # as published
        (Rule(similarity=-1.0, delta=0.001), PixelVerifier()),
    ):
        found = Confirmer(large, ToyEmbedder(), (128, 128), rule=rule, verifier=verifier).confirm(mirrored)
        assert found is not None
        assert (found.memorised, found.moved) == (False, False)
