"""Words compared with pictures: over one CLIP index, and beside an index of another embedder."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard.embedders.ort import OrtEmbedder
from guard.embedders.torch_loaders import from_transformers
from guard.embedders.words import TransformersWords
from guard.errors import ConfigError
from guard.indexes import build_index, open_index
from guard.indexes.store import OpenIndex
from guard.pixels import to_batch
from guard.search import Meaning, RecordFilter, Searcher, SearchQuery
from tests.support.references import jpeg, photo_folder
from tests.support.tiny_clip import PREPROCESSING, clip_folder, onnx_towers
from tests.support.toys import ToyEmbedder, picture


@dataclass
class Made:
    clip: Path
    beside: OpenIndex
    plain: OpenIndex


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    tmp_path = tmp_path_factory.mktemp("meaning")
    clip = clip_folder(tmp_path / "clip")
    onnx_towers(clip)
    photos = photo_folder(tmp_path / "photos", 12)
    build_index(photos, tmp_path / "clip.index", from_transformers(clip, preprocessing=PREPROCESSING, name="clip"))
    (photos / "0003.jpg").rename(photos / "moved.jpg")  # the other index knows it by its bytes alone
    (photos / "0005.jpg").unlink()
    build_index(photos, tmp_path / "plain.index", ToyEmbedder())
    with open_index(tmp_path / "clip.index") as beside, open_index(tmp_path / "plain.index") as plain:
        yield Made(clip, beside, plain)


def cosines(made: Made, words: str) -> dict[str, float]:
    """Of every picture, by its uri in the CLIP index, from the towers alone."""
    model = from_transformers(made.clip, preprocessing=PREPROCESSING)
    pictures = [np.asarray(Image.open(io.BytesIO(jpeg(seed)))) for seed in range(12)]
    cosine = np.asarray(model.embed(to_batch(pictures))) @ TransformersWords(made.clip).embed_words(words)[0]
    return {f"{seed:04d}.jpg": float(value) for seed, value in enumerate(cosine)}


def test_words_find_the_nearest_pictures(made: Made) -> None:
    meaning = Meaning(made.beside, TransformersWords(made.clip))
    page = Searcher(made.beside, meaning=meaning).search(SearchQuery(words="a red fox", by="meaning", limit=12))
    wanted = cosines(made, "a red fox")
    assert [hit.record.uri for hit in page.hits] == sorted(wanted, key=lambda uri: -wanted[uri])
    assert [hit.meaning for hit in page.hits] == pytest.approx([wanted[hit.record.uri] for hit in page.hits], abs=1e-5)
    assert all(hit.similarity is None for hit in page.hits)


def test_hits_are_looked_up_in_the_index_that_is_searched(made: Made) -> None:
    meaning = Meaning(made.beside, str(made.clip))
    page = Searcher(made.plain, meaning=meaning).search(SearchQuery(words="a red fox", by="meaning", limit=12))
    wanted = cosines(made, "a red fox")
    wanted["moved.jpg"] = wanted.pop("0003.jpg")
    del wanted["0005.jpg"]
    assert [hit.record.uri for hit in page.hits] == sorted(wanted, key=lambda uri: -wanted[uri])
    some = SearchQuery(words="a red fox", by="meaning", where=RecordFilter(source="moved"), limit=2)
    assert [hit.record.uri for hit in Searcher(made.plain, meaning=meaning).search(some).hits] == ["moved.jpg"]


def test_a_picture_and_a_meaning_are_fused(made: Made) -> None:
    searcher = Searcher(made.plain, ToyEmbedder(), meaning=Meaning(made.beside, str(made.clip)))
    by_words = searcher.search(SearchQuery(words="an owl at night", by="meaning", limit=20)).hits
    by_picture = searcher.search(SearchQuery(picture=picture(7), limit=20)).hits
    rank = {
        hit.record.id: 1 / (60 + a) + 1 / (60 + [h.record.id for h in by_picture].index(hit.record.id) + 1)
        for a, hit in enumerate(by_words, 1)
    }
    both = searcher.search(SearchQuery(picture=picture(7), words="an owl at night", by="meaning", limit=20)).hits
    assert [h.record.id for h in both] == sorted(rank, key=lambda i: (-rank[i], i))
    assert all(hit.similarity is not None and hit.meaning is not None for hit in both)


def test_onnx_towers_find_the_same(made: Made, tmp_path: Path) -> None:
    embedder = OrtEmbedder(made.clip / "image.onnx", preprocessing=PREPROCESSING)
    array = np.asarray(picture(7))
    expected = from_transformers(made.clip, preprocessing=PREPROCESSING).embed(to_batch(array))
    np.testing.assert_allclose(embedder.embed(to_batch(array)), expected, atol=1e-4)
    build_index(photo_folder(tmp_path / "photos", 4), tmp_path / "x.index", embedder)
    with open_index(tmp_path / "x.index") as index:
        searcher = Searcher(index, meaning=Meaning(index, f"onnx:{made.clip / 'text.onnx'}"))
        hits = searcher.search(SearchQuery(words="a red fox", by="meaning")).hits
        wanted = cosines(made, "a red fox")
        assert [hit.meaning for hit in hits] == pytest.approx([wanted[hit.record.uri] for hit in hits], abs=1e-4)


def test_towers_of_two_models_are_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="16 dimensions and the index 192"):
        Meaning(made.plain, str(made.clip))
    other = clip_folder(tmp_path / "other")
    weights = other / "model.safetensors"
    from safetensors.torch import load_file, save_file

    state = load_file(weights)
    save_file({name: value + 0.1 for name, value in state.items()}, weights, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="not those of 'clip'"):
        Meaning(made.beside, str(other))
    with pytest.raises(ConfigError, match="'toy'"):
        Meaning(made.plain)
