"""Do-not-train lists: written, read again, read from others, refused where they are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from guard.errors import ConfigError
from guard.optout.lists import KINDS, ListEntry, pack_descriptor, read_list, write_list
from guard.optout.naming import domain_key, plain_url, url_key
from guard.tablefile import SUFFIXES
from tests.support.references import unit_rows
from tests.support.specs import Named

SPEC = json.dumps(Named(16).spec.identity(), sort_keys=True)
ROW = unit_rows(1, 16)[0]
ENTRIES = [
    ListEntry(url="https://x.example/é 1.jpg", sha256="ab" * 32, collection="opt-out"),
    ListEntry(domain="studio.example.com", until="2030-01-01T00:00:00+00:00"),
    ListEntry(pdq="0f" * 32, pdq_method="m", descriptor=pack_descriptor(ROW), embedder=SPEC),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_list_comes_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"list{suffix}"
    assert write_list(ENTRIES, path) == (3, 0)
    found = list(read_list(path))
    assert found == ENTRIES
    assert float(found[2].vector() @ ROW) > 1 - 1e-3
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_of_mark_alone(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"list{suffix}"
    assert write_list(ENTRIES, path, kind) == (1, 2)
    (entry,) = read_list(path)
    (whole,) = (one for one in ENTRIES if getattr(one, kind))
    assert [name for name in KINDS if getattr(entry, name)] == [kind]
    for name in (kind, *{"pdq": ["pdq_method"], "descriptor": ["embedder"]}.get(kind, []), "collection", "until"):
        assert getattr(entry, name) == getattr(whole, name)


def test_a_text_holds_one_kind(tmp_path: Path) -> None:
    odd = "https://x.example/a\u2028b\n.jpg"  # as a page may write it
    entries = [*ENTRIES, ENTRIES[0], ListEntry(url=odd)]
    assert write_list(entries, tmp_path / "urls.txt", "url") == (2, 2)
    assert write_list(entries, tmp_path / "domains.txt", "domain") == (1, 4)
    urls = list(read_list(tmp_path / "urls.txt"))
    assert urls[0] == ListEntry(url=ENTRIES[0].url)
    assert [plain_url(entry.url) for entry in urls] == [plain_url(ENTRIES[0].url), plain_url(odd)]
    assert list(read_list(tmp_path / "domains.txt")) == [ListEntry(domain=ENTRIES[1].domain)]
    for kind in (None, "sha256", "pdq", "descriptor"):
        with pytest.raises(ConfigError, match="--kind url or --kind domain"):
            write_list(ENTRIES, tmp_path / "list.txt", kind)
    with pytest.raises(ConfigError, match="unknown kind 'hash'"):
        write_list(ENTRIES, tmp_path / "list.csv", "hash")


@pytest.mark.parametrize(
    ("name", "text", "entries"),
    [
        ("l.txt", "# mine\na.example\n\nhttps://a.example/x#1\n", [("", "a.example"), ("https://a.example/x#1", "")]),
        ("l.csv", "URL,reason\nhttp://a.example/x.jpg,mine\n", [("http://a.example/x.jpg", "")]),
        ("l.csv", "url,domain\nhttp://a.example/x.jpg,a.example\n,B.example.\n",
         [("http://a.example/x.jpg", ""), ("", "b.example")]),
        ("l.jsonl", '{"domain": "www.a.example"}\n', [("", "a.example")]),
    ],
)  # fmt: skip
def test_lists_of_others(tmp_path: Path, name: str, text: str, entries: list[tuple[str, str]]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [(entry.url, entry.domain) for entry in read_list(tmp_path / name)] == entries


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.jsonl", '{"note": "?"}\n', "entry 1: it has neither"),
        ("l.jsonl", '{"domain": "a.example"}\n{"sha256": "ab"}\n', "entry 2: sha256 'ab'"),
        ("l.jsonl", '{"pdq": "zz"}\n', "pdq"),
        ("l.jsonl", '{"domain": "a.example", "until": "soon"}\n', "until 'soon'"),
        ("l.jsonl", '{"descriptor": "!", "embedder": "{}"}\n', "descriptor"),
        ("l.jsonl", '{"descriptor": "AAA=", "embedder": "{\\"dim\\": 16, \\"name\\": \\"n\\"}"}\n', "16 finite values"),
        ("l.csv", "url\nftp://a.example/x\n", "no URL"),
        ("l.txt", "not a domain\n", "line 1"),
        ("none.csv", "", "does not exist"),
    ],
)
def test_what_says_nothing_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    if text:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        list(read_list(tmp_path / name))
    with pytest.raises(ConfigError, match=r"\.jsonl"):
        write_list(ENTRIES, tmp_path / "list.doc")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://www.A.example:443/x.jpg", "http://a.example/x.jpg#top", True),
        ("https://a.example/x/", "https://a.example/x", True),
        ("https://a.example/x?a=1", "https://a.example/x?a=2", False),
        ("https://a.example:8080/x", "https://a.example/x", False),
        ("https://a.example/X", "https://a.example/x", False),
    ],
)
def test_two_ways_to_write_an_address(one: str, other: str, same: bool) -> None:
    assert (plain_url(one) == plain_url(other)) is same


def test_what_is_no_address() -> None:
    assert [plain_url(text) for text in ("", "a.jpg", "https://", "https://[", "https://a:x/")] == [""] * 5
    for wrong in ("a.jpg", "https://"):
        with pytest.raises(ConfigError, match="no URL"):
            url_key(wrong)
    for wrong in ("", "example", "a b.example", "https://a.example", "a..example"):
        with pytest.raises(ConfigError, match="no domain"):
            domain_key(wrong)
    assert domain_key(" WWW.Studio.Example.com. ") == "domain:studio.example.com"


def test_an_entry_holds_until_its_end() -> None:
    entry = ListEntry(domain="a.example", until="2030-01-01")
    end = 1893456000.0
    assert [entry.over(at) for at in (end - 1, end)] == [False, True]
    assert not ListEntry(domain="a.example").over(end)


def test_float16_keeps_a_cosine() -> None:
    rows = unit_rows(50, 256)
    again = np.array([ListEntry(descriptor=pack_descriptor(row)).vector() for row in rows])
    assert np.abs(again @ rows.T - rows @ rows.T).max() < 1e-3
