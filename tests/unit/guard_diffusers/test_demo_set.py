"""The demo's training set: what is planted how often, and that nothing else comes close."""

from __future__ import annotations

import numpy as np
import pytest

from guard_diffusers.demo.pictures import PLANTED, SIZE
from guard_diffusers.demo.procedural import FAMILIES, card, draw
from guard_diffusers.demo.trainingset import MIN_RMS, PROCEDURAL, VARIANTS, rms, training_set
from guard_diffusers.demo.truth import copy_bound, is_copy, planted_items

FROZEN_MEANS = [186.038, 155.008, 65.815, 100.397]  # of seeds 0, 7, 100, 1234


def test_the_set_is_what_the_docs_say() -> None:
    items = training_set()
    assert len(items) == len(PLANTED) + VARIANTS + PROCEDURAL
    assert PROCEDURAL >= 2000
    assert VARIANTS == 12
    assert sorted({item.copies for item in items}) == [1, 4, 16, 64, 256]
    assert all(item.picture.shape == (SIZE, SIZE, 3) and item.picture.dtype == np.uint8 for item in items)
    assert len({item.name for item in items}) == len(items)
    assert len({item.picture.tobytes() for item in items}) == len(items)


def test_no_other_training_picture_is_near_a_planted_one() -> None:
    items = training_set()
    for item in planted_items():
        others = np.stack([other.picture for other in items if other is not item])
        assert rms(others, item.picture).min() > MIN_RMS, item.name


def test_every_count_has_several_pictures_that_can_be_judged() -> None:
    judged = {item.name: item.copies for item in planted_items()}
    assert {p.name for p in PLANTED} - {name.removeprefix("planted/") for name in judged} == {"hubble"}
    for k in (1, 4, 16, 64, 256):
        assert sum(copies == k for copies in judged.values()) >= 2


def test_drawings_are_frozen() -> None:
    """The shipped weights were trained on exactly these."""
    means = [float(draw(seed).picture.mean()) for seed in (0, 7, 100, 1234)]
    assert means == pytest.approx(FROZEN_MEANS, abs=0.05)
    assert draw(3).caption == draw(3).caption
    assert len(FAMILIES) == 12
    assert not np.array_equal(card(0).picture, card(1).picture)


def test_rms_is_the_published_distance() -> None:
    black, white = np.zeros((1, 2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert rms(black, white).tolist() == [1.0]
    half = white.copy()
    half[0] = 0
    assert rms(half, white) == pytest.approx(np.sqrt(0.5))


def test_a_copy_is_judged_by_both_criteria() -> None:
    item = planted_items()[0]
    bound = copy_bound(item)
    assert 0.05 < bound <= 0.15
    noisy = np.clip(item.picture.astype(int) + 20, 0, 255).astype(np.uint8)
    stranger = draw(5).picture
    assert is_copy(np.stack([item.picture, noisy, stranger]), item, bound).tolist() == [True, True, False]


def test_captions_fit_the_text_encoder() -> None:
    from guard_diffusers.demo.tokens import MAX_TOKENS, build_tokenizer, token_ids

    captions = [item.caption for item in training_set()]
    tokenizer = build_tokenizer(captions)
    ids = token_ids(tokenizer, captions)
    assert ids.shape == (len(captions), MAX_TOKENS)
    used = (ids != tokenizer.eos_token_id).sum(1)
    assert int(used.max()) < MAX_TOKENS - 1  # nothing is cut off
    words = {word for caption in captions for word in caption.split()}
    assert all(len(tokenizer.tokenize(word)) == 1 for word in words)
