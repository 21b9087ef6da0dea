"""Events into a file for other tools: JSON lines, or Parquet with columns of their own. Writes all or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from guard.errors import MissingExtraError
from guard.events.record import Event
from guard.wholefile import whole_file

__all__ = ["write_jsonl", "write_parquet"]

ROWS = 1000  # a row group of Parquet


def write_jsonl(events: Iterable[Event], path: Path, *, blobs: bool = False) -> int:
    """One `Event.to_dict` a line, in ASCII; returns how many. Raises ConfigError if the file cannot be written."""
    count = 0
    with whole_file(path) as new, new.open("w", encoding="ascii") as file:
        for event in events:
            file.write(json.dumps(event.to_dict(blobs=blobs)) + "\n")
            count += 1
    return count


def write_parquet(events: Iterable[Event], path: Path, *, blobs: bool = False) -> int:
    """One row an event, with the nearest match in columns and everything else as JSON in `detail`; returns how many.

    Raises MissingExtraError without pyarrow, ConfigError if the file cannot be written.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingExtraError("exporting Parquet", extra="parquet") from exc
    schema = _schema(pa, blobs)
    count = 0
    remaining = iter(events)
    with whole_file(path) as new, pq.ParquetWriter(new, schema, compression="zstd") as writer:
        while some := list(islice(remaining, ROWS)):
            writer.write_table(pa.Table.from_pylist([_row(event, blobs) for event in some], schema=schema))
            count += len(some)
    return count


def _schema(pa: Any, blobs: bool) -> Any:
    text, number = pa.string(), pa.float64()
    fields = [
        ("id", text), ("seq", pa.int64()), ("time", pa.timestamp("us", tz="UTC")), ("pipeline", text), ("mode", text),
        ("status", text), ("decision", text), ("action", text), ("outcome", text), ("prompt", text),
        ("prompt_hash", text), ("reasons", pa.list_(text)), ("nearest_uri", text), ("nearest_sha256", text),
        ("nearest_similarity", number), ("nearest_pdq_bits", pa.int32()), ("matches", pa.int32()),
        ("verified", pa.bool_()), ("flag", number), ("block", number), ("index", text), ("index_version", text),
        ("embedder", text), ("detail", text),
    ]  # fmt: skip
    return pa.schema(fields + [("thumbnail", pa.binary()), ("descriptor", pa.binary())] * blobs)


def _row(event: Event, blobs: bool) -> dict[str, Any]:
    detail, verdict = event.detail, event.detail["verdict"]
    nearest = event.matches[0] if event.matches else {}
    row = {
        "id": event.id,
        "seq": event.seq,
        "time": datetime.fromtimestamp(event.time, UTC),
        "pipeline": event.pipeline,
        "mode": event.mode.value,
        "status": event.status.value,
        "decision": event.decision.value if event.decision else None,
        "action": event.action.value,
        "outcome": event.outcome.value if event.outcome else None,
        "prompt": event.prompt,
        "prompt_hash": event.prompt_hash,
        "reasons": [_valid(reason) for reason in event.reasons],
        "nearest_uri": _valid(nearest.get("uri")),
        "nearest_sha256": nearest.get("sha256"),
        "nearest_similarity": nearest.get("similarity"),
        "nearest_pdq_bits": nearest.get("pdq_bits"),
        "matches": len(event.matches),
        "verified": verdict["verified"],
        "flag": detail["thresholds"]["flag"],
        "block": detail["thresholds"]["block"],
        "index": detail["index"],
        "index_version": detail["index_version"],
        "embedder": detail["embedder"].get("name"),
        "detail": json.dumps(detail),
    }
    return row | ({"thumbnail": event.thumbnail, "descriptor": event.descriptor} if blobs else {})


def _valid(text: str | None) -> str | None:
    """Names of files may hold what is no Unicode; Parquet takes none of that."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
