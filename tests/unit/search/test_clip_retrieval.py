"""clip-retrieval: its output folders become an index, and its clients get the answers that they expect."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guard.embedders.torch_loaders import from_transformers
from guard.errors import ConfigError, InputError
from guard.indexes import build_index, open_index
from guard.pixels import to_batch
from guard.search import Meaning, Searcher
from guard.search.clip_retrieval import indices_list, knn_service, metadata_service
from guard.sources import open_source
from tests.support.references import jpeg, photo_folder, unit_rows
from tests.support.specs import Named
from tests.support.tiny_clip import PREPROCESSING, clip_folder
from tests.support.toys import ToyEmbedder, picture


def client_request(**fields: Any) -> dict[str, Any]:
    """What ClipClient.query of clip-retrieval 2.44 sends."""
    return {
        "text": None,
        "image": None,
        "image_url": None,
        "embedding_input": None,
        "deduplicate": True,
        "use_safety_model": True,
        "use_violence_detector": True,
        "indice_name": "mine",
        "use_mclip": False,
        "aesthetic_score": 9,
        "aesthetic_weight": 0.5,
        "modality": "image",
        "num_images": 40,
        "num_result_ids": 40,
        **fields,
    }


def output_folder(folder: Path, parts: list[np.ndarray[Any, Any]], rows: list[dict[str, Any]]) -> Path:
    """As clip_inference/writer.py of clip-retrieval writes it: numbered parts, float16 as its models give them."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "text_emb").mkdir()
    (folder / "metadata").mkdir()
    at = 0
    for number, part in enumerate(parts):
        np.save(folder / "img_emb" / f"img_emb_{number:02}.npy", part.astype(np.float16))
        np.save(folder / "text_emb" / f"text_emb_{number:02}.npy", part[::-1].astype(np.float16))
        table = pa.Table.from_pylist(rows[at : at + len(part)])
        pq.write_table(table, folder / "metadata" / f"metadata_{number:02}.parquet")
        at += len(part)
    return folder


def test_an_output_folder_is_a_source(tmp_path: Path) -> None:
    rows = [
        {"image_path": f"{i:09}", "caption": f"c {i}", "url": f"https://x.example/{i}.jpg", "similarity": 0.3}
        for i in range(7)
    ]
    vectors = unit_rows(7, 16)
    folder = output_folder(tmp_path / "out", [vectors[:3], vectors[3:]], rows)
    report = build_index(folder, tmp_path / "x.index", Named(16))
    assert (report.count, report.skipped) == (7, {})
    with open_index(tmp_path / "x.index") as index:
        assert [(r.uri, r.caption) for r in index.records(range(7))] == [(r["url"], r["caption"]) for r in rows]
        assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(7))
    without = [{"image_path": f"{i:09}", "caption": ""} for i in range(7)]
    bare = output_folder(tmp_path / "bare", [vectors], without)
    assert [item.uri for item in open_source(bare, spec=Named(16).spec).items()] == [f"{i:09}" for i in range(7)]
    assert [item.uri for item in open_source(bare / "img_emb", spec=Named(16).spec).items()][6] == f"{6:09}"


@pytest.fixture(scope="module")
def searchers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Searcher]]:
    """mine: ten photographs, the last two of them one picture. clip: the same by a CLIP."""
    tmp_path = tmp_path_factory.mktemp("knn")
    photos = photo_folder(tmp_path / "photos", 9)
    picture(8).save(photos / "again.png")
    for file in sorted(photos.iterdir()):
        file.with_suffix(".txt").write_text(f"a picture, {file.stem}", encoding="utf-8")
    clip = clip_folder(tmp_path / "clip")
    embedder = from_transformers(clip, preprocessing=PREPROCESSING)
    build_index(photos, tmp_path / "mine.index", ToyEmbedder())
    build_index(photos, tmp_path / "clip.index", embedder, thumbnails=0)
    with open_index(tmp_path / "mine.index") as mine, open_index(tmp_path / "clip.index") as other:
        yield {
            "mine": Searcher(mine, ToyEmbedder()),
            "clip": Searcher(other, embedder, meaning=Meaning(other, str(clip))),
        }


