"""A training set held against a list: by address, bytes, hash and descriptor; nothing else is computed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pdqhash
import pytest
from PIL import Image, ImageOps

from guard.embedders.pdq import METHOD, packed_hash
from guard.errors import ConfigError
from guard.optout.listed import DoNotTrain
from guard.optout.lists import ListEntry, pack_descriptor
from guard.optout.trainingset import check_items, write_items
from guard.pixels import to_batch
from guard.sources import open_source
from guard.sources.addresses import AddressSource
from tests.support.references import jpeg, photo_folder, tar_shard, unit_rows
from tests.support.specs import Named
from tests.support.toys import ToyEmbedder, picture

TOY = json.dumps(ToyEmbedder().spec.identity(), sort_keys=True)


def hash_of(seed: int) -> str:
    found = packed_hash(np.asarray(picture(seed)))
    assert found is not None
    return found.hex()


def test_by_address_alone_no_picture_is_read(tmp_path: Path) -> None:
    members = []
    for i, url in enumerate(["https://a.example/1.jpg", "https://cdn.studio.example/2.jpg", "https://b.example/3.jpg"]):
        members += [(f"{i:05}.jpg", b"no picture"), (f"{i:05}.json", json.dumps({"url": url}).encode())]
    tar_shard(tmp_path / "s.tar", members)
    listed = DoNotTrain([ListEntry(url="http://www.a.example/1.jpg"), ListEntry(domain="studio.example")])
    report = check_items(open_source(tmp_path / "s.tar"), listed)
    assert (report.items, report.skipped, dict(report.by)) == (3, [], {"url": 1, "domain": 1})
    assert [(item.uri, item.url) for item in report.listed] == [
        ("s.tar/00000.jpg", "https://a.example/1.jpg"),
        ("s.tar/00001.jpg", "https://cdn.studio.example/2.jpg"),
    ]


def test_a_domain_is_not_a_part_of_another(tmp_path: Path) -> None:
    (tmp_path / "urls.csv").write_text(
        "url,caption\nhttps://notstudio.example/1.jpg,a\nhttps://studio.example.evil/1.jpg,b\nhttps://STUDIO.example/1,c\n"
    )
    report = check_items(AddressSource(tmp_path / "urls.csv"), DoNotTrain([ListEntry(domain="studio.example")]))
    assert [item.url for item in report.listed] == ["https://STUDIO.example/1"]


def test_by_bytes_hash_and_descriptor(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", 6)
    import hashlib

    sha256 = hashlib.sha256((photos / "0000.jpg").read_bytes()).hexdigest()
    row = ToyEmbedder().embed(to_batch(picture(2)))[0]
    ImageOps.mirror(picture(1)).save(photos / "mirrored.png")
    entries = [
        ListEntry(sha256=sha256, collection="protected"),
        ListEntry(pdq=hash_of(1), pdq_method=METHOD),
        ListEntry(descriptor=pack_descriptor(row), embedder=TOY),
        ListEntry(descriptor=pack_descriptor(unit_rows(1, 16)[0]), embedder=json.dumps(Named(16).spec.identity())),
    ]
    listed = DoNotTrain(entries, ToyEmbedder().spec)
    assert listed.other_descriptors == 1
    report = check_items(open_source(photos), listed, embedder=ToyEmbedder(), similarity=0.98)
    found = {item.uri: item for item in report.listed}
    assert set(found) == {"0000.jpg", "0001.jpg", "mirrored.png", "0002.jpg"}
    assert found["0000.jpg"].to_dict()["by"] == ["sha256"]
    assert found["0000.jpg"].to_dict()["collection"] == "protected"
    assert [m.by for m in found["mirrored.png"].meetings] == ["pdq"]
    assert found["0001.jpg"].meetings[0].bits is not None
    similarity = found["0002.jpg"].meetings[0].similarity
    assert similarity is not None
    assert similarity > 0.98
    report = check_items(open_source(photos), DoNotTrain(entries))  # without the embedder
    assert "0002.jpg" not in {item.uri for item in report.listed}


def test_hashes_of_other_programs(tmp_path: Path) -> None:
    bits, _ = pdqhash.compute(np.asarray(picture(3)))
    entry = ListEntry(pdq=np.packbits(bits.astype(bool)).tobytes().hex())
    report = check_items(open_source(photo_folder(tmp_path / "photos", 6)), DoNotTrain([entry]))
    assert [item.uri for item in report.listed] == ["0003.jpg"]
    assert report.listed[0].meetings[0].by == "pdq"


def test_pictures_that_cannot_be_read_are_listed_and_their_addresses_count(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", 2)
    (photos / "bad.jpg").write_bytes(b"text")
    (photos / "bad.json").write_text('{"url": "https://a.example/bad.jpg"}')
    (photos / "worse.jpg").write_bytes(b"")
    Image.new("RGB", (64, 64), "white").save(photos / "white.png")
    row = ToyEmbedder().embed(to_batch(Image.new("RGB", (64, 64), "white")))[0]
    entries = [
        ListEntry(url="https://a.example/bad.jpg"),
        ListEntry(pdq=hash_of(1), pdq_method=METHOD),
        ListEntry(descriptor=pack_descriptor(row), embedder=TOY),
    ]
    report = check_items(open_source(photos), DoNotTrain(entries, ToyEmbedder().spec), embedder=ToyEmbedder())
    assert [(skip.uri, skip.reason) for skip in report.skipped] == [("worse.jpg", "empty")]
    assert {item.uri for item in report.listed} == {"bad.jpg", "0001.jpg"}  # white is like everything that is white
    assert report.items == 5


def test_embeddings_are_compared_as_they_are(tmp_path: Path) -> None:
    rows = unit_rows(5, 16)
    np.save(tmp_path / "e.npy", rows)
    spec = Named(16).spec
    entry = ListEntry(descriptor=pack_descriptor(rows[3]), embedder=json.dumps(spec.identity(), sort_keys=True))
    listed, source = DoNotTrain([entry], spec), open_source(tmp_path / "e.npy", spec=spec)
    with pytest.raises(ConfigError, match="no thresholds"):
        check_items(source, listed, embedder=Named(16))
    report = check_items(source, listed, embedder=Named(16), similarity=0.99)
    assert [item.uri for item in report.listed] == ["e.npy#3"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "txt"])
def test_what_is_to_be_dropped_is_written(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "urls.jsonl").write_text('{"url": "https://a.example/1"}\n{"caption": "none"}\n')
    report = check_items(AddressSource(tmp_path / "urls.jsonl"), DoNotTrain([ListEntry(domain="a.example")]))
    assert [skip.reason for skip in report.skipped] == ["no_image"]
    write_items(report.listed, tmp_path / f"drop.{suffix}")
    if suffix == "txt":
        assert (tmp_path / "drop.txt").read_text() == "https://a.example/1\n"
    else:
        from guard.tablefile import read_rows

        (row,) = read_rows(tmp_path / f"drop.{suffix}")
        assert (row["uri"], row["entry"]) == ("https://a.example/1", "a.example")


def test_addresses_need_a_column(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match="no column of addresses"):
        check_items(AddressSource(tmp_path / "x.parquet"), DoNotTrain([]))
    with pytest.raises(ConfigError, match="no table"):
        AddressSource(tar_shard(tmp_path / "a.tar", [("a.jpg", jpeg(1))]))
