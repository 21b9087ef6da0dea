"""Searches are compared with the plain numpy answer, over shapes and values that hypothesis chooses."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guard.indexes.faiss_index import FaissBinaryIndex, FaissFlatIndex
from guard.indexes.faissfile import pack_bits, unpack_bits
from guard.indexes.torch_index import TorchIndex
from guard.sources import open_source
from guard.sources.base import Item
from guard.sources.webdataset import expand_braces
from tests.support.references import tar_shard, unit_rows

sizes = st.tuples(st.integers(1, 60), st.integers(1, 20), st.integers(1, 70), st.sampled_from([8, 24, 64]))


def exact(xb: npt.NDArray[np.float32], xq: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float32]:
    found = np.full((len(xq), k), -np.inf, np.float32)
    nearest = -np.sort(-(xq @ xb.T), axis=1)[:, :k]
    found[:, : nearest.shape[1]] = nearest
    return found


@settings(max_examples=30, deadline=None)
@example(size=(1, 1, 1, 8), seed=0)
@given(size=sizes, seed=st.integers(0, 2**16))
def test_float_rows(size: tuple[int, int, int, int], seed: int) -> None:
    n, nq, k, dim = size
    xb, xq = unit_rows(n, dim, seed), unit_rows(nq, dim, seed + 1)
    for index in (FaissFlatIndex(xb), TorchIndex(xb), TorchIndex(xb, block_values=5)):
        np.testing.assert_allclose(index.search(xq, k).similarity, exact(xb, xq, k), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(size=sizes, seed=st.integers(0, 2**16))
def test_sign_rows(size: tuple[int, int, int, int], seed: int) -> None:
    n, nq, k, dim = size
    xb, xq = unit_rows(n, dim, seed, signs=True), unit_rows(nq, dim, seed + 1, signs=True)
    np.testing.assert_allclose(FaissBinaryIndex(xb).search(xq, k).similarity, exact(xb, xq, k), atol=1e-5)


@given(n=st.integers(0, 5), words=st.integers(1, 40), seed=st.integers(0, 2**16))
def test_packing_is_undone_by_unpacking(n: int, words: int, seed: int) -> None:
    rows = unit_rows(n, words * 8, seed, signs=True)
    np.testing.assert_allclose(unpack_bits(pack_bits(rows), words * 8), rows, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    keys=st.lists(st.integers(1, 3), min_size=1, max_size=8),
    captions=st.booleans(),
    zipped=st.booleans(),
    start=st.integers(0, 30),
)
def test_a_shard_can_be_entered_anywhere(keys: list[int], captions: bool, zipped: bool, start: int) -> None:
    members: list[tuple[str, bytes]] = []
    for key, pictures in enumerate(keys):
        members += [(f"{key}.{i}.jpg", f"{key}-{i}".encode()) for i in range(pictures)]
        members += [(f"{key}.txt", f"caption {key}".encode())] * captions
    with tempfile.TemporaryDirectory() as folder:
        shard = tar_shard(Path(folder) / "s.tar", members, "w:gz" if zipped else "w")
        source = open_source(shard)
        everything = [(i.uri, i.data, i.caption) for i in source.items() if isinstance(i, Item)]
        later = [(i.uri, i.data, i.caption) for i in source.items(start) if isinstance(i, Item)]
    assert len(everything) == sum(keys)
    assert later == everything[start:]


@given(low=st.integers(0, 50), more=st.integers(0, 20), width=st.integers(1, 4))
def test_braces_name_every_shard(low: int, more: int, width: int) -> None:
    high = low + more
    names = expand_braces(f"a-{{{low:0{width}d}..{high:0{width}d}}}.tar")
    assert names == [f"a-{i:0{width}d}.tar" for i in range(low, high + 1)]
