"""Comparing the pixels of one query with its thirty nearest candidates; beside plain OpenCV for five of them.

    python tests/benchmarks/verification.py [--repeats 15] [--quick] [--json OUT]

Queries of 512 px made of scikit-image's photographs: re-encoded copies, crops, pages with the picture on them, and
photographs that are no copies. The reference of a copy comes second, and sixth for every other query; the other
candidates are photographs and procedural pictures, all thumbnails of 256 px. *Warm*: they are prepared already, as they
are in a service that met them before. *Cold*: each is decoded and prepared, or comes with the keypoints that
`memguard index build --keypoints` stores. The peer, timed in turn in the same run,
sees five candidates: SIFT at 320 px, BFMatcher with the ratio test, findHomography with RANSAC; it needs no thresholds,
since it says no more than a number of inliers.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time
from typing import Any

import cv2
import numpy as np
from _report import finish, options_parser, row
from PIL import Image
from skimage import data

from guard.decode import decode
from guard.evaluation.edits import EDITS
from guard.pixels import ImageBatch, RGBArray
from guard.training.generators import picture as draw
from guard.types import Match, Record
from guard.verification.examiner import CANDIDATES, Examiner
from guard.verification.features import longest
from guard.verification.stored import pack_thumbnail
from guard.verification.verifier import PixelVerifier

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "immunohistochemistry", "brick", "retina")
COPIES = ("jpeg_30", "colour_cast", "crop_60", "crop_25", "inset_0.6", "stickers", "strokes", "flip_horizontal")
BAR_MS = 25.0  # median a query, on two cores with nothing else running
PEER_CANDIDATES = 5
DRAWN = CANDIDATES  # procedural pictures among the references


def photograph(name: str, side: int) -> RGBArray:
    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.array(image)


class Thumbnails:
    """The part of an index that is needed here."""

    def __init__(self) -> None:
        drawn = [draw(program, 256) for program in range(DRAWN)]
        self.encoded = [*(_jpeg(photograph(name, 256)) for name in NAMES), *map(_jpeg, drawn)]

    def thumbnail(self, id: int) -> bytes:  # noqa: A002 - the protocol's word
        return self.encoded[id]


class WithKeypoints(Thumbnails):
    def __init__(self) -> None:
        super().__init__()
        self.packed = list(map(pack_thumbnail, self.encoded))

    def keypoints(self, id: int) -> bytes:  # noqa: A002 - the protocol's word
        return self.packed[id]


class Peer:
    """What a page of OpenCV's documentation does with two pictures."""

    def __init__(self) -> None:
        self.sift, self.matcher = cv2.SIFT_create(), cv2.BFMatcher()

    def prepare(self, picture: RGBArray) -> Any:
        return self.sift.detectAndCompute(cv2.cvtColor(longest(picture, 320), cv2.COLOR_RGB2GRAY), None)

    def inliers(self, query: Any, reference: Any) -> int:
        (points, rows), (others, other_rows) = query, reference
        if rows is None or other_rows is None or min(len(rows), len(other_rows)) < 2:
            return 0
        pairs = [p for p in self.matcher.knnMatch(rows, other_rows, k=2) if p[0].distance < 0.8 * p[1].distance]
        if len(pairs) < 4:
            return 0
        source = np.float32([others[a.trainIdx].pt for a, _ in pairs])
        target = np.float32([points[a.queryIdx].pt for a, _ in pairs])
        _, inside = cv2.findHomography(source, target, cv2.RANSAC, 3.0)
        return 0 if inside is None else int(inside.sum())


