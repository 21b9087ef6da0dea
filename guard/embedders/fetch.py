"""One file from a URL to disk: resumed after a cut, checked, put in place by one rename. Knows HTTP; no model.

A checksum that nobody published is pinned when the file is first fetched (`checksums.json` beside it)
and enforced from then on.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guard.embedders.files import sha256_of
from guard.errors import ConfigError, FetchError

__all__ = ["PINS", "Progress", "fetch_file", "pinned_sha256", "put_file"]

PINS = "checksums.json"
TRIES = 3  # downloads that get somewhere and are cut; the next one goes on where the last one ended
TIMEOUT_S = 30.0  # without a byte
CHUNK = 1 << 18
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes of the whole file, None if the server does not say."""


def fetch_file(url: str, target: Path, *, sha256: str = "", progress: Progress | None = None) -> str:
    """Download url to target and return its checksum; an existing target that fits is left as it is.

    url: https, file, or http on this machine. sha256: the published one; "" takes the pinned one, and
    pins what arrives if there is none. What is there of a cut download (`.part`) is kept and continued
    by HTTP Range, as long as the server still has the same file (ETag or Last-Modified).
    Raises FetchError if the source cannot be reached or holds another file, ConfigError for another scheme.
    """
    _check_scheme(url)
    wanted = (sha256 or pinned_sha256(target)).lower()
    if target.is_file() and wanted and sha256_of(target) == wanted:
        return wanted
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _download(url, target, progress)
    except OSError as exc:
        if isinstance(exc, FetchError):
            raise
        raise FetchError(f"cannot write {target}: {exc}") from exc
    return _accept(part, target, wanted, url)


def put_file(source: Path, target: Path, *, sha256: str = "") -> str:
    """Take a file that the user brought instead of a download, under the same rules for its checksum."""
    if not source.is_file():
        raise ConfigError(f"no file at {source}")
    return fetch_file(source.resolve().as_uri(), target, sha256=sha256)


def pinned_sha256(target: Path) -> str:
    """Return the checksum pinned for this file, "" if there is none."""
    try:
        pins = json.loads(target.with_name(PINS).read_text(encoding="utf-8"))
        return str(pins.get(target.name, ""))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (ValueError, AttributeError) as exc:
        raise ConfigError(f"{target.with_name(PINS)} is damaged; delete it and the files beside it") from exc


def _accept(part: Path, target: Path, wanted: str, url: str) -> str:
    found = sha256_of(part)
    if wanted and found != wanted:
        part.unlink()
        raise FetchError(
            f"{url} gave a file with sha256 {found}, expected {wanted}; it was thrown away. If the publisher has "
            f"replaced it on purpose, delete {target.name} from {target.with_name(PINS)} and fetch again"
        )
    part.replace(target)
    _validator(target).unlink(missing_ok=True)
    if pinned_sha256(target) != found:
        _pin(target, found)
    return found


def _pin(target: Path, sha256: str) -> None:
    path = target.with_name(PINS)
    pins = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps({**pins, target.name: sha256}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)


def _download(url: str, target: Path, progress: Progress | None) -> Path:
    part = target.with_name(target.name + ".part")
    for left in reversed(range(TRIES)):
        before = part.stat().st_size if part.is_file() else 0
        try:
            _one_try(url, target, part, progress)
            return part
        except urllib.error.HTTPError as exc:
            exc.close()
            raise FetchError(f"{url} answered {exc.code} {exc.reason}") from exc
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as exc:
            got_on = part.is_file() and part.stat().st_size > before
            if not left or not got_on:
                reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
                raise FetchError(
                    f"cannot fetch {url}: {reason or type(exc).__name__}. Look at the network or proxy and run the "
                    "command again (it goes on where it stopped), or bring the file with --from"
                ) from exc
    raise AssertionError("unreachable")


def _one_try(url: str, target: Path, part: Path, progress: Progress | None) -> None:
    have, known = 0, _validator(target)
    request = urllib.request.Request(url, headers={"User-Agent": "memorization-guard"})  # noqa: S310 - see _check_scheme
    if part.is_file() and known.is_file():
        have = part.stat().st_size
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known.read_text(encoding="utf-8"))
    try:
        response = urllib.request.build_opener(_SafeRedirects).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as exc:
        if exc.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        exc.close()  # the part is as long as the file, or longer: begin again
        part.unlink()
        _one_try(url, target, part, progress)
        return
    with contextlib.closing(response):
        if getattr(response, "status", None) != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        _remember_validator(known, response.headers)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            if progress:
                progress(have, total)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                if progress:
                    progress(have, total)
    if total is not None and have != total:
        raise http.client.IncompleteRead(b"", total - have)


def _remember_validator(known: Path, headers: http.client.HTTPMessage) -> None:
    etag = headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    if validator:
        known.write_text(validator, encoding="utf-8")
    else:
        known.unlink(missing_ok=True)  # cannot be resumed safely


def _validator(target: Path) -> Path:
    return target.with_name(target.name + ".part.validator")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect must not lead from https to a source that would be refused as such."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in ("https", "file") or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return
    raise ConfigError(f"{url} cannot be fetched from: only https and file sources are (and http on this machine)")
