"""Views of a picture: which they are, that arrays and tensors agree, and that a guard finds copies through them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from guard import Guard, Policy
from guard.embedders.base import embed_query
from guard.embedders.pdq import PdqEmbedder
from guard.embedders.registry import load_embedder
from guard.embedders.views import (
    CROPS,
    VIEW_KINDS,
    WINDOW_HANDICAP,
    ViewKind,
    embed_views,
    is_plain,
    view_count,
    views_of,
)
from guard.indexes.builder import build_index
from guard.lookup import look_up, nearest_input
from guard.pixels import ImageBatch, to_batch
from guard.rules import Rules
from guard.search import RecordFilter
from guard.search.holdings import Holdings
from guard.search.ranking import nearest as nearest_of_search
from guard.types import Decision
from tests.support.toys import ToyEmbedder, picture


def arrays(count: int, height: int = 90, width: int = 120) -> list[np.ndarray]:
    return [np.array(picture(seed, width, height)) for seed in range(count)]


@pytest.mark.parametrize("kind", [kind for kind in VIEW_KINDS if "windows" not in kind])
def test_as_many_views_as_promised_the_picture_first(kind: ViewKind) -> None:
    batch = to_batch(arrays(2))
    views = views_of(batch, kind)
    assert len(views) == view_count(kind)
    assert views[0] is batch
    assert all(len(view) == 2 for view in views)


def test_crops_lie_inside_and_cover_the_picture() -> None:
    seen = np.zeros((60, 90), int)
    for top, left, side in CROPS:
        assert 0 <= top <= 1 - side + 1e-9
        assert 0 <= left <= 1 - side + 1e-9
        seen[round(top * 60) : round((top + side) * 60), round(left * 90) : round((left + side) * 90)] += 1
    assert seen.min() >= 1


def test_crops_share_the_pixels_and_turns_turn_to_the_left() -> None:
    array = arrays(1)[0]
    crops = views_of(to_batch(array), "crops")[1:]
    assert all(np.shares_memory(crop.as_arrays()[0], array) for crop in crops)
    turns = views_of(to_batch(array), "turns")
    assert [turn.as_arrays()[0].shape[:2] for turn in turns] == [(90, 120), (120, 90), (90, 120), (120, 90)]
    np.testing.assert_array_equal(turns[1].as_arrays()[0], np.rot90(array))


def test_a_tensor_gives_the_same_views_as_its_arrays() -> None:
    array = arrays(1)[0]
    tensor = torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255
    of_array, of_tensor = (views_of(batch, "turns+crops") for batch in (to_batch(array), ImageBatch(tensor=tensor)))
    for one, other in zip(of_array, of_tensor, strict=True):
        np.testing.assert_array_equal(one.as_arrays()[0], other.as_arrays()[0])


def test_plain_is_what_shows_nothing() -> None:
    sky = np.full((80, 80, 3), (120, 160, 220), np.uint8)
    sky[::2] += 3
    shown = np.array(picture(1, 80, 80))
    for batch in (
        to_batch([sky, shown]),
        ImageBatch(tensor=torch.from_numpy(np.stack([sky, shown])).permute(0, 3, 1, 2).float() / 255),
    ):
        assert is_plain(batch).tolist() == [True, False]


class Fetched(torch.Tensor):
    """Counts how often its values are fetched from where they are."""

    times = 0

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.times += func in (torch.Tensor.cpu, torch.Tensor.item, torch.Tensor.numpy, torch.Tensor.tolist)
        return super().__torch_function__(func, types, args, kwargs)


class Windowed(ToyEmbedder):
    """Whose windows are all like the whole; nothing else of it looks at values."""

    windows = len(CROPS)

    def embed(self, batch: ImageBatch) -> np.ndarray:
        return np.tile(np.eye(1, self.spec.dim, dtype=np.float32), (len(batch), 1))

    def embed_windows(self, batch: ImageBatch) -> np.ndarray:
        return np.tile(np.eye(2, self.spec.dim, dtype=np.float32)[1], (len(batch), self.windows, 1))

    def windows_identity(self) -> str:
        return "none"


@pytest.mark.parametrize("kind", ["windows", "crops"])
def test_a_device_is_asked_once_which_parts_are_plain(kind: ViewKind) -> None:
    half = np.array(picture(3, 120, 120))
    half[:, 60:] = 200
    tensor = torch.from_numpy(np.stack([half, np.full_like(half, 90)])).permute(0, 3, 1, 2).float() / 255
    of_arrays = embed_views(Windowed(), to_batch([half, np.full_like(half, 90)]), kind)
    Fetched.times = 0
    found = embed_views(Windowed(), ImageBatch(tensor=tensor.as_subclass(Fetched)), kind)
    assert Fetched.times <= 2  # .cpu().numpy()
    assert found.usable.tolist() == of_arrays.usable.tolist() == [True, False]
    np.testing.assert_array_equal(found.vectors, of_arrays.vectors)


def test_a_plain_crop_is_replaced_by_the_whole_picture() -> None:
    half = np.array(picture(3, 120, 120))
    half[:, 60:] = 200
    found = embed_views(PdqEmbedder(), to_batch(half), "crops", own=False).vectors[0]
    right = [i for i, (_, left, _) in enumerate(CROPS, start=1) if left >= 0.5]
    assert right
    for view in right:
        np.testing.assert_array_equal(found[view], found[0])
    assert not np.array_equal(found[6], found[0])


def test_a_plain_picture_matches_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    black, shown = Image.new("RGB", (64, 64)), picture(1, 64, 64)
    black.save(folder / "black.png")
    shown.save(folder / "shown.png")
    build_index(folder, tmp_path / "my.index", ToyEmbedder())
    guard = Guard.open(tmp_path / "my.index", embedder=ToyEmbedder(), policy=Policy(flag=0.9, block=0.95))
    plain, copy = guard.check([Image.new("RGB", (80, 80), (3, 0, 0)), shown]).verdicts
    assert (plain.decision, copy.decision) == (Decision.ALLOW, Decision.BLOCK)
    assert "too little detail" in plain.reasons[0]


def test_an_embedder_with_views_of_its_own_keeps_them_and_makes_its_own_turns() -> None:
    embedder, batch = PdqEmbedder(), to_batch(arrays(2))
    own = embed_query(embedder, batch).vectors.shape[1]
    assert embed_views(embedder, batch, "one").vectors.shape == (2, own, 256)
    assert embed_views(embedder, batch, "turns").vectors.shape == (2, own, 256)
    assert embed_views(embedder, batch, "turns+crops").vectors.shape == (2, own * view_count("crops"), 256)
    assert embed_views(embedder, to_batch([]), "crops", own=False).vectors.shape == (0, view_count("crops"), 256)


def test_a_guard_finds_an_inset_through_crops_alone(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    for seed in range(6):
        picture(seed, 128, 128).save(folder / f"{seed}.png")
    build_index(folder, tmp_path / "my.index", PdqEmbedder())
    page = np.array(picture(77, 256, 256))
    page[141:, 141:] = np.array(picture(2, 128, 128).resize((115, 115)))  # the last crop of 0.45
    with_one = Guard.open(tmp_path / "my.index", verify=False).check(page).verdicts[0]
    with_crops = Guard.open(tmp_path / "my.index", query_views="crops", verify=False).check(page).verdicts[0]
    assert with_one.decision is Decision.ALLOW
    assert with_crops.decision is Decision.BLOCK
    assert with_crops.nearest is not None
    assert with_crops.nearest.record.uri == "2.png"
    called = Guard.open(tmp_path / "my.index", policy=Policy(flag=0.7), verify=False).check(
        page, options={"query_views": "crops"}
    )
    assert called.verdicts[0].decision is Decision.BLOCK


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of eight pictures of scikit-image."""
    root = tmp_path_factory.mktemp("photographs")
    (root / "training").mkdir()
    for name in ("astronaut", "coffee", "chelsea", "rocket", "retina", "camera", "moon", "immunohistochemistry"):
        Image.fromarray(getattr(data, name)()).convert("RGB").resize((256, 256)).save(root / "training" / f"{name}.png")
    build_index(root / "training", root / "my.index", load_embedder())
    return root / "my.index"


