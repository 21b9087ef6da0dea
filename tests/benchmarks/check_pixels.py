"""What comparing pixels adds to a check: none compared, only of what counts anyway (also with originals), and all.

    python tests/benchmarks/check_pixels.py [--references 2000] [--repeats 40] [--json OUT]

The shipped descriptor with PDQ hashes; references of 256 px. Half of the queries are copies (a tenth cut off), half are
other pictures, and no reference is asked for twice: what was prepared of one for an earlier query helps only by chance,
as in an index that is much larger than what is kept in memory. The guards are timed in turn, picture by picture.
"""

from __future__ import annotations

import io
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from _report import finish, options_parser, row
from check_path import DEADLINE_S, jpeg
from PIL import Image

from guard import Guard
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard.verification.examiner import KEPT

SIDE = 256
WARMING = 2  # queries of either kind
LATE = 5.0  # percent of the checks, at most


def query(seed: int) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(jpeg(seed, SIDE))) as image:
        return np.array(image.convert("RGB"))


def run(references: int, repeats: int) -> list[dict[str, Any]]:
    embedder = load_embedder()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "set").mkdir()
        for seed in range(references):
            (folder / "set" / f"{seed:06d}.jpg").write_bytes(jpeg(seed, SIDE))
        whole = partial(build_index, folder / "set", embedder=embedder, regions=False)  # pixels are what is timed
        whole(folder / "plain.index")
        whole(folder / "stored.index", keypoints=True)
        whole(folder / "bare.index", thumbnails=0)
        guards = {
            "none compared": Guard.open(folder / "plain.index", deadline_s=DEADLINE_S, verify=False),
            "only what counts anyway": Guard.open(folder / "plain.index", deadline_s=DEADLINE_S),
            "only what counts anyway, by originals": Guard.open(folder / "bare.index", deadline_s=DEADLINE_S),
            "every candidate, keypoints stored": Guard.open(folder / "stored.index", deadline_s=DEADLINE_S),
            "every candidate, none stored": Guard.open(folder / "plain.index", deadline_s=DEADLINE_S, verify=True),
        }
        copies: dict[str, list[float]] = {what: [] for what in guards}
        others: dict[str, list[float]] = {what: [] for what in guards}
        late = dict.fromkeys(guards, 0)
        for repeat in range(repeats + WARMING):
            copy = query(repeat * (references // (repeats + WARMING)))
            cut = SIDE // 20
            for picture, times in ((copy[cut:-cut, cut:-cut].copy(), copies), (query(references + repeat), others)):
                for what, guard in guards.items():
                    started = perf_counter()
                    (verdict,) = guard.check([picture])
                    if repeat >= WARMING:
                        times[what].append(perf_counter() - started)
                        late[what] += verdict.verified is False
    base = next(iter(guards))
    rows = []
    for what in guards:
        both = [*copies[what], *others[what]]
        for kind, times in (("copies", copies), ("others", others)):
            rows.append(row(f"a check, {what}: {kind}", 1000 * median(times[what]), "ms"))
        if what != base:
            added = (a - b for a, b in zip(both, [*copies[base], *others[base]], strict=True))
            rows.append(row(f"... what that adds, half and half: {what}", 1000 * median(added), "ms"))
            rows.append(
                row(f"... checks that ran out of time: {what}", 100 * late[what] / len(both), "%", at_most=LATE)
            )
    return rows


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--references", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    if options.quick:
        options.references, options.repeats = KEPT + 100, 10
    if options.references <= max(KEPT, options.repeats + WARMING):
        parser.error(f"--references must be more than {KEPT}, and more than --repeats")
    rows = run(options.references, options.repeats)
    finish("check_pixels", rows, options.json, references=options.references, repeats=options.repeats)


if __name__ == "__main__":
    main()
