"""The maths of an index's transform, against slow answers, and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from guard.errors import CheckError, ConfigError, IndexLoadError
from guard.indexes.faiss_index import FaissFlatIndex
from guard.indexes.torch_index import TorchIndex
from guard.indexes.transform import Normalisation, Transform, Whitening, fit_whitening, ledoit_wolf
from guard.indexes.transformed import TransformedIndex
from tests.support.references import unit_rows

D = 12


def stretched(n: int, seed: int = 0, d: int = D) -> np.ndarray:
    """Unit rows whose directions vary very differently, around a mean that is not 0."""
    rng = np.random.default_rng(seed)
    raw = rng.standard_normal((n, d)) * np.geomspace(1, 0.05, d) + 0.5
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def slow_ledoit_wolf(x: np.ndarray) -> float:
    """The definitions of the paper, with every outer product formed."""
    n, d = x.shape
    x = x - x.mean(axis=0)
    s = x.T @ x / n
    m = np.trace(s) / d
    d2 = ((s - m * np.eye(d)) ** 2).sum() / d
    b2 = sum(((np.outer(row, row) - s) ** 2).sum() / d for row in x) / n**2
    return float(min(b2, d2) / d2)


@pytest.mark.parametrize("n", [3, 20, 5000])
def test_shrinkage_is_ledoit_and_wolfs(n: int) -> None:
    rows = stretched(n)
    found = fit_whitening(rows)
    assert found.chosen
    assert found.shrinkage == pytest.approx(slow_ledoit_wolf(rows.astype(np.float64)), rel=1e-6)


def test_an_isotropic_covariance_is_its_own_target() -> None:
    assert ledoit_wolf(np.eye(4) * 0.3, fourth=2.0, n=10) == 1


def test_whitened_rows_have_no_mean_and_one_covariance() -> None:
    rows = stretched(4000)
    fitted = fit_whitening(rows, shrinkage=0)
    white = (rows - fitted.mean) @ fitted.matrix.T  # before it is brought to unit norm
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(D), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(Transform(fitted).rows(rows), axis=1), 1, atol=1e-6)
    assert (fitted.shrinkage, fitted.chosen, fitted.references) == (0, False, 4000)


def test_blocks_do_not_matter_and_fewer_directions_are_the_widest() -> None:
    rows = stretched(5000)  # two blocks
    whole = np.cov(rows.T.astype(np.float64), bias=True)
    fitted = fit_whitening(rows, shrinkage=0.3, dim=5)
    values = np.sort(np.linalg.eigvalsh(0.7 * whole + 0.3 * np.trace(whole) / D * np.eye(D)))[::-1]
    np.testing.assert_allclose((fitted.matrix**2).sum(axis=1), 1 / values[:5], rtol=1e-4)
    assert Transform(fitted).rows(rows[:3]).shape == (3, 5)


def test_full_shrinkage_only_centres() -> None:
    rows = stretched(50)
    centred = rows - rows.mean(axis=0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    found = Transform(fit_whitening(rows, shrinkage=1)).rows(rows)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "how", "said"),
    [
        (stretched(1), {}, "at least 2"),
        (stretched(9), {"shrinkage": 1.5}, r"\[0, 1\]"),
        (stretched(9), {"dim": 0}, "1 to 12"),
        (stretched(9), {"dim": 13}, "1 to 12"),
        (stretched(9), {"shrinkage": 0}, "without variance"),  # 9 rows span 8 directions
        (np.repeat(stretched(1), 9, axis=0), {}, "without variance"),
    ],
)
def test_what_cannot_be_fitted(rows: np.ndarray, how: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fit_whitening(rows, **how)  # type: ignore[arg-type]


def test_fewer_directions_repair_a_covariance_of_few_rows() -> None:
    assert fit_whitening(stretched(9), shrinkage=0, dim=8).matrix.shape == (8, D)


def test_a_descriptor_without_a_part_in_what_was_kept_is_no_match_and_no_pass() -> None:
    keep_first = Whitening(np.zeros(3, np.float32), np.eye(1, 3, dtype=np.float32), 0.0, False, 9)
    with pytest.raises(CheckError, match="directions") as caught:
        Transform(keep_first).rows(np.array([[0, 1, 0]], np.float32))
    assert caught.value.stage == "search"


def transforms(rows: np.ndarray) -> dict[str, Transform]:
    white, normal = fit_whitening(rows), Normalisation(stretched(40, seed=9), 0.7, 3, "folder others")
    return {
        "whitened": Transform(white),
        "narrow": Transform(fit_whitening(rows, dim=4)),
        "normalised": Transform(None, normal),
        "both": Transform(white, normal),
    }


@pytest.mark.parametrize("kind", ["whitened", "narrow", "normalised", "both"])
@pytest.mark.parametrize("backend", [FaissFlatIndex, TorchIndex])
def test_search_gives_what_the_definition_says(kind: str, backend: type) -> None:
    rows, queries = stretched(300), stretched(9, seed=1)
    transform = transforms(rows)[kind]
    index = TransformedIndex(backend(transform.rows(rows)), transform, D, backend)

    def white(x: np.ndarray) -> np.ndarray:
        if transform.whitening is None:
            return x
        z = (x - transform.whitening.mean) @ transform.whitening.matrix.T
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    similarity = white(queries) @ white(rows).T
    if transform.normalisation is not None:
        background = white(queries) @ white(transform.normalisation.background).T
        similarity = similarity - 0.7 * np.sort(background, axis=1)[:, -3:].mean(axis=1, keepdims=True)
    for form in (queries, torch.from_numpy(queries)):
        found = index.search(form, 7)
        np.testing.assert_allclose(found.similarity, -np.sort(-similarity, axis=1)[:, :7], atol=1e-5)
        np.testing.assert_allclose(index.compare(form, rows), similarity, atol=1e-5)
        np.testing.assert_allclose(index.similarity(form, transform.rows(rows[:4])), similarity[:, :4], atol=1e-5)
    assert found.similarity.dtype == np.float32


def test_a_tensor_on_a_device_is_whitened_there() -> None:
    """What a CUDA tensor goes through, run on the CPU."""
    rows = stretched(300)
    transform = transforms(rows)["narrow"]
    assert transform.whitening is not None
    index = TransformedIndex(TorchIndex(transform.rows(rows)), transform, D, TorchIndex)
    for _ in range(2):  # the second time with what was placed there the first time
        white = index._whitened(torch.from_numpy(rows), transform.whitening)
        np.testing.assert_allclose(white.numpy(), transform.rows(rows), atol=1e-6)
    lost = torch.from_numpy(transform.whitening.mean)[None]
    with pytest.raises(CheckError, match="directions"):
        index._whitened(lost, transform.whitening)


def test_the_appended_dimension_of_the_papers_gives_the_same_numbers() -> None:
    rows, queries = stretched(100), stretched(5, seed=1)
    transform = transforms(rows)["normalised"]
    background = transform.background
    assert background is not None
    bias = 0.7 * np.sort(queries @ background.T, axis=1)[:, -3:].mean(axis=1, keepdims=True)
    longer = np.hstack([queries, -bias]) @ np.hstack([rows, np.ones((100, 1), np.float32)]).T
    index = TransformedIndex(FaissFlatIndex(rows), transform, D, FaissFlatIndex)
    found = index.search(queries, 10)
    np.testing.assert_allclose(found.similarity, -np.sort(-longer, axis=1)[:, :10], atol=1e-6)


def test_a_background_that_lost_pictures_is_averaged_as_it_is() -> None:
    rows = stretched(20)
    transform = transforms(rows)["normalised"]
    two = transform.without(np.arange(40) >= 2)
    index = TransformedIndex(FaissFlatIndex(rows), two, D, FaissFlatIndex)
    assert two.background is not None
    bias = 0.7 * (rows[:1] @ two.background.T).mean()
    assert index.search(rows[:1], 1).similarity[0, 0] == pytest.approx(1 - bias, abs=1e-5)
    none = transform.without(np.ones(40, np.bool_))
    assert TransformedIndex(FaissFlatIndex(rows), none, D, FaissFlatIndex).search(rows, 1).similarity[0, 0] == (
        pytest.approx(1, abs=1e-5)
    )


@pytest.mark.parametrize("kind", ["whitened", "narrow", "normalised", "both"])
def test_the_file_gives_the_transform_back(kind: str, tmp_path: Path) -> None:
    rows = stretched(60)
    transform = transforms(rows)[kind]
    entry = transform.write(tmp_path / "t.safetensors", D)
    again = Transform.read(tmp_path / "t.safetensors", entry, D)
    np.testing.assert_array_equal(again.rows(rows), transform.rows(rows))
    assert again.write(tmp_path / "u.safetensors", D) == entry  # sha256 included: the bytes depend on nothing else
    assert entry.dim == (4 if kind == "narrow" else D)


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    rows = stretched(60)
    entry = transforms(rows)["both"].write(path, D)
    whole = path.read_bytes()
    with pytest.raises(IndexLoadError, match="manifest needs"):
        Transform.read(path, entry, D + 1)
    path.write_bytes(whole[:-4])
    with pytest.raises(IndexLoadError, match="sha256 differs"):
        Transform.read(path, entry, D)
    path.write_bytes(whole + bytes(8192))
    with pytest.raises(IndexLoadError, match="bytes where"):
        Transform.read(path, entry, D)
    path.unlink()
    with pytest.raises(IndexLoadError, match="cannot be read"):
        Transform.read(path, entry, D)
    for bad, said in ((np.nan, "not finite"), (2.0, "no unit vectors")):
        broken = Normalisation(np.full((5, D), bad, np.float32), 1.0, 3, "")
        entry = Transform(None, broken).write(path, D)
        with pytest.raises(IndexLoadError, match=said):
            Transform.read(path, entry, D)


def test_unit_rows_stay_as_they_are_without_whitening() -> None:
    rows = unit_rows(5, D)
    assert Transform(None, transforms(rows)["normalised"].normalisation).rows(rows) is rows
