"""`memguard index build --small`: chosen by itself, measured, sealed, with pseudonyms."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guard.indexes import open_index
from tests.support.command import as_json, run
from tests.support.references import jpeg, photo_folder, tar_shard


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("small") / "photos", 8, side=160)


def test_a_small_folder_is_built_as_a_small_set(tmp_path: Path, photos: Path) -> None:
    index = tmp_path / "x.index"
    code, text = run("index", "build", photos, "--out", index)
    assert code == 0
    assert "built as a small set (--no-small for the usual way)" in text
    assert "small set: flag" in text
    code, report = as_json("index", "build", photos, "--out", index)
    assert (code, report["unchanged"], report["small"]["count"]) == (0, True, 8)
    assert run("check", photos / "0003.jpg", "--index", index, "--fail-on", "block")[0] == 1
    told = run("index", "info", index)[1]
    assert "small set" in told
    assert "they do not hold" not in told  # nothing is said of the embedder's thresholds, which are not in use
    explained = run("policy", "explain", photos / "0003.jpg", "--index", index)[1]
    assert "the small set, 8 references" in " ".join(explained.split())
    assert "0003.jpg: near identical: agreement" in explained
    info = as_json("index", "info", index)[1]
    assert info["small"]["flag"] == report["small"]["flag"]
    assert info["transform"]["whitening"] is not None
    code, report = as_json("index", "add", photo_folder(tmp_path / "more", 10, side=160, first=500), "--index", index)
    assert report["small"]["count"] == 18
    assert as_json("index", "remove", index, "--id", 0)[1]["count"] == 17
    assert run("check", photos / "0003.jpg", "--index", index, "--fail-on", "block")[0] == 1


@pytest.mark.parametrize(
    "options", [["--no-small"], ["--embedder", "pdq"], ["--thumbnails", "0"]], ids=["asked", "pdq", "no thumbnails"]
)
def test_others_are_not(tmp_path: Path, photos: Path, options: list[str]) -> None:
    code, report = as_json("index", "build", photos, "--out", tmp_path / "x.index", *options)
    assert (code, report["small"], report["version"]) == (0, None, "0001")
    assert as_json("index", "info", tmp_path / "x.index")[1]["small"] is None


def test_shards_and_parquet_are_counted_too(tmp_path: Path) -> None:
    pictures = [jpeg(i) for i in range(3)]
    shard = tar_shard(tmp_path / "s.tar", [(f"{i}.jpg", picture) for i, picture in enumerate(pictures)])
    code, text = run("index", "build", shard, "--out", tmp_path / "x.index")
    assert code == 0
    assert "built as a small set (--no-small for the usual way)" in text
    assert as_json("index", "info", tmp_path / "x.index")[1]["small"]["count"] == 3
    key, names = tmp_path / "x.key", tmp_path / "names.csv"
    key.write_text("ab" * 32, encoding="ascii")
    private = ("--key", key, "--pseudonyms", names)
    assert as_json("index", "build", shard, "--out", tmp_path / "y.index", *private)[1]["small"]["count"] == 3
    pq.write_table(pa.table({"image": pa.array(pictures, pa.binary())}), tmp_path / "s.parquet")
    built = as_json("index", "build", tmp_path / "s.parquet", "--out", tmp_path / "z.index")
    assert built[1]["small"]["count"] == 3
    assert as_json("index", "build", shard, "--out", tmp_path / "u.index", "--no-small")[1]["small"] is None


def test_no_picture_has_no_thresholds(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"no picture")
    code, text = run("index", "build", tmp_path / "photos", "--out", tmp_path / "x.index")
    assert code == 2
    assert "not_an_image" in text
    assert "no picture: nothing can be found in this index" in text
    assert "flag" not in text
    told = run("index", "info", tmp_path / "x.index")[1]
    assert "nothing can be found" in told
    assert "flag" not in told


def test_what_is_missing_is_said(tmp_path: Path, photos: Path) -> None:
    options = ["--small", "--embedder", "pdq", "--thumbnails", 0]
    warnings = as_json("index", "build", photos, "--out", tmp_path / "x.index", *options)[1]["small"]["warnings"]
    assert "makes bits" in warnings[0]
    assert "no thumbnails are stored" in warnings[0]


def test_a_stolen_index_shows_nobody(tmp_path: Path) -> None:
    patients = photo_folder(tmp_path / "patients", 4)
    for i, name in enumerate(("miller", "jones", "smith", "brown")):
        (patients / f"{i:04}.jpg").rename(patients / f"{name}.jpg")
        (patients / f"{name}.txt").write_text(f"chest of {name}", encoding="utf-8")
    (patients / "taylor.jpg").write_bytes(b"not a picture")
    key, index, names = tmp_path / "x.key", tmp_path / "x.index", tmp_path / "names.csv"
    key.write_text("ab" * 32, encoding="ascii")
    build = ("index", "build", patients, "--out", index, "--small", "--regions")
    assert run(*build, "--pseudonyms", names)[0] == 2
    assert run(*build, "--key", tmp_path / "none.key")[0] == 2
    code, report = as_json(*build, "--key", key, "--pseudonyms", names)
    assert (code, report["count"]) == (2, 4)  # one could not be read
    held = b"".join(file.read_bytes() for file in index.rglob("*") if file.is_file()).lower()
    for word in (
        b"miller",
        b"jones",
        b"smith",
        b"brown",
        b"taylor",
        b"chest",
        b"patients",
        b"\xff\xd8\xff",
        b"ab" * 32,
    ):
        assert word not in held, word
    with names.open(encoding="utf-8", newline="") as file:
        known = {row["name"]: row["uri"] for row in csv.DictReader(file)}
    assert sorted(known.values()) == ["brown.jpg", "jones.jpg", "miller.jpg", "smith.jpg", "taylor.jpg"]
    with open_index(index) as opened:
        assert {known[record.uri] for record in opened.records(range(4))} < set(known.values())
    assert run("check", patients / "jones.jpg", "--index", index)[0] == 2  # without the key
    code, text = run("index", "info", index)
    assert "sealed (aes-256-gcm" in text
    check = ("check", patients / "jones.jpg", "--index", index, "--fail-on", "block")
    assert run(*check, env={"MEMGUARD_INDEX_KEY_FILE": str(key)})[0] == 1
    more = photo_folder(tmp_path / "more", 6, first=500)
    assert run("index", "add", more / "0005.jpg", "--index", index)[0] == 2
    assert run("index", "add", more / "0005.jpg", "--index", index, "--key", key, "--pseudonyms", names)[0] == 0
    assert run("optout", "add", more / "0004.jpg", "--index", index, "--key", key)[0] == 0
    assert b"\xff\xd8\xff" not in b"".join(file.read_bytes() for file in index.rglob("*") if file.is_file())
