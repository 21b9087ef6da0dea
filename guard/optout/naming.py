"""What a person names -> keys of the overlay: references by id, uri or SHA-256, hits of a search, URLs, whole domains.

Knows how each is written; changes nothing. A URL or a domain needs no picture: no check looks it up, but a
do-not-train list holds it (guard.optout.lists).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from guard.errors import ConfigError
from guard.indexes.moment import Moment
from guard.indexes.overlay import key_of
from guard.tablefile import read_rows
from guard.types import Record

if TYPE_CHECKING:
    from guard.indexes.store import OpenIndex

__all__ = ["DOMAIN", "domain_key", "is_url", "keys_of_hits", "keys_of_references", "plain_url", "url_key"]

DOMAIN = "domain:"
URI = "uri:"
_HOST = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def plain_url(url: str) -> str:
    """What two ways to write a URL have in common: no scheme, fragment, default port or "www.".

    The host is in small letters. "" for what is no URL.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").removeprefix("www."), parts.port
    except ValueError:
        return ""
    if parts.scheme.lower() not in ("http", "https") or not host:
        return ""
    at = host if port in (None, 80, 443) else f"{host}:{port}"
    return f"{at}{parts.path.rstrip('/')}" + (f"?{parts.query}" if parts.query else "")


def url_key(url: str) -> str:
    """Raises ConfigError for what is no URL."""
    if not plain_url(url):
        raise ConfigError(f"{url!r} is no URL; write it out, as https://example.com/picture.jpg")
    return URI + url.strip()


def domain_key(domain: str) -> str:
    """Of a domain and all below it. Raises ConfigError for what is none."""
    host = domain.strip().lower().rstrip(".").removeprefix("www.")
    if not _HOST.fullmatch(host):
        raise ConfigError(f"{domain!r} is no domain; write it as example.com")
    return DOMAIN + host


def keys_of_references(
    index: OpenIndex | Moment,
    *,
    ids: Iterable[int] = (),
    uris: Iterable[str] = (),
    sha256s: Iterable[str] = (),
) -> list[str]:
    """Keys of references of the version or its overlay. Raises ConfigError for one that neither holds."""
    version, added = (index.base, index.added) if isinstance(index, Moment) else (index, [])
    by_id, by_uri = {r.id: r for r in added}, {r.uri: r for r in added}
    keys: list[str] = []
    for number in ids:
        if number in by_id:
            keys.append(key_of(by_id[number]))
        else:
            keys += _found(version, f"id {number}", ids=[number])
    for uri in uris:
        keys += [key_of(by_uri[uri])] if uri in by_uri else _found(version, f"uri {uri}", uris=[uri])
    for sha256 in sha256s:
        if not _SHA256.fullmatch(sha256.lower()):
            raise ConfigError(f"{sha256!r} is no SHA-256: 64 hexadecimal digits")
        keys.append(sha256.lower())  # also of a picture that nobody holds yet
    return list(dict.fromkeys(keys))


def keys_of_hits(path: Path) -> list[str]:
    """Keys of what `memguard search --out` wrote: .jsonl, .csv or .parquet with columns sha256 and uri.

    Raises ConfigError for a file without them.
    """
    keys = []
    for row in read_rows(path):
        sha256, uri = str(row.get("sha256") or "").lower(), str(row.get("uri") or "")
        if not (_SHA256.fullmatch(sha256) or uri):
            raise ConfigError(
                f"{path} has a row without sha256 and uri; give the file that `memguard search --out` wrote"
            )
        keys.append(key_of(Record(-1, uri, sha256)))
    return list(dict.fromkeys(keys))


def _found(version: OpenIndex, what: str, **wanted: Sequence[Any]) -> list[str]:
    found = sorted(version.reader.ids_where(**wanted))
    if not found:
        meant = next(filter(None, map(version.reader.uri_like, wanted.get("uris", ()))), "")
        hint = f"did you mean {meant}?" if meant else "`memguard search` finds what it holds"
        raise ConfigError(f"no reference of this index has the {what}; {hint}")
    return [key_of(record) for record in version.records(found)]
