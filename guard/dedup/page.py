"""The largest clusters as one HTML file: pictures inside, no script, no other host, all text escaped. Chooses none."""

from __future__ import annotations

import base64
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from guard.decode import decode
from guard.dedup.find import Duplicates
from guard.dedup.material import Material
from guard.dedup.plot import bars
from guard.errors import InputError, MissingExtraError
from guard.indexes.cluster_rows import Ids
from guard.indexes.preparation import thumbnail_of
from guard.types import Record
from guard.wholefile import whole_file

__all__ = ["CLUSTERS", "PICTURES", "render", "template", "write_page"]

CLUSTERS = 50  # shown
PICTURES = 12  # shown of each
SIDE = 192  # px, the longer side of a picture on the page


def template() -> Any:
    """The page's Jinja template. Raises MissingExtraError without Jinja."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as exc:
        raise MissingExtraError("the page of clusters", extra="cpu") from exc
    text = files("guard.dedup").joinpath("page.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(text)


def write_page(path: Path, found: Duplicates, stays: Ids, material: Material, *, title: str) -> None:
    """Raises MissingExtraError without Jinja, ConfigError if the file cannot be written."""
    text = render(found, stays, material, title=title)
    with whole_file(path) as new:
        new.write_text(text, encoding="utf-8", errors="backslashreplace")


def render(found: Duplicates, stays: Ids, material: Material, *, title: str) -> str:
    """The CLUSTERS largest clusters, PICTURES of each, the one that stays first."""
    shown = bars(found.cluster)
    many = sum(bar.clusters for bar in shown if bar.low > 1)
    dropped = found.looked_at - sum(bar.clusters for bar in shown)
    share = f"{100 * dropped / max(found.looked_at, 1):.1f} %"
    return str(
        template().render(
            title=title,
            method=f"Found by {found.method}",
            figures=[
                ("pictures", f"{found.looked_at:,}"),
                ("clusters of two or more", f"{many:,}"),
                ("pictures that can go", f"{dropped:,}"),
                ("share of all", share),
                ("largest cluster", f"{found.sizes.max(initial=0):,}"),
            ],
            bars=shown,
            most=max((bar.pictures for bar in shown), default=1) or 1,
            clusters=[_cluster(ids, stays, material) for ids in islice(found.members(), CLUSTERS)],
            more=max(0, many - CLUSTERS),
        )
    )


def _cluster(ids: Ids, stays: Ids, material: Material) -> dict[str, Any]:
    stayer = int(stays[ids[0]])
    some = [stayer, *ids[ids != stayer][: PICTURES - 1].tolist()]
    records = material.index.records(some)
    return {
        "size": len(ids),
        "caption": records[0].caption,
        "pictures": [_picture(record, records[0], material) for record in records],
        "more": len(ids) - len(some),
    }


def _picture(record: Record, stayer: Record, material: Material) -> dict[str, Any]:
    said = [f"{record.width} × {record.height} px"] if record.width else []
    if record.id == stayer.id:
        pass
    elif record.sha256 and record.sha256 == stayer.sha256:
        said.append("same bytes")
    elif record.pixels_sha256 and record.pixels_sha256 == stayer.pixels_sha256:
        said.append("same pixels")
    else:
        pair = np.array([record.id]), np.array([stayer.id])
        bits = material.bits(*pair)[0]
        said.append(f"similarity {float(material.similarity(*pair)[0]):.2f}")
        said += [f"PDQ {bits} bits"] if bits is not None else []
    return {
        "uri": record.uri,
        "said": ", ".join(said),
        "stays": record.id == stayer.id,
        "image": _data_uri(material.thumbnail(record.id)),
    }


def _data_uri(encoded: bytes | None) -> str:
    """Empty without a thumbnail that can be read."""
    if encoded is None:
        return ""
    try:
        smaller = thumbnail_of(decode(encoded).rgb, SIDE)
    except InputError:
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(smaller).decode()}"
