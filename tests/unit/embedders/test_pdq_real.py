"""The figures behind PDQ's thresholds, measured again on about 1,050 real pictures looked up among each other."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard.embedders.pdq import BITS, PdqEmbedder
from guard.pixels import RGBArray, to_batch

EVAL = Path(__file__).resolve().parents[4] / "shared" / "eval"  # beside the checkout
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
TEMPLATES = ("screens_jupyterlab", "emoji_noto", "flags_pd")  # screenshots and flat graphics
MAX_SIDE = 1024  # larger ones are brought down to it, to save time

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not EVAL.is_dir(), reason="the real pictures (../shared/eval) are not beside this checkout"),
]


def load(path: Path) -> RGBArray | None:
    with Image.open(path) as image:
        if image.mode in ("RGB", "L"):
            image.draft("RGB", (MAX_SIDE, MAX_SIDE))
        elif image.mode not in ("CMYK", "1", "I;16"):
            image = image.convert("RGBA")
        if min(image.size) < 16:
            return None
        if max(image.size) > MAX_SIDE:
            image.thumbnail((MAX_SIDE, MAX_SIDE))
        return to_batch(image).as_arrays()[0]


def family(name: str, patients: dict[str, str]) -> str:
    """Pictures of one family are never negatives of each other: see the README beside them."""
    group, _, rest = name.partition("/")
    if group == "xray_hannover":
        return patients.get(rest, name)
    if group.startswith("ibm_max"):
        return "ibm_max"
    return group if group in ("pdq_bridge", "aerial_brighton") else name


def test_how_near_non_copies_come() -> None:
    embedder = PdqEmbedder()
    with (EVAL / "images" / "xray_hannover" / "patients.tsv").open(encoding="utf-8") as file:
        patients = {row["file"]: row["patient"] for row in csv.DictReader(file, delimiter="\t")}
    names, views = [], []
    for path in sorted(p for p in (EVAL / "images").rglob("*") if p.suffix.lower() in SUFFIXES):
        array = load(path)
        if array is not None:
            query = embedder.embed_query(to_batch(array))
            if query.usable[0]:
                names.append(path.relative_to(EVAL / "images").as_posix())
                views.append(query.vectors[0])
    xq = np.stack(views)  # (n, 8, 256)
    similarity = np.max([xq[:, view] @ xq[:, 0].T for view in range(xq.shape[1])], axis=0)
    distance = np.rint((1 - similarity) * BITS / 2).astype(int)
    families = np.array([family(name, patients) for name in names])
    distance[families[:, None] == families[None]] = BITS
    with (EVAL / "REAL_PAIRS.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            pair = [names.index(row[key]) for key in ("query", "reference") if row[key] in names]
            if len(pair) == 2:
                distance[np.ix_(pair, pair)] = BITS
    nearest = distance.min(axis=1)
    templates = np.array([name.startswith(TEMPLATES) for name in names])
    found = {bits: int((nearest <= bits).sum()) for bits in (31, 47)}
    print(f"n {len(names)}, within bits: {found}, others' nearest non-copy: {nearest[~templates].min()}")
    assert len(names) > 1000
    assert nearest[~templates].min() > 63
    assert found[31] <= 0.005 * len(names)
    assert found[47] <= 0.015 * len(names)