def inset_of(name: str) -> np.ndarray:
    """It takes a sixth of a page of bricks."""
    page = np.array(Image.fromarray(data.brick()).convert("RGB").resize((400, 400)))
    page[20:185, 200:365] = np.asarray(Image.fromarray(getattr(data, name)()).resize((165, 165)))
    return page


@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket"])
def test_windows_find_what_stands_small_in_a_picture(photographs: Path, name: str) -> None:
    def nearest(kind: ViewKind) -> tuple[str, float]:
        guard = Guard.open(photographs, query_views=kind, policy=Policy(flag=0.1, block=0.99), verify=False)
        found = guard.check(inset_of(name)).verdicts[0].nearest
        assert found is not None
        return found.record.uri, found.similarity

    (_, as_one), (uri, with_windows) = nearest("one"), nearest("windows")
    assert uri == f"{name}.png"
    assert with_windows > as_one + 0.1


def test_a_window_counts_less_than_the_whole(photographs: Path) -> None:
    """Of two equal similarities; everywhere that a similarity is found."""
    embedder = load_embedder()
    index = Guard.open(photographs).index
    query = embed_views(embedder, to_batch(np.asarray(data.coffee())), "windows")
    turned = replace(query, vectors=query.vectors[:, [1, 0, *range(2, query.vectors.shape[1])]])
    record = next(r for r in index.records(range(8)) if r.uri == "coffee.png")
    for one, less in ((query, 0.0), (turned, WINDOW_HANDICAP)):
        found = look_up(index, one, None, 3, Rules.resolve(Policy(flag=0.3, block=0.9), None))[0].candidates[0]
        ranked = nearest_of_search(Holdings(index, RecordFilter()), one, 3)
        own = nearest_input(index, one, embedder.embed(to_batch(np.asarray(data.coffee()))))
        assert found.record.id == record.id == next(iter(ranked))
        for similarity in (found.similarity, ranked[record.id]):
            assert similarity == pytest.approx(ranked[record.id])
        assert own[0] == pytest.approx(1 - less, abs=1e-4)
        assert found.similarity > 0.9 - less


def test_plain_windows_are_replaced_by_the_whole_picture() -> None:
    half = np.array(picture(3, 120, 120))
    half[:, 60:] = 200
    found = embed_views(load_embedder(), to_batch(half), "windows").vectors[0]
    for view, (_, left, _) in enumerate(CROPS, start=1):
        assert np.array_equal(found[view], found[0]) == (left >= 0.5)
