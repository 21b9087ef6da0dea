"""What every embedder promises, whatever runs it. A subclass says how to build one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from guard.embedders.base import Embedder, SupportsQuery, SupportsWindows, embed_query
from guard.embedders.views import embed_views
from guard.errors import ConfigError
from guard.pixels import ImageBatch, to_batch
from tests.support.toys import picture

SEEDS = range(5)


def rows(found: Any) -> np.ndarray[Any, Any]:
    return found.cpu().numpy() if isinstance(found, torch.Tensor) else found


class EmbedderContract:
    form_tolerance: ClassVar[float] = 2e-3
    """1 - cosine, at most, between the descriptors of two forms of one picture."""
    batch_tolerance: ClassVar[float] = 1e-5
    """Of one value, at most, between a row embedded alone and the same row in a batch."""
    tensors_stay: ClassVar[bool] = True
    """False: a tensor's descriptors come as an array, since the embedder does not run where tensors are."""

    def build(self, tmp_path: Any) -> Embedder:
        """Open the embedder; its files are made in tmp_path if they are not there yet."""
        raise NotImplementedError

    @pytest.fixture
    def embedder(self, tmp_path: Any) -> Embedder:
        return self.build(tmp_path)

    @pytest.fixture
    def pictures(self) -> list[Any]:
        return [picture(seed, 80, 64) for seed in SEEDS]

    def test_spec_is_whole(self, embedder: Embedder) -> None:
        spec = embedder.spec
        assert isinstance(embedder, Embedder)
        assert spec.name
        assert spec.preprocessing
        assert spec.dim > 0
        assert spec.input_size > 0
        assert spec == embedder.spec
        assert set(spec.identity()) < set(spec.__slots__)

    def test_rows_have_unit_norm_and_float32(self, embedder: Embedder, pictures: list[Any]) -> None:
        found = embedder.embed(to_batch(pictures))
        assert found.shape == (len(pictures), embedder.spec.dim)
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)

    def test_no_pictures_give_no_rows(self, embedder: Embedder) -> None:
        for nothing in (
            to_batch([]),
            to_batch(np.empty((0, 32, 32, 3), np.uint8)),
            to_batch(torch.empty(0, 3, 32, 32)),
            ImageBatch(tensor=torch.empty(0, 3, 32, 32)),
        ):
            assert embedder.embed(nothing).shape == (0, embedder.spec.dim)
            assert len(embed_query(embedder, nothing).usable) == 0

    def test_deterministic(self, embedder: Embedder, pictures: list[Any]) -> None:
        batch = to_batch(pictures)
        np.testing.assert_array_equal(embedder.embed(batch), embedder.embed(batch))

    def test_a_row_does_not_depend_on_its_batch(self, embedder: Embedder, pictures: list[Any]) -> None:
        together = embedder.embed(to_batch(pictures))
        alone = np.concatenate([embedder.embed(to_batch([p])) for p in pictures])
        np.testing.assert_allclose(together, alone, atol=self.batch_tolerance)
        turned = embedder.embed(to_batch(pictures[::-1]))
        np.testing.assert_allclose(turned, together[::-1], atol=self.batch_tolerance)

    def test_pictures_of_several_sizes_in_one_batch(self, embedder: Embedder, pictures: list[Any]) -> None:
        mixed = [pictures[0], picture(9, 20, 90), picture(8, 200, 33)]
        found = embedder.embed(to_batch(mixed))
        for i, one in enumerate(mixed):
            np.testing.assert_allclose(found[i], embedder.embed(to_batch(one))[0], atol=self.batch_tolerance)

    def test_different_pictures_differ(self, embedder: Embedder, pictures: list[Any]) -> None:
        found = embedder.embed(to_batch(pictures))
        assert (found @ found.T - 2 * np.eye(len(found))).max() < 0.999

    def test_every_form_gives_the_same_descriptor(self, embedder: Embedder, pictures: list[Any]) -> None:
        wanted = embedder.embed(to_batch(pictures))
        arrays = np.stack([np.asarray(p) for p in pictures])
        tensor = torch.from_numpy(arrays).permute(0, 3, 1, 2)
        forms: dict[str, Any] = {
            "uint8 arrays": list(arrays),
            "one uint8 array": arrays,
            "float array": arrays.astype(np.float32) / 255,
            "float16 array": (arrays / 255).astype(np.float16),
            "uint8 tensor": tensor,
            "float tensor": tensor.float() / 255,
            "list of tensors": list(tensor.float() / 255),
            "RGBA": [p.convert("RGBA") for p in pictures],
            "a mixture": [
                pictures[0],
                arrays[1],
                tensor[2],
                arrays[3].astype(np.float64) / 255,
                tensor[4].float() / 255,
            ],
        }
        for name, form in forms.items():
            distance = 1 - (rows(embedder.embed(to_batch(form))) * wanted).sum(axis=1)
            assert distance.max() <= self.form_tolerance, name

    def test_a_tensor_stays_a_tensor_where_it_can(self, embedder: Embedder) -> None:
        tensor = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
        found: Any = embedder.embed(to_batch(tensor))
        assert isinstance(found, torch.Tensor) == self.tensors_stay
        assert rows(found).dtype == np.float32
        assert not getattr(found, "requires_grad", False)
        np.testing.assert_allclose(np.linalg.norm(rows(found), axis=1), 1, atol=1e-5)

    def test_half_precision_tensors(self, embedder: Embedder) -> None:
        tensor = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
        wanted = rows(embedder.embed(to_batch(tensor)))
        for dtype in (torch.float16, torch.bfloat16):
            found = rows(embedder.embed(to_batch(tensor.to(dtype))))
            assert found.dtype == np.float32
            assert (1 - (found * wanted).sum(axis=1)).max() < 0.05

    def test_the_callers_pixels_are_left_alone(self, embedder: Embedder) -> None:
        array = np.asarray(picture(1)).copy()
        tensor = torch.rand(2, 3, 40, 40)
        before = array.copy(), tensor.clone()
        embedder.embed(ImageBatch(arrays=(array,)))
        embedder.embed(ImageBatch(tensor=tensor))
        np.testing.assert_array_equal(array, before[0])
        assert torch.equal(tensor, before[1])

    def test_threads_may_share_it(self, embedder: Embedder, pictures: list[Any]) -> None:
        wanted = [embedder.embed(to_batch([p])) for p in pictures]

        def work(i: int) -> bool:
            found = (embedder.embed(to_batch([pictures[i]])) for _ in range(20))
            return all(np.allclose(row, wanted[i], atol=1e-5) for row in found)

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(work, SEEDS)) == [True] * len(pictures)

    def test_the_first_view_of_a_query_is_the_picture(self, embedder: Embedder, pictures: list[Any]) -> None:
        for form in (pictures, torch.rand(2, 3, 48, 48)):
            batch = to_batch(form)
            query = embed_query(embedder, batch)
            vectors = rows(query.vectors)
            assert vectors.ndim == 3
            assert vectors.shape[::2] == (len(batch), embedder.spec.dim)
            assert query.usable.shape == (len(batch),)
            assert query.usable.dtype == np.bool_
            np.testing.assert_allclose(vectors[:, 0], rows(embedder.embed(batch)), atol=1e-5)
            if not isinstance(embedder, SupportsQuery):
                assert vectors.shape[1] == 1
                assert query.usable.all()

    def test_windows_are_descriptors_of_the_same_kind(self, embedder: Embedder, pictures: list[Any]) -> None:
        batch = to_batch(pictures)
        if not isinstance(embedder, SupportsWindows):
            with pytest.raises(ConfigError, match="has no windows"):
                embed_views(embedder, batch, "windows")
            return
        shape = (len(pictures), embedder.windows, embedder.spec.dim)
        found = rows(embedder.embed_windows(batch))
        assert found.shape == shape
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found, axis=2), 1, atol=1e-5)
        alone = np.concatenate([rows(embedder.embed_windows(to_batch([one]))) for one in pictures])
        np.testing.assert_allclose(found, alone, atol=self.batch_tolerance)
        for nothing in (to_batch([]), ImageBatch(tensor=torch.empty(0, 3, 32, 32))):
            assert embed_views(embedder, nothing, "windows").vectors.shape == (0, 1 + shape[1], shape[2])
        tensor = torch.from_numpy(np.stack([np.asarray(one) for one in pictures])).permute(0, 3, 1, 2).float() / 255
        as_tensor: Any = embedder.embed_windows(to_batch(tensor))
        assert isinstance(as_tensor, torch.Tensor) == self.tensors_stay
        assert (1 - (rows(as_tensor) * found).sum(axis=2)).max() <= self.form_tolerance
        query = embed_views(embedder, batch, "windows")
        np.testing.assert_allclose(query.vectors[:, 0], rows(embedder.embed(batch)), atol=1e-5)
        assert query.handicap is not None
        assert query.handicap.shape == (1 + shape[1],)
        assert query.handicap[0] == 0
        assert embedder.windows_identity()

    def test_an_equalised_copy_is_one_more_view(self, embedder: Embedder, pictures: list[Any]) -> None:
        batch = to_batch(pictures)
        whole, both = (embed_views(embedder, batch, kind, own=False) for kind in ("one", "levels"))
        found = rows(both.vectors)
        assert found.shape == (len(pictures), 2, embedder.spec.dim)
        np.testing.assert_allclose(found[:, 0], rows(whole.vectors)[:, 0], atol=self.batch_tolerance)
        tensor = torch.from_numpy(np.stack([np.asarray(one) for one in pictures])).permute(0, 3, 1, 2).float() / 255
        as_tensor = rows(embed_views(embedder, to_batch(tensor), "levels", own=False).vectors)
        assert (1 - (as_tensor * found).sum(axis=2)).max() <= self.form_tolerance
        for nothing in (to_batch([]), ImageBatch(tensor=torch.empty(0, 3, 32, 32))):
            assert embed_views(embedder, nothing, "levels", own=False).vectors.shape == (0, 2, embedder.spec.dim)

    def test_opened_twice_it_has_one_identity(self, tmp_path: Any) -> None:
        assert self.build(tmp_path).spec.identity() == self.build(tmp_path).spec.identity()
