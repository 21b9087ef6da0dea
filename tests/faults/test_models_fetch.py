"""Downloads that are cut, changed, refused or damaged, against a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from guard.embedders.fetch import PINS, TRIES, fetch_file, pinned_sha256, put_file
from guard.errors import ConfigError, FetchError
from tests.support.range_server import Site, serve

BODY = bytes(range(256)) * 4096  # 1 MiB
OTHER = BODY[::-1]
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site({"/w.bin": BODY})) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "m" / "w.bin"


def leftovers(target: Path) -> list[str]:
    return sorted(p.name for p in target.parent.iterdir()) if target.parent.is_dir() else []


def test_whole_with_progress_and_pinned(site: Site, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    assert fetch_file(f"{site.url}/w.bin", target, progress=lambda *s: seen.append(s)) == SHA
    assert target.read_bytes() == BODY
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert pinned_sha256(target) == SHA
    assert leftovers(target) == [PINS, "w.bin"]


def test_a_file_that_is_there_is_not_fetched_again(site: Site, target: Path) -> None:
    for _ in range(2):
        fetch_file(f"{site.url}/w.bin", target)
    assert site.ranges == [None]


def test_a_cut_is_continued_within_one_call(site: Site, target: Path) -> None:
    site.cut_after, site.cuts_left = 300_000, 1
    assert fetch_file(f"{site.url}/w.bin", target, sha256=SHA) == SHA
    assert site.ranges == [None, "bytes=300000-"]


def test_cut_again_and_again_the_next_call_goes_on(site: Site, target: Path) -> None:
    site.cut_after = 200_000
    with pytest.raises(FetchError, match=r"(?s)cannot fetch .*again \(it goes on where it stopped\)"):
        fetch_file(f"{site.url}/w.bin", target)
    assert not target.exists()
    assert pinned_sha256(target) == ""
    assert len(site.ranges) == TRIES
    site.cut_after = None
    assert fetch_file(f"{site.url}/w.bin", target) == SHA
    assert site.ranges[-1] == f"bytes={TRIES * 200_000}-"
    assert target.read_bytes() == BODY


def test_a_file_changed_in_between_is_not_mixed(site: Site, target: Path) -> None:
    site.cut_after = 200_000
    with pytest.raises(FetchError):
        fetch_file(f"{site.url}/w.bin", target)
    site.cut_after, site.etag, site.files = None, '"two"', {"/w.bin": OTHER}
    fetch_file(f"{site.url}/w.bin", target)
    assert target.read_bytes() == OTHER


def test_without_a_validator_it_begins_again(site: Site, target: Path) -> None:
    site.etag, site.cut_after, site.cuts_left = "", 200_000, 1
    fetch_file(f"{site.url}/w.bin", target)
    assert site.ranges == [None, None]
    assert target.read_bytes() == BODY


def test_a_part_that_is_too_long_begins_again(site: Site, target: Path) -> None:
    site.cut_after = 200_000
    with pytest.raises(FetchError):
        fetch_file(f"{site.url}/w.bin", target)
    with target.with_name("w.bin.part").open("ab") as part:
        part.write(BODY)
    site.cut_after = None
    assert fetch_file(f"{site.url}/w.bin", target) == SHA


def test_a_wrong_published_checksum_leaves_nothing(site: Site, target: Path) -> None:
    with pytest.raises(FetchError, match=f"sha256 {SHA}, expected {'0' * 64}"):
        fetch_file(f"{site.url}/w.bin", target, sha256="0" * 64)
    assert not target.exists()
    assert "w.bin.part" not in leftovers(target)


def test_the_pin_is_enforced_afterwards(site: Site, target: Path) -> None:
    fetch_file(f"{site.url}/w.bin", target)
    target.unlink()
    site.files, site.etag = {"/w.bin": OTHER}, '"two"'
    with pytest.raises(FetchError, match=PINS):
        fetch_file(f"{site.url}/w.bin", target)
    assert not target.exists()
    assert pinned_sha256(target) == SHA


def test_a_damaged_copy_is_fetched_again(site: Site, target: Path) -> None:
    fetch_file(f"{site.url}/w.bin", target)
    target.write_bytes(OTHER)
    fetch_file(f"{site.url}/w.bin", target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("status", [403, 404, 500])
def test_http_errors_are_named(site: Site, target: Path, status: int) -> None:
    site.status = status
    with pytest.raises(FetchError, match=f"answered {status}"):
        fetch_file(f"{site.url}/w.bin", target)


def test_redirects_are_followed_but_not_to_a_source_that_would_be_refused(site: Site, target: Path) -> None:
    site.redirects = {"/there": "/w.bin", "/away": "http://example.org/w.bin"}
    site.cut_after, site.cuts_left = 300_000, 1
    assert fetch_file(f"{site.url}/there", target) == SHA
    assert site.ranges == [None, None, "bytes=300000-", "bytes=300000-"]
    with pytest.raises(ConfigError, match="only https and file"):
        fetch_file(f"{site.url}/away", target.with_name("x.bin"))


def test_no_network(target: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchError, match=r"(?s)cannot fetch http.*refused.*--from"):
        fetch_file(f"http://127.0.0.1:{port}/w.bin", target)


@pytest.mark.parametrize("url", ["http://example.org/w.bin", "ftp://127.0.0.1/w.bin", "/etc/hosts", "data:,x"])
def test_other_sources_are_refused(target: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="only https and file"):
        fetch_file(url, target)


def test_file_sources_and_brought_files(target: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine with a space.bin"
    mine.write_bytes(BODY)
    assert put_file(mine, target) == SHA
    assert target.read_bytes() == BODY
    assert mine.exists()
    with pytest.raises(ConfigError, match="no file at"):
        put_file(tmp_path / "absent", target)
    with pytest.raises(FetchError, match="cannot fetch file:"):
        fetch_file((tmp_path / "absent").as_uri(), target.with_name("x"))


def test_damaged_pins_are_named(site: Site, target: Path) -> None:
    fetch_file(f"{site.url}/w.bin", target)
    target.with_name(PINS).write_text("{")
    with pytest.raises(ConfigError, match=PINS):
        fetch_file(f"{site.url}/w.bin", target)


def test_a_folder_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file in the way")
    with pytest.raises(FetchError, match="cannot write"):
        fetch_file(f"{site.url}/w.bin", tmp_path / "models" / "m" / "w.bin")
