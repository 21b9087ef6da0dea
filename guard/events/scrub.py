"""What a log knows of a reference is taken out of it: pictures, names, words. Knows rows and JSON; no index.

The events stay, with their time, decision and numbers, so that rates and audits still add up; what is gone says so.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from guard.database import transaction

__all__ = ["GONE", "scrub"]

GONE = "(purged)"
_MARKED = 8  # characters from which a caption is looked for in texts: shorter ones stand in others by chance


def scrub(connection: sqlite3.Connection, keys: Sequence[str]) -> int:
    """Take what the log holds of references out of it; returns how many events named one.

    keys: a SHA-256, or "uri:…" of a reference without one (guard.indexes.overlay.key_of). Of an event that names one:
    its thumbnail, descriptor and plain prompt are deleted, and the notes of its reviews; the match loses all but its
    numbers; every text that holds the reference's uri or caption is replaced.
    """
    wanted = set(keys)
    with transaction(connection):
        rows: dict[int, tuple[str, str]] = {}
        for key in wanted:
            mark = json.dumps(key.removeprefix("uri:"))[1:-1]
            sql = "SELECT seq, id, detail FROM events WHERE instr(detail, ?) > 0"
            rows |= {seq: (event, detail) for seq, event, detail in connection.execute(sql, (mark,))}
        count = 0
        for seq, (event, text) in rows.items():
            detail = json.loads(text)
            if not _scrubbed(detail, wanted):
                continue
            count += 1
            connection.execute(
                "UPDATE events SET detail = ?, thumbnail = NULL, descriptor = NULL, prompt = NULL WHERE seq = ?",
                (json.dumps(detail, separators=(",", ":")), seq),
            )
            connection.execute("UPDATE reviews SET note = '' WHERE event = ?", (event,))
    return count


def _scrubbed(detail: dict[str, Any], keys: set[str]) -> bool:
    """Change the detail of an event; False if it names none of the references."""
    matches = detail["verdict"]["matches"]
    named = [match for match in matches if _key(match) in keys]
    if not named:
        return False
    marks = {text for match in named for text in (match["uri"], match["sha256"]) if text}
    marks |= {match["caption"] for match in named if len(match["caption"]) >= _MARKED}
    for match in named:
        match.update({"id": -1, "uri": GONE, "sha256": "", "caption": "", "evidence": None})
    _replace(detail, lambda text: any(mark in text for mark in marks))
    return True


def _key(match: dict[str, Any]) -> str:
    return str(match["sha256"]).lower() or f"uri:{match['uri']}"


def _replace(value: Any, holds: Callable[[str], bool]) -> None:
    """Replace texts within lists and objects, in place."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, inner in list(items):
        if isinstance(inner, str):
            if holds(inner):
                value[place] = GONE
        else:
            _replace(inner, holds)