def test_a_picture(searchers: dict[str, Searcher]) -> None:
    image = base64.b64encode(jpeg(3)).decode()
    found = knn_service(client_request(image=image, num_images=2, num_result_ids=5), searchers)
    assert json.loads(json.dumps(found)) == found
    assert len(found) == 5
    first = found[0]
    assert (first["id"], first["image_path"], first["caption"]) == (3, "0003.jpg", "a picture, 0003")
    assert first["similarity"] == pytest.approx(1, abs=1e-3)
    assert base64.b64decode(first["image"])[:2] == b"\xff\xd8"
    assert [sorted(hit) for hit in found[2:]] == [["id", "similarity"]] * 3
    assert knn_service(client_request(image="data:image/jpeg;base64," + image), searchers)[0]["id"] == 3


def test_one_of_pictures_that_are_the_same(searchers: dict[str, Searcher]) -> None:
    request = client_request(image=base64.b64encode(jpeg(8)).decode(), num_images=100, num_result_ids=100)
    once = knn_service(request, searchers)
    every = knn_service({**request, "deduplicate": False}, searchers)
    assert {"0008.jpg", "again.png"} <= {hit["image_path"] for hit in every}
    assert (len(every), len(once)) == (10, 9)
    assert once[0] == every[0]
    assert every[1]["id"] not in {hit["id"] for hit in once}


def test_an_embedding(searchers: dict[str, Searcher]) -> None:
    row = np.asarray(ToyEmbedder().embed(to_batch(picture(4))))[0]
    assert knn_service(client_request(embedding_input=row.tolist()), searchers)[0]["id"] == 4


def test_a_text(searchers: dict[str, Searcher]) -> None:
    found = knn_service(client_request(text="a red fox", indice_name="clip", deduplicate=False), searchers)
    assert len(found) == 10
    assert [hit["similarity"] for hit in found] == sorted((hit["similarity"] for hit in found), reverse=True)
    assert "image" not in found[0]
    by_caption = knn_service(client_request(text="0003", modality="text"), searchers)
    assert [(hit["id"], hit["similarity"]) for hit in by_caption] == [(3, None)]
    assert knn_service(client_request(text="unheard of", modality="text"), searchers) == []


def test_what_the_page_of_clip_retrieval_asks_for(searchers: dict[str, Searcher]) -> None:
    assert indices_list(searchers) == ["mine", "clip"]
    found = metadata_service({"ids": [4, 2], "indice_name": "mine"}, searchers)
    assert [one["id"] for one in found] == [4, 2]
    assert found[0]["metadata"]["caption"] == "a picture, 0004"
    assert knn_service({"embedding_input": [0.5] * 192}, searchers)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "say what to look for"),
        ({"text": "a fox"}, "CLIP"),
        ({"image_url": "https://x.example/a.jpg"}, "nothing is fetched"),
        ({"image": "%%%"}, "no base64"),
        ({"image": base64.b64encode(b"text").decode()}, "not a picture"),
        ({"embedding_input": [1.0]}, "give 192"),
        ({"embedding_input": ["a"]}, "embedding_input"),
        ({"image": "aaaa", "modality": "text"}, "modality"),
        ({"modality": "sound"}, "modality"),
        ({"text": "a", "indice_name": "none"}, "known: mine, clip"),
        ({"text": "a" * 5000, "modality": "text"}, "5000 characters"),
        ({"num_images": -1}, "num_images"),
    ],
)
def test_what_cannot_be_answered_is_said(searchers: dict[str, Searcher], fields: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, InputError), match=said):
        knn_service(client_request(**fields), searchers)


@pytest.mark.parametrize("request_", [{"ids": [10]}, {"ids": [-1]}, {"ids": "a"}, {}])
def test_ids_that_are_none_are_refused(searchers: dict[str, Searcher], request_: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="ids"):
        metadata_service(request_, searchers)
