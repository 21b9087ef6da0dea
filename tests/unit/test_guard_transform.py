"""A guard on an index with a transform: thresholds of its own, and inputs that are compared as candidates are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from guard import Decision, Guard, Policy
from guard.embedders.base import QueryDescriptors
from guard.errors import ConfigError
from guard.findings import ECHO_SLACK
from guard.indexes.builder import build_index
from guard.indexes.store import open_index
from guard.indexes.transforming import transform_index
from guard.pixels import ImageBatch, to_batch
from tests.support.references import photo_folder
from tests.support.toys import ToyEmbedder, picture
from tests.support.waiting import WAIT_S

TOY = ToyEmbedder()


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("indexes")
    others = root / "others"
    others.mkdir()
    for seed in range(100, 120):
        picture(seed).save(others / f"{seed}.png")
    made = {}
    for kind in ("plain", "whitened", "normalised", "both"):
        made[kind] = root / f"{kind}.index"
        build_index(photo_folder(root / "photos", 20), made[kind], TOY, hashes=False)
    transform_index(made["whitened"], whiten=True)
    transform_index(made["normalised"], background=others, embedder=TOY, nearest=2)
    transform_index(made["both"], whiten=True, background=others, embedder=TOY, nearest=2)
    return made


def guard_of(path: Path, embedder: ToyEmbedder = TOY, flag: float = 0.5, block: float = 0.6) -> Guard:
    return Guard(open_index(path, embedder=embedder), embedder, config=_config(flag, block))


def _config(flag: float, block: float):
    from guard.config import load_config

    return load_config(None, policy=Policy(flag=flag, block=block), deadline_s=WAIT_S)


@pytest.mark.parametrize("kind", ["whitened", "normalised", "both"])
def test_the_embedders_thresholds_do_not_hold(indexes: dict[str, Path], kind: str) -> None:
    assert TOY.thresholds is not None
    with open_index(indexes["plain"]) as plain:
        Guard(plain, TOY)
    with open_index(indexes[kind]) as index:
        with pytest.raises(ConfigError, match=r"policy\.flag is not set.*eval descriptors.*--remove"):
            Guard(index, TOY)
        for options in ({"policy": Policy(flag=0.5)}, {"policy": {"block": 0.5}}):
            with pytest.raises(ConfigError, match="is not set"):
                Guard.open(indexes[kind], embedder=TOY, **options)
    guard = Guard.open(indexes[kind], embedder=TOY, policy=Policy(flag=0.5, block=0.6))
    assert [v.decision for v in guard.check([picture(3), picture(99)])] == [Decision.BLOCK, Decision.ALLOW]


@pytest.mark.parametrize("kind", ["plain", "whitened", "normalised", "both"])
@pytest.mark.parametrize("tensor", [False, True])
def test_an_output_that_is_the_callers_input_is_an_echo(indexes: dict[str, Path], kind: str, tensor: bool) -> None:
    guard = guard_of(indexes[kind])
    images = [picture(3)]
    if tensor:
        images = torch.from_numpy(np.array(picture(3))).permute(2, 0, 1)[None].float() / 255
    echoed = guard.check(images, inputs=[picture(50), picture(3)])[0]
    assert echoed.decision is Decision.ALLOW
    assert echoed.nearest is not None
    assert echoed.input_similarity == pytest.approx(echoed.nearest.similarity, abs=ECHO_SLACK)
    memorised = guard.check(images, inputs=[picture(50)])[0]
    assert memorised.decision is Decision.BLOCK
    assert memorised.input_similarity is not None
    assert memorised.input_similarity < echoed.input_similarity


@pytest.mark.parametrize("kind", ["plain", "whitened", "normalised", "both"])
def test_an_input_is_measured_as_a_reference_would_be(indexes: dict[str, Path], kind: str) -> None:
    """The similarity to an input that is a reference is the one that the search reports for that reference."""
    guard = guard_of(indexes[kind], flag=-1, block=-1)
    blended = Image.blend(picture(3), picture(4), 0.4)
    with Image.open(indexes[kind].parent / "photos" / "0004.jpg") as reference:
        verdict = guard.check([blended], inputs=[reference], options={"top_k": 20})[0]
    of_reference = next(m for m in verdict.matches if m.record.uri == "0004.jpg")
    assert verdict.input_similarity == pytest.approx(of_reference.similarity, abs=1e-5)


class TwoViews(ToyEmbedder):
    """Looks at a query as it is and upside down."""

    def embed_query(self, batch: ImageBatch) -> QueryDescriptors:
        turned = ImageBatch(arrays=tuple(np.ascontiguousarray(a[::-1]) for a in batch.as_arrays()))
        return QueryDescriptors(np.stack([self.embed(batch), self.embed(turned)], axis=1), np.ones(len(batch), bool))


def test_each_view_loses_its_own_bias(indexes: dict[str, Path]) -> None:
    """Views are merged after the subtraction, so that the best view is the best after it."""
    guard, query = guard_of(indexes["normalised"], TwoViews(), flag=-1, block=-1), picture(3).transpose(1)
    background = TOY.embed(to_batch([picture(seed) for seed in range(100, 120)]))
    with open_index(indexes["plain"]) as plain:
        similarity = []
        for view in (query, query.transpose(1)):
            rows = TOY.embed(to_batch(view))
            bias = np.sort(rows @ background.T, axis=1)[:, -2:].mean()
            similarity.append(plain.search(rows, 1).similarity[0, 0] - bias)
    nearest = guard.check([query])[0].nearest
    assert nearest is not None
    assert nearest.record.uri == "0003.jpg"
    assert nearest.similarity == pytest.approx(max(similarity), abs=1e-5)
