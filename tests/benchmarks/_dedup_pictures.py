"""The pictures of the deduplication benchmark, and what is known of them. Finds no duplicates.

Originals are o-NUMBER-KIN.png, copies of the first of them c-NUMBER-0-EDIT.jpg. Procedural ones come from programs by
their number; of every fourth program all four kin are drawn: another layout, other content, and one whose every
parameter moved a little (guard.training.generators.Kin). None of the four is a copy of another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from pathlib import Path

import numpy as np
from PIL import Image

from guard.evaluation.edits import EDITS
from guard.evaluation.pictures import find_pictures, load
from guard.pixels import RGBArray
from guard.training.generators import Kin, kindred, picture
from guard.wholefile import whole_file

__all__ = ["Scores", "scores", "write_pictures"]

SIDE = 256
FIRST = 10_000  # number of the first picture: bounds of guard.dedup.rule were set on the first 500 numbers
PLANTED_EVERY, KIN_EVERY, REAL_EVERY = 3, 4, 2
EDITED = (
    "jpeg_30", "jpeg_10", "blur", "noise", "gamma_2", "grey", "colour_cast", "saturation", "low_contrast", "crop_80",
    "rotate_5", "flip_horizontal", "aspect", "shrink_96", "caption", "watermark", "frame", "painterly", "latent",
    "repost",
)  # fmt: skip


def write_pictures(folder: Path, total: int, images: Sequence[Path] = ()) -> None:
    """At least `total` files; those that are there already are not drawn again.

    images: folders of pictures to take part, one a source (guard.evaluation.pictures): every second number, while they
    last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    real = list(_one_a_source(images)) if images else []
    others = [picture(1_000_000 + i, SIDE) for i in range(4)]
    files = 0
    for number in count(FIRST):
        names = _names(number, real)
        if not all((folder / name).exists() for name in names):
            _draw(folder, number, names, real, others)
        files += len(names)
        if files >= total:
            return


def _one_a_source(images: Sequence[Path]) -> Iterator[Path]:
    seen: set[int] = set()
    for found in find_pictures({"images": images}, side=SIDE).pictures:
        if found.source not in seen:
            seen.add(found.source)
            yield found.path


def _real(number: int, real: Sequence[Path]) -> Path | None:
    place, odd = divmod(number - FIRST, REAL_EVERY)
    return real[place] if odd and place < len(real) else None


def _names(number: int, real: Sequence[Path]) -> list[str]:
    kin = len(Kin) if number % KIN_EVERY == 0 and _real(number, real) is None else 1
    names = [f"o-{number:05d}-{i}.png" for i in range(kin)]
    if number % PLANTED_EVERY == 0:
        rng = np.random.default_rng(number)
        chosen = rng.choice(EDITED, int(rng.integers(1, 4)), replace=False)
        names += [f"c-{number:05d}-0-{edit}.jpg" for edit in chosen]
    return names


def _draw(folder: Path, number: int, names: Sequence[str], real: Sequence[Path], others: Sequence[RGBArray]) -> None:
    path = _real(number, real)
    originals = sum(name.startswith("o-") for name in names)
    if path is not None:
        drawn = [load(path, SIDE)]
    else:
        drawn = list(kindred(number, SIDE)) if originals > 1 else [picture(number, SIDE)]
    for name, pixels in zip(names[:originals], drawn, strict=True):
        with whole_file(folder / name) as new:
            Image.fromarray(pixels).save(new, "PNG")
    for name in names[originals:]:
        edited = EDITS[_edit_of(name)](drawn[0], others, seed=(number,))
        with whole_file(folder / name) as new:
            Image.fromarray(edited).save(new, "JPEG", quality=88)


@dataclass(frozen=True)
class Scores:
    recall: float
    """Of the planted copies: those that share a cluster with their original."""
    precision: float
    """Of the pairs that share a cluster."""
    but_for_moved: float
    """The same without pairs of a picture and the kin whose parameters moved a little, which people may call copies."""
    strangers: int
    """Pairs of different numbers that share a cluster."""
    by_edit: dict[str, list[int]]
    """[found, planted]."""
    stranger_pairs: list[list[str]]


def scores(clusters: Sequence[Sequence[str]], names: Sequence[str]) -> Scores:
    member = {name: i for i, cluster in enumerate(clusters) for name in cluster}
    found: dict[str, list[bool]] = {}
    for name in names:
        if name.startswith("c-"):
            original = f"o-{_number(name)}-0.png"
            same = name in member and member[name] == member.get(original)
            found.setdefault(_edit_of(name), []).append(same)
    right = wrong = moved = 0
    strangers = []
    for one, other in (pair for cluster in clusters for pair in combinations(cluster, 2)):
        if _number(one) != _number(other):
            strangers.append([one, other])
        elif _kin(one) == _kin(other):
            right += 1
        elif {_kin(one), _kin(other)} == {Kin.FIRST, Kin.NEAR}:
            moved += 1
        else:
            wrong += 1
    wrong += len(strangers)
    every = [hit for hits in found.values() for hit in hits]
    return Scores(
        recall=float(np.mean(every)),
        precision=right / max(right + wrong + moved, 1),
        but_for_moved=right / max(right + wrong, 1),
        strangers=len(strangers),
        by_edit={edit: [sum(hits), len(hits)] for edit, hits in sorted(found.items())},
        stranger_pairs=strangers,
    )


def _number(name: str) -> str:
    return name.split("-")[1]


def _kin(name: str) -> int:
    return int(name.split(".")[0].split("-")[2])


def _edit_of(name: str) -> str:
    return name.split(".")[0].split("-", 3)[3]