def run(repeats: int) -> list[dict[str, Any]]:
    index, stored, peer, verifier = Thumbnails(), WithKeypoints(), Peer(), PixelVerifier()
    kept = [peer.prepare(decode(encoded, where="a thumbnail").rgb) for encoded in index.encoded]
    queries = _queries()
    warm = Examiner(index, verifier)
    times: dict[str, list[float]] = defaultdict(list)
    ratios = []
    for repeat in range(repeats + 1):
        for wanted, batch, ids in queries:
            matches = [Match(Record(i, str(i), ""), 1 - 0.01 * place) for place, i in enumerate(ids)]
            pixels = batch.as_arrays()[0]

            def ours(examiner: Examiner, batch: ImageBatch = batch, matches: list[Match] = matches) -> Any:
                return examiner.examine(batch, matches, gate=lambda _: 0.0, until=float("inf"))

            def theirs(pixels: RGBArray = pixels, ids: list[int] = ids) -> int:
                prepared = peer.prepare(pixels)
                return max(peer.inliers(prepared, kept[i]) for i in ids[:PEER_CANDIDATES])

            started = process_time()
            seconds, found = _timed(lambda: ours(warm))
            processor = process_time() - started
            cold, _ = _timed(lambda: ours(Examiner(index, verifier)))
            restored, again = _timed(lambda: ours(Examiner(stored, verifier)))
            assert again == found
            other, _ = _timed(theirs)
            copies = [m for m in found.candidates if m.evidence is not None and m.evidence.is_copy]
            assert [m.record.id for m in copies] == ([wanted] if wanted >= 0 else []), (ids, copies)
            if repeat:  # the first round warms caches up
                times["copy" if wanted >= 0 else "other"].append(seconds)
                times["processor, copy" if wanted >= 0 else "processor, other"].append(processor)
                times["cold, copy" if wanted >= 0 else "cold, other"].append(cold)
                times["restored, copy" if wanted >= 0 else "restored, other"].append(restored)
                times["peer"].append(other)
                ratios.append(seconds / other)
    everything = times["copy"] + times["other"]
    even = round(len(times["copy"]) / len(times["other"]))
    half, busy, cold_half, restored_half = (
        [*times[f"{what}copy"], *times[f"{what}other"] * even] for what in ("", "processor, ", "cold, ", "restored, ")
    )
    return [
        row("verification: a query that is a copy, warm", 1000 * median(times["copy"]), "ms"),
        row(f"verification: a query that is none, {CANDIDATES} candidates, warm", 1000 * median(times["other"]), "ms"),
        row("verification: half copies, half none, warm", 1000 * median(half), "ms", at_most=BAR_MS),
        row("verification: the same, processor time of all threads", 1000 * median(busy), "ms"),
        row("verification: slowest tenth of all, warm", 1000 * float(np.quantile(everything, 0.9)), "ms"),
        row("verification: half copies, half none, cold, keypoints stored", 1000 * median(restored_half), "ms"),
        row("verification: half copies, half none, cold", 1000 * median(cold_half), "ms"),
        row("peer: SIFT + BFMatcher + findHomography, five candidates, warm", 1000 * median(times["peer"]), "ms"),
        row("verification / peer, both warm", median(ratios), "x", at_most=1.0),
    ]


def _queries() -> list[tuple[int, ImageBatch, list[int]]]:
    """(whose copy it is, -1 for none; the query; its candidates' ids)."""
    others = [photograph("coffee", 512), photograph("rocket", 512)]
    queries: list[tuple[int, ImageBatch, list[int]]] = []
    for i, name in enumerate(NAMES[:4]):
        rest = [*((i + step) % len(NAMES) for step in range(1, 4)), *range(len(NAMES), len(NAMES) + CANDIDATES)]
        for j, edit in enumerate(COPIES):
            page = [photograph(NAMES[(i + 5) % len(NAMES)], 512), *others]
            edited = EDITS[edit](photograph(name, 512), page, seed=(i,))
            place = 1 if j % 2 else 5
            ids = [*rest[:place], i, *rest[place:]][:CANDIDATES]
            queries.append((i, ImageBatch(arrays=(edited,)), ids))
        queries.append((-1, ImageBatch(arrays=(photograph(name, 512),)), rest[:CANDIDATES]))
    return queries


def _jpeg(picture: RGBArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = perf_counter()
    result = call()
    return perf_counter() - started, result


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    repeats = 3 if options.quick else options.repeats
    finish("verification", run(repeats), options.json, repeats=repeats, candidates=CANDIDATES)


if __name__ == "__main__":
    main()
