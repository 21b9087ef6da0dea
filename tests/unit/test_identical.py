"""PDQ beside the descriptor, through a real index with hashes: what it finds, counts as, and never costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from guard import Decision, Guard, GuardConfig, Status
from guard.identical import SupportsHashes, hash_images
from guard.indexes.builder import build_index
from guard.indexes.store import OpenIndex, open_index
from guard.pixels import ImageBatch, to_batch
from guard.types import Descriptors
from tests.support.references import photo_folder
from tests.support.toys import ToyEmbedder, picture
from tests.support.waiting import WAIT_S


class ColourEmbedder(ToyEmbedder):
    """Sees nothing but the colours: blind to the brightness that PDQ sees, as a network may be to something."""

    def embed(self, batch: ImageBatch) -> Descriptors:
        colours = [np.array(Image.fromarray(array).convert("YCbCr")) for array in batch.as_arrays()]
        for array in colours:
            array[:, :, 0] = 128
        return super().embed(ImageBatch(arrays=tuple(colours)))


COLOUR = ColourEmbedder()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("identical")
    build_index(photo_folder(root / "photos", 12), root / "x.index", COLOUR, thumbnails=0)
    return root / "x.index"


@pytest.fixture
def index(path: Path) -> Iterator[OpenIndex]:
    with open_index(path) as opened:
        yield opened


def make_guard(index: Any, **settings: Any) -> Guard:
    return Guard(index, COLOUR, config=GuardConfig.model_validate({"deadline_s": WAIT_S, **settings}))


def hidden(seed: int, colours: int = 500) -> Image.Image:
    """Picture `seed` in the colours of another one: identical for PDQ, a stranger for ColourEmbedder."""
    brightness = picture(seed).convert("L").point(lambda level: 64 + level // 2)
    pale = [
        band.point(lambda level: 128 + (level - 128) // 3) for band in picture(colours).convert("YCbCr").split()[1:]
    ]
    return Image.merge("YCbCr", (brightness, *pale)).convert("RGB")


def test_what_the_descriptor_misses_is_blocked_with_the_reason(index: OpenIndex) -> None:
    assert isinstance(index, SupportsHashes)
    assert make_guard(index, policy={"identical": "ignore"}).check([hidden(4)])[0].decision is Decision.ALLOW
    verdict = make_guard(index, top_k=1).check([hidden(4), picture(90)])[0]
    assert verdict.decision is Decision.BLOCK
    top = verdict.matches[0]
    assert (top.record.uri, len(verdict.matches)) == ("0004.jpg", 1)
    assert top.bits is not None
    assert 0 < top.bits <= 31
    assert verdict.reasons == (
        f"PDQ: {top.bits} of 256 bits differ from 0004.jpg (training), at most 31 count as identical",
    )
    own = float((COLOUR.embed(to_batch(hidden(4))) @ COLOUR.embed(to_batch(picture(4))).T)[0, 0])
    assert top.similarity == pytest.approx(own, abs=0.05)  # the descriptor's, though it did not return it; JPEG differs
    assert verdict.to_dict()["matches"][0]["pdq_bits"] == top.bits


@pytest.mark.parametrize("backend", ["faiss", "torch"])
@pytest.mark.parametrize("view", range(8))
def test_flips_and_turns_are_found_by_each_backend(path: Path, view: int, backend: Any) -> None:
    array = np.rot90(np.asarray(picture(4)), view % 4)
    turned = np.ascontiguousarray(array[:, ::-1] if view >= 4 else array)
    with open_index(path, backend=backend) as index:
        verdict = make_guard(index).check([turned])[0]
        assert (verdict.matches[0].record.id, verdict.decision) == (4, Decision.BLOCK)
        assert verdict.matches[0].bits is not None


def test_what_it_counts_as(index: OpenIndex) -> None:
    guard = make_guard(index, policy={"identical": "flag"})
    assert guard.check([hidden(4)])[0].decision is Decision.FLAG
    assert guard.check([picture(4)])[0].decision is Decision.BLOCK  # by the descriptor
    options = {"policy": {"identical": "block"}}
    assert guard.check([hidden(4)], options=options)[0].decision is Decision.BLOCK


def test_tensors_and_batches_agree(index: OpenIndex) -> None:
    guard = make_guard(index)
    images = [hidden(4), picture(90), hidden(7)]
    tensor = torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).float() / 255
    for form in (images, tensor):
        report = guard.check(form)
        assert [v.decision for v in report] == [Decision.BLOCK, Decision.ALLOW, Decision.BLOCK]
        assert [v.matches[0].record.id for v in (report[0], report[2])] == [4, 7]


def test_the_callers_own_input_is_told_apart_by_the_same_measure(index: OpenIndex) -> None:
    guard = make_guard(index)
    echoed = guard.check([hidden(4)], inputs=[hidden(4)])[0]
    assert echoed.decision is Decision.ALLOW
    assert "echoes the caller's own input (PDQ: 0 bits)" in echoed.reasons[1]
    assert guard.check([hidden(4)], inputs=[hidden(4)], options={"own_input": "flag"})[0].decision is Decision.FLAG
    assert guard.check([hidden(4)], inputs=[hidden(4)], options={"own_input": "ignore"})[0].decision is Decision.BLOCK
    # an input that the descriptor takes for the output, and PDQ does not, excuses nothing
    other = guard.check([hidden(4)], inputs=[hidden(60)])[0]
    assert other.input_similarity is not None
    assert other.input_similarity > 0.8
    assert other.decision is Decision.BLOCK


def test_a_picture_without_detail_or_too_small_for_pdq_gets_its_verdict(index: OpenIndex) -> None:
    flat, tiny = Image.new("RGB", (64, 64), (90, 120, 150)), picture(5, 16, 16)
    report = make_guard(index).check([flat, tiny, hidden(4)])
    assert [v.status for v in report] == [Status.SUCCESS] * 3
    assert report[0].matches[0].bits is None
    assert report[2].decision is Decision.BLOCK


def test_an_image_that_cannot_be_hashed_costs_no_other_its_hash() -> None:
    good = np.asarray(picture(4))
    batch = ImageBatch(arrays=(good, np.zeros((64, 64), np.uint8), good))
    hashed = hash_images(batch)
    assert hashed.usable.tolist() == [True, False, True]
    np.testing.assert_array_equal(hashed.vectors[0], hash_images(to_batch(good)).vectors[0])
    assert not hashed.vectors[1].any()


def test_an_index_without_hashes_is_as_before(tmp_path: Path) -> None:
    build_index(photo_folder(tmp_path / "p", 5), tmp_path / "x.index", COLOUR, hashes=False)
    with open_index(tmp_path / "x.index") as index:
        verdict = make_guard(index).check([hidden(4)])[0]
        assert (verdict.decision, verdict.matches[0].bits) == (Decision.ALLOW, None)


def test_similarity_to_given_references_is_that_of_a_search(index: OpenIndex) -> None:
    xq = COLOUR.embed(to_batch([picture(3), picture(80)]))
    found = index.search(xq, 12)
    for row in range(2):
        given = index.similarity(xq, found.ids[row].tolist())[row]
        np.testing.assert_allclose(given, found.similarity[row], atol=1e-6)
