"""Look-alikes: procedural scans of the family that stands for X-rays, and near variants of single ones."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from guard.training.generators import FAMILIES, Kin, kindred, picture

__all__ = ["scan_folder"]

SEED = 7_000_000  # no training run, held-out set or statistics draws those


def scan_folder(folder: Path, count: int, *, near: int = 0, size: int = 176) -> Path:
    """scan-000.png …; of the first `near` of them also near-000.png, another picture of the same build."""
    folder.mkdir(parents=True, exist_ok=True)
    family = FAMILIES["scans"]
    for i in range(count):
        Image.fromarray(picture(SEED + i, size, family=family)).save(folder / f"scan-{i:03}.png")
        if i < near:
            other = kindred(SEED + i, size, family=family)[Kin.NEAR]
            Image.fromarray(other).save(folder / f"near-{i:03}.png")
    return folder
