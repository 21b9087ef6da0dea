"""Check pictures without any pipeline: build an index of a folder, then ask about a mirrored copy of one of them.

    python examples/check_pictures.py [FOLDER]

Needs the extra cpu. Without a folder it draws its own pictures.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from guard import Guard
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard_diffusers.demo.procedural import draw


def draw_pictures(folder: Path, count: int = 20) -> Path:
    for seed in range(count):
        Image.fromarray(draw(seed).picture).save(folder / f"{seed:02d}.png")
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "pictures").mkdir()
        source = Path(sys.argv[1]) if len(sys.argv) > 1 else draw_pictures(work / "pictures")
        report = build_index(source, work / "my.index", load_embedder())
        print(f"indexed {report.count} pictures")

        guard = Guard.open(work / "my.index", mode="flag")
        first = next(p for p in sorted(source.rglob("*")) if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
        with Image.open(first) as image:
            mirrored = ImageOps.mirror(image.convert("RGB"))
        stranger = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        for name, verdict in zip(("mirrored copy", "noise"), guard.check([mirrored, stranger]), strict=True):
            print(f"{name}: {verdict.decision}, {'; '.join(verdict.reasons)}")


if __name__ == "__main__":
    main()
