"""A do-not-train list: what a trainer must leave out, as a file that others can read. Knows fields and files.

One entry a line of JSON, a row of CSV or of Parquet, each kind of mark in a column of its own; or a plain text file of
URLs, or of domains, one a line. Any field may be empty, but not all of them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.errors import ConfigError
from guard.optout.naming import DOMAIN, domain_key, is_url, plain_url
from guard.tablefile import SUFFIXES, read_rows, write_lines, write_rows

__all__ = ["FORMATS", "KINDS", "ListEntry", "pack_descriptor", "read_list", "write_list"]

FORMATS = (*SUFFIXES, ".txt")
KINDS = ("url", "domain", "sha256", "pdq", "descriptor")
"""Of marks by which an entry can be told."""
IN_TEXT = ("url", "domain")
"""Kinds that a line of text can say: two hashes look alike, and a descriptor means nothing without its embedder."""
_PDQ_HEX = 64


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One thing not to train on: a picture by any of its marks, or all of a domain."""

    url: str = ""
    """Of the picture; compared without scheme, "www.", default port and fragment."""
    domain: str = ""
    """Everything of this domain and those below it."""
    sha256: str = ""
    """Of the encoded bytes."""
    pdq: str = ""
    """64 hexadecimal digits."""
    pdq_method: str = ""
    """How the hash was made (guard.embedders.pdq.METHOD); "" for PDQ's own programs, which differ by some bits."""
    descriptor: str = ""
    """float16 values, little-endian, in base64; of the picture as a whole."""
    embedder: str = ""
    """What made it: the fields of EmbedderSpec.identity() as JSON, keys in order. Others do not compare."""
    collection: str = ""
    """For information."""
    until: str = ""
    """An ISO date and time in UTC from which the entry holds no more; "" for ever."""

    def over(self, now: float) -> bool:
        """now: seconds since the epoch. Raises ValueError for what is no time."""
        if not self.until:
            return False
        moment = datetime.fromisoformat(self.until)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() <= now

    @property
    def place(self) -> str:
        """What to call it in a report."""
        return self.url or self.domain or self.sha256 or (f"pdq:{self.pdq}" if self.pdq else "descriptor")

    def vector(self) -> npt.NDArray[np.float32]:
        """The descriptor, of unit norm."""
        row = np.frombuffer(base64.b64decode(self.descriptor), "<f2").astype(np.float32)
        return np.asarray(row / np.linalg.norm(row), np.float32)


_NAMES = tuple(field.name for field in fields(ListEntry))
_ONE_LINE = dict.fromkeys(map(ord, "\t\r\n"))  # a URL is the same without them
_WITH = {"pdq": ("pdq_method",), "descriptor": ("embedder",)}
"""What a kind of mark says nothing without."""
_OTHER_NAMES = {"URL": "url", "host": "domain", "hash": "pdq", "pdq_hash": "pdq"}


def pack_descriptor(row: npt.NDArray[np.floating[Any]]) -> str:
    """(dim,) -> base64 of float16: a cosine changes by less than 1e-3."""
    return base64.b64encode(np.asarray(row, "<f2").tobytes()).decode("ascii")


def write_list(entries: Iterable[ListEntry], path: Path, kind: str | None = None) -> tuple[int, int]:
    """Write a list in the format that the suffix names, all or nothing; returns how many, and how many were left out.

    kind: one of KINDS: only entries that have this mark, and nothing else of them but collection and until; None for
    everything. A .txt holds one kind, url or domain, a line each and no until. Raises ConfigError for a kind or suffix
    that cannot be, or a file that cannot be written, MissingExtraError without pyarrow.
    """
    text = path.suffix.lower() == ".txt"
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"unknown kind {kind!r} of entry; known: {', '.join(KINDS)}")
    if text and kind not in IN_TEXT:
        raise ConfigError(
            f"{path}: a .txt holds one kind of entry, a line each: --kind url or --kind domain; .jsonl, .csv and "
            ".parquet hold all kinds, each in a column of its own"
        )
    found = list(entries)
    having = found if kind is None else [entry for entry in found if getattr(entry, kind)]
    left_out = len(found) - len(having)
    if text:
        lines = list(dict.fromkeys(getattr(entry, str(kind)).translate(_ONE_LINE) for entry in having))
        write_lines(lines, path)
        return len(lines), left_out
    names = _NAMES if kind is None else (kind, *_WITH.get(kind, ()), "collection", "until")
    said = [{name: value for name in names if (value := getattr(entry, name))} for entry in having]
    write_rows(said, path, dict.fromkeys(names, "text"))
    return len(said), left_out


