"""`memguard optout`: a running guard sees each change, and lists go both ways."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guard import Decision, Guard
from guard.indexes.overlay import Overlay
from tests.support.command import as_json, run
from tests.support.references import jpeg, photo_folder, tar_shard
from tests.support.toys import picture


@pytest.fixture
def index(tmp_path: Path) -> Path:
    photos = photo_folder(tmp_path / "photos", 6)
    for i in range(6):
        (photos / f"{i:04d}.txt").write_text(f"a fox, {i}", encoding="utf-8")
    assert run("index", "build", photos, "--out", tmp_path / "x.index", "--embedder", "pdq")[0] == 0
    return tmp_path / "x.index"


@pytest.fixture
def portfolio(tmp_path: Path) -> Path:
    folder = photo_folder(tmp_path / "portfolio", 0)
    for seed in (50, 51):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed))
    return folder


def test_a_portfolio_counts_from_the_next_check_on(index: Path, portfolio: Path) -> None:
    guard = Guard.open(index)
    assert guard.check([picture(50)])[0].decision is Decision.ALLOW
    code, report = as_json("optout", "add", portfolio, "--index", index, "--who", "anna", "--why", "a letter")
    assert (code, report["pictures"], report["collections"]) == (0, 2, ["opt-out"])
    (verdict,) = guard.check([picture(50)])
    assert verdict.decision is Decision.BLOCK
    assert verdict.matches[0].record.collections == ("opt-out",)
    back = ("optout", "remove", portfolio / "50.jpg", "--index", index)
    assert run(*back, "--who", "ben", "--why", "a licence")[0] == 0
    assert guard.check([picture(50)])[0].decision is Decision.ALLOW
    assert guard.check([picture(51)])[0].decision is Decision.BLOCK
    changes = as_json("optout", "history", "--index", index)[1]["changes"]
    assert [(c["who"], c["action"], c.get("why")) for c in changes][-1] == ("ben", "withdraw", "a licence")
    assert {c["who"] for c in changes} == {"anna", "ben"}
    assert "a licence" in run("optout", "history", "--index", index)[1]
    assert run(*back)[0] == 2


def test_a_full_path_is_no_uri_and_the_name_that_was_meant_is_said(index: Path) -> None:
    for verb in ("add", "remove"):
        code, said = run("optout", verb, "--index", index, "--uri", index.parent / "photos" / "0003.jpg")
        assert (code, "did you mean 0003.jpg?" in said) == (2, True)
    assert "`memguard search` finds" in run("optout", "add", "--index", index, "--uri", "nothing.jpg")[1]


def test_the_history_names_each_picture(index: Path, portfolio: Path) -> None:
    assert run("optout", "add", portfolio / "50.jpg", "--index", index)[0] == 0
    rows = run("optout", "history", "--index", index)[1].splitlines()[1:]
    assert [("50.jpg" in row, "…" in row) for row in rows] == [(True, False)] * 2  # what was added, and what it is in


def test_what_is_said_counts_right(index: Path, portfolio: Path) -> None:
    add = ("optout", "add", "--index", index)
    assert "1 picture added: opt-out" in run(*add, portfolio / "50.jpg")[1]
    assert "2 pictures added and 1 named: opt-out" in run(*add, portfolio, "--id", 0)[1]
    assert run(*add, "--id", 1, "--collection", "protected")[1].startswith("1 named: protected")
    assert "1 entry taken back" in run("optout", "remove", "--index", index, "--id", 1)[1]
    assert "2 entries taken back" in run("optout", "remove", "--index", index, "--id", 0, portfolio / "51.jpg")[1]


def test_a_folder_comes_and_goes_as_a_whole(index: Path, portfolio: Path) -> None:
    assert "the overlay protects nothing" in run("optout", "list", "--index", index)[1]
    add = ("optout", "add", portfolio, "--index", index)
    assert "did you mean opt-out?" in run(*add, "--collection", "optout")[1]
    assert "mean" not in run(*add, "--collection", "training")[1]
    (portfolio / "broken.jpg").symlink_to("nowhere")
    back = ("optout", "remove", portfolio, "--index", index)
    code, text = run(*back)
    assert code == 2
    assert "cannot be opened" in " ".join(text.split())
    assert len(Overlay(index).memberships()) == 4
    (portfolio / "broken.jpg").unlink()
    assert "4 entries taken back" in run(*back)[1]
    assert Overlay(index).memberships() == []


def test_what_a_sealed_index_keeps_without_its_key_is_said(
    tmp_path: Path, portfolio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEMGUARD_INDEX_KEY_FILE", raising=False)
    key, sealed = tmp_path / "x.key", tmp_path / "sealed.index"
    key.write_text("ab" * 32)
    assert run("index", "build", tmp_path / "portfolio", "--out", sealed, "--embedder", "pdq", "--key", key)[0] == 0
    add = ("optout", "add", portfolio / "50.jpg", "--index", sealed)
    assert "descriptors alone" in run(*add)[1]
    assert "descriptors alone" not in run(*add, "--key", key)[1]


def test_what_is_over_counts_no_more(index: Path, portfolio: Path) -> None:
    guard = Guard.open(index)
    late = datetime.now(UTC) + timedelta(days=2)
    assert run("optout", "add", portfolio, "--index", index, "--until", "1d")[0] == 0
    assert guard.check([picture(50)])[0].decision is Decision.BLOCK
    guard.index.overlay._clock = late.timestamp  # type: ignore[attr-defined]  # the day after tomorrow
    assert guard.check([picture(50)])[0].decision is Decision.ALLOW
    assert run("optout", "add", portfolio, "--index", index, "--until", "2001-01-01")[0] == 2
    assert run("optout", "add", portfolio, "--index", index, "--until", "soon")[0] == 2


def test_hits_of_a_search_and_references_by_name(tmp_path: Path, index: Path) -> None:
    assert run("search", "--index", index, "--words", '"fox 3"', "--out", tmp_path / "hits.csv")[0] == 0
    assert run("optout", "add", "--index", index, "--hits", tmp_path / "hits.csv", "--collection", "protected")[0] == 0
    assert run("optout", "add", "--index", index, "--id", 1, "--uri", "0002.jpg", "--sha256", "ab" * 32)[0] == 0
    entries = as_json("optout", "list", "--index", index)[1]["entries"]
    assert {(e["uri"], e["collection"], e["where"]) for e in entries} == {
        ("0003.jpg", "protected", "index"),
        ("0001.jpg", "opt-out", "index"),
        ("0002.jpg", "opt-out", "index"),
        ("", "opt-out", None),
    }
    code, text = run("optout", "list", "--index", index, "--collection", "protected")
    assert code == 0
    assert "0003.jpg" in text
    assert "0001.jpg" not in text
    guard = Guard.open(index)
    assert set(guard.check([picture(3)])[0].matches[0].record.collections) == {"training", "protected"}


def test_lists_go_both_ways(tmp_path: Path, index: Path, portfolio: Path) -> None:
    add = ("optout", "add", "--index", index)
    assert run(*add, portfolio, "--domain", "studio.example", "--url", "https://a.example/1.jpg")[0] == 0
    assert run(*add, "--uri", "0002.jpg", "--collection", "protected", "--until", "90d")[0] == 0
    code, report = as_json("optout", "export", "--index", index, "--out", tmp_path / "list.jsonl")
    assert (code, report["entries"]) == (0, 5)
    lines = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    assert {"domain": "studio.example", "collection": "opt-out"} in lines
    pictures = [line for line in lines if "descriptor" in line]
    assert len(pictures) == 3
    assert [bool(line.get("until")) for line in pictures] == [True, False, False]
    export = ("optout", "export", "--index", index, "--collection", "opt-out")
    code, text = run(*export, "--out", tmp_path / "list.txt")
    assert code == 2
    assert "--kind url or --kind domain" in " ".join(text.split())
    assert "3 entries without a url left out" in run(*export, "--kind", "url", "--out", tmp_path / "urls.txt")[1]
    assert (tmp_path / "urls.txt").read_text() == "https://a.example/1.jpg\n"
    report = as_json(*export, "--kind", "domain", "--out", tmp_path / "domains.txt")[1]
    assert (report["kind"], report["entries"], report["left_out"]) == ("domain", 1, 3)
    assert (tmp_path / "domains.txt").read_text() == "studio.example\n"

    shard = [("1.jpg", jpeg(51)), ("1.json", b"{}"), ("2.jpg", jpeg(7)), ("2.json", b"{}"), ("3.jpg", jpeg(2)),
             ("4.jpg", jpeg(8)), ("4.json", b'{"url": "https://cdn.studio.example/x.jpg"}')]  # fmt: skip
    tar_shard(tmp_path / "s.tar", shard)
    for named in (("--list", tmp_path / "list.jsonl"), ("--index", index)):
        code, report = as_json("optout", "check", tmp_path / "s.tar", *named, "--out", tmp_path / "drop.txt")
        assert code == 1
        assert report["items"] == 4
        assert {hit["uri"]: hit["by"] for hit in report["hits"]} == {
            "s.tar/1.jpg": ["sha256", "descriptor"],
            "s.tar/3.jpg": ["sha256", "descriptor"],
            "s.tar/4.jpg": ["domain"],
        }
        assert (tmp_path / "drop.txt").read_text().split() == ["s.tar/1.jpg", "s.tar/3.jpg", "s.tar/4.jpg"]
    lists = ("--list", tmp_path / "urls.txt", "--list", tmp_path / "domains.txt")
    code, text = run("optout", "check", tmp_path / "s.tar", *lists)
    assert code == 1
    assert "1 of 4 items on the list of 2 entries" in text
    assert run("optout", "check", photo_folder(tmp_path / "other", 1), *lists)[0] == 0
    (tmp_path / "other" / "bad.jpg").write_bytes(b"text")
    assert run("optout", "check", tmp_path / "other", "--index", index)[0] == 2


def test_an_index_that_was_built_with_opt_outs_lists_them(tmp_path: Path, index: Path, portfolio: Path) -> None:
    assert run("index", "add", portfolio, "--index", index, "--collection", "opt-out")[0] == 0
    assert as_json("optout", "export", "--index", index, "--out", tmp_path / "l.csv")[1]["entries"] == 2
    assert "the index itself, as it was built, holds 2 in opt-out" in run("optout", "list", "--index", index)[1]
    assert as_json("optout", "list", "--index", index)[1]["in_the_index"] == {"opt-out": 2}
    shard = tar_shard(tmp_path / "s.tar", [("1.jpg", jpeg(50))])
    assert as_json("optout", "check", shard, "--list", tmp_path / "l.csv")[0] == 1


def test_tables_of_addresses_need_no_pictures(tmp_path: Path, index: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert run("optout", "add", "--index", index, "--domain", "studio.example")[0] == 0
    table = pa.table({"URL": ["https://studio.example/1.jpg", "https://b.example/2.jpg"], "TEXT": ["a", "b"]})
    pq.write_table(table, tmp_path / "laion.parquet")
    (tmp_path / "urls.csv").write_text("url\nhttps://studio.example/3.jpg\n")
    code, report = as_json("optout", "check", tmp_path / "laion.parquet", tmp_path / "urls.csv", "--index", index)
    assert (code, report["items"], report["listed"], report["by"]) == (1, 3, 2, {"domain": 2})
    assert report["pictures_not_there"] == 0
    (tmp_path / "list.csv").write_text(f"sha256,domain,until\n{'ab' * 32},,\n,b.example,2001-01-01\n")
    code, report = as_json("optout", "check", tmp_path / "urls.csv", "--list", tmp_path / "list.csv")
    assert (code, report["entries"], report["pictures_not_there"]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add",), "say what to protect"),
        (("add", "--id", "99"), "no reference"),
        (("add", "--uri", "none.jpg"), "no reference"),
        (("add", "--sha256", "ab"), "SHA-256"),
        (("add", "--url", "a.jpg"), "no URL"),
        (("add", "--domain", "x"), "no domain"),
        (("add", "--hits", "{tmp}/none.csv"), "does not exist"),
        (("add", "--hits", "{tmp}/empty.csv"), "without sha256"),
        (("add", "{tmp}/none"), "does not exist"),
        (("remove",), "say what to take back"),
        (("remove", "{tmp}/none.jpg"), "does not exist"),
        (("add", "{tmp}/nothing"), "there is no picture in"),
        (("remove", "{tmp}/nothing"), "there is no picture in"),
        (("add", "{tmp}/none", "--domain", "a.example"), "does not exist"),
        (("remove", "--id", "1"), "nothing of that"),
        (("export", "--out", "{tmp}/list.doc"), ".jsonl"),
    ],
)
def test_wrong_usage_exits_with_2(tmp_path: Path, index: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "empty.csv").write_text("a\n1\n")
    (tmp_path / "nothing").mkdir()
    code, text = run("optout", words[0], "--index", index, *(word.format(tmp=tmp_path) for word in words[1:]))
    assert code == 2
    assert said in text.replace("\n", " ")
    assert Overlay(index).memberships() == []
    assert run("optout", "check", tmp_path / "photos")[0] == 2
    assert run("optout", "check", tmp_path / "photos", "--list", tmp_path / "none.csv")[0] == 2
    assert run("optout", "list", "--index", tmp_path / "none.index")[0] == 3
