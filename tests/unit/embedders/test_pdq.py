"""PDQ: bits and cosines, dihedral views, the quality gate, small and large pictures."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pdqhash
import pytest
from PIL import Image

from guard.embedders.pdq import BITS, BLOCK_BITS, FLAG_BITS, SIDE, VIEWS, PdqEmbedder, bits_to_similarity
from guard.pixels import RGBArray, to_batch
from tests.support.toys import picture

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png")
EVAL = Path(__file__).resolve().parents[4] / "shared" / "eval"  # beside the checkout

TRANSFORMS = (  # in the order of pdq.VIEWS
    lambda a: a,
    lambda a: np.rot90(a, 1),
    lambda a: np.rot90(a, 2),
    lambda a: np.rot90(a, 3),
    lambda a: a[::-1],
    lambda a: a[:, ::-1],
    lambda a: a.transpose(1, 0, 2),
    lambda a: np.rot90(a, 2).transpose(1, 0, 2),
)


@pytest.fixture(scope="module")
def embedder() -> PdqEmbedder:
    return PdqEmbedder()


def photograph(name: str, size: tuple[int, int] | None = None) -> Image.Image:
    """A real picture that scikit-image ships; noise would sit at the median of every frequency."""
    with Image.open(Path(find_spec("skimage").origin).parent / "data" / name) as image:
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS) if size else image.convert("RGB")


def bits_apart(a: np.ndarray, b: np.ndarray) -> int:
    return int((a != b).sum())


def test_cosine_is_hamming(embedder: PdqEmbedder) -> None:
    rows = embedder.embed(to_batch([picture(seed) for seed in range(6)]))
    assert embedder.spec.metric == "hamming"
    assert set(np.unique(rows).tolist()) == {-1 / 16, 1 / 16}
    hamming = (rows[:, None] != rows[None]).sum(axis=2)
    np.testing.assert_array_equal(rows @ rows.T, 1 - 2 * hamming / BITS)  # exactly


def test_thresholds_are_the_published_31_bits_and_a_looser_flag(embedder: PdqEmbedder) -> None:
    thresholds = embedder.spec.thresholds
    assert thresholds is not None
    assert thresholds.block == bits_to_similarity(BLOCK_BITS) == 1 - 62 / 256 == pytest.approx(0.7578, abs=1e-4)
    assert thresholds.flag == bits_to_similarity(FLAG_BITS) < thresholds.block
    assert "1,057" in thresholds.source


def test_bits_are_pdqhashs_own_of_the_small_picture(embedder: PdqEmbedder) -> None:
    image = picture(2, SIDE, SIDE)  # needs no resize
    bits, _ = pdqhash.compute(np.asarray(image))
    np.testing.assert_array_equal(embedder.embed(to_batch(image))[0] > 0, bits.astype(bool))


@pytest.mark.parametrize("size", [(64, 64), (48, 48), (200, 300), (512, 512), (701, 499)])
def test_views_are_the_flips_and_turns(embedder: PdqEmbedder, size: tuple[int, int]) -> None:
    array = np.asarray(photograph("astronaut.png", size))
    views = embedder.embed_query(to_batch(array)).vectors[0]
    assert views.shape == (VIEWS, BITS)
    for i, transform in enumerate(TRANSFORMS):
        turned = embedder.embed(to_batch(np.ascontiguousarray(transform(array))))[0]
        assert bits_apart(views[i], turned) <= 4, i
        others = [bits_apart(views[j], turned) for j in range(VIEWS) if j != i]
        assert min(others) > FLAG_BITS, i


def test_flat_pictures_are_not_usable(embedder: PdqEmbedder) -> None:
    flat = Image.new("RGB", (100, 100), (90, 120, 150))
    ramp = Image.fromarray(np.tile(np.linspace(0, 40, 256, dtype=np.uint8)[:, None, None], (1, 256, 3)))
    assert embedder.embed_query(to_batch([flat, picture(1), ramp])).usable.tolist() == [False, True, False]


@pytest.mark.parametrize("small", [32, 48, 64, 128, 256])
def test_size_costs_few_bits(embedder: PdqEmbedder, small: int) -> None:
    for name in PHOTOGRAPHS:
        large = photograph(name)
        a, b = embedder.embed(to_batch([large, large.resize((small, small), Image.Resampling.LANCZOS)]))
        assert bits_apart(a, b) <= 8


@pytest.mark.parametrize("size", [(16, 16), (16, 2000), (3000, 17), (33, 31)])
def test_extreme_sizes_work(embedder: PdqEmbedder, size: tuple[int, int]) -> None:
    assert embedder.embed_query(to_batch(picture(1, *size))).vectors.shape == (1, VIEWS, BITS)


def test_read_only_and_strided_arrays_work(embedder: PdqEmbedder) -> None:
    array = np.asarray(picture(1, 128, 128))
    view = np.repeat(np.repeat(array, 2, axis=0), 2, axis=1)[::2, ::2][:, ::-1][:, ::-1]
    view.flags.writeable = False
    np.testing.assert_array_equal(embedder.embed(to_batch(view)), embedder.embed(to_batch(array)))


def load(path: Path) -> RGBArray:
    return to_batch(Image.open(path).convert("RGB")).as_arrays()[0]


@pytest.mark.skipif(not EVAL.is_dir(), reason="the real pictures (../shared/eval) are not beside this checkout")
def test_on_real_pictures(embedder: PdqEmbedder) -> None:
    """Turns stay within the block threshold, and non-copies stay out of the flag threshold."""
    names = sorted((EVAL / "images" / "paintings_artic").rglob("*.jpg"))[:20]
    names += sorted((EVAL / "images" / "xray_hannover").rglob("*.png"))[:20:4]
    arrays = [load(name) for name in names]
    assert len(arrays) > 20
    rows = embedder.embed(to_batch(arrays))
    similarity = (embedder.embed_query(to_batch(arrays)).vectors @ rows.T).max(axis=1)
    np.fill_diagonal(similarity, -1)
    assert similarity.max() < bits_to_similarity(FLAG_BITS)
    for transform in TRANSFORMS:
        turned = embedder.embed_query(to_batch([np.ascontiguousarray(transform(a)) for a in arrays]))
        found = np.einsum("nvd,nd->nv", turned.vectors, rows).max(axis=1)
        assert found.min() >= bits_to_similarity(12)