def read_list(path: Path) -> Iterator[ListEntry]:
    """Entries of a list, ours or one of URLs, domains or hashes that others wrote.

    Raises ConfigError, naming the row, for an entry that says nothing or is damaged.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; name a do-not-train list ({', '.join(FORMATS)})")
    if path.suffix.lower() == ".txt":
        yield from _lines(path)
        return
    for number, row in enumerate(read_rows(path), 1):
        try:
            yield _entry(row)
        except ValueError as exc:
            raise ConfigError(f"{path}, entry {number}: {exc}") from exc


def _lines(path: Path) -> Iterator[ListEntry]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} cannot be read as text: {exc}") from exc
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would break a URL at what may stand in one
        said = line.partition("#")[0].strip() if not is_url(line.strip()) else line.strip()
        if said:
            try:
                yield _entry({"url": said} if is_url(said) else {"domain": said})
            except ValueError as exc:
                raise ConfigError(f"{path}, line {number}: {exc}") from exc


def _entry(row: dict[str, Any]) -> ListEntry:
    """Raises ValueError for what cannot be compared."""
    known = {_OTHER_NAMES.get(name, name): value for name, value in row.items()}
    said = {name: str(known[name]).strip() for name in _NAMES if known.get(name) not in (None, "")}
    entry = ListEntry(**said)
    if entry.url and not plain_url(entry.url):
        raise ValueError(f"{entry.url!r} is no URL")
    domain = domain_key(entry.domain).removeprefix(DOMAIN) if entry.domain else ""
    if entry.sha256 and (len(entry.sha256) != 64 or not _is_hex(entry.sha256)):
        raise ValueError(f"sha256 {entry.sha256!r} has not 64 hexadecimal digits")
    if entry.pdq and (len(entry.pdq) != _PDQ_HEX or not _is_hex(entry.pdq)):
        raise ValueError(f"pdq {entry.pdq!r} has not {_PDQ_HEX} hexadecimal digits")
    if entry.descriptor:
        _check_descriptor(entry)
    try:
        entry.over(0)
    except ValueError as exc:
        raise ValueError(f"until {entry.until!r} is no ISO date and time") from exc
    if not (entry.url or domain or entry.sha256 or entry.pdq or entry.descriptor):
        raise ValueError("it has neither url, domain, sha256, pdq nor descriptor")
    if entry.url and domain:  # of the picture's own address: the other pictures there are not meant
        domain = ""
    return ListEntry(**{**asdict(entry), "domain": domain, "sha256": entry.sha256.lower(), "pdq": entry.pdq.lower()})


def _check_descriptor(entry: ListEntry) -> None:
    try:
        row = np.frombuffer(base64.b64decode(entry.descriptor, validate=True), "<f2").astype(np.float32)
        said = json.loads(entry.embedder)
        dim, _ = said["dim"], said["name"]
    except (binascii.Error, ValueError, KeyError, TypeError) as exc:
        raise ValueError("its descriptor, or what it says of the embedder, cannot be read") from exc
    if row.shape != (dim,) or not np.isfinite(row).all() or not row.any():
        raise ValueError(f"its descriptor is not one of {dim} finite values")


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)
