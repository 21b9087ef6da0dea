"""One 512 x 512 picture against 100,000 references: decode, embed, search, decide; beside the plain way.

    python tests/benchmarks/check_path.py [--references 100000] [--repeats 50] [--json OUT]

The peer, timed in turn with ours in the same run: the same decode, `pdqhash.compute`, and an XOR + `np.bitwise_count`
scan over packed bits. Ours also looks up seven flips and turns, fetches records and counts metrics.

Then the default descriptor against as many references, with PDQ hashes beside it, with windows, and with neither, timed
in turn: what each adds to a check. At last 2,000 references as an index has them by default, whitened, beside rivals
and with crops and an equalised copy of each, looked up by one more view, against the same without these.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pdqhash
from _report import finish, options_parser, row
from PIL import Image

from guard import Decision, Guard, Record
from guard.config import load_config
from guard.decode import decode
from guard.embedders.base import Embedder
from guard.embedders.pdq import BITS, packed_hash
from guard.embedders.registry import load_embedder
from guard.embedders.views import REGION_HANDICAP, REGIONS, has_windows, usual_views
from guard.indexes.builder import build_index
from guard.indexes.faissfile import FlatLayout, pack_bits
from guard.indexes.hashes import takes_hashes
from guard.indexes.layout import IndexFolder
from guard.indexes.staging import Staging, complete
from guard.indexes.store import open_index
from guard.indexes.usual import REGIONS_UP_TO, usual_transform
from guard.sources import open_source

BAR = 1.5  # times the peer, at most
DEADLINE_S = 600.0  # a check that stands still is slow here, and no failure


def jpeg(seed: int = 0, side: int = 512) -> bytes:
    """A picture with detail at every scale, encoded as a JPEG of usual quality."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for step in (8, 32, 128, side):
        coarse = Image.fromarray(rng.integers(0, 256, (step, step, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float) * (12 / step) ** 0.5
    buffer = io.BytesIO()
    Image.fromarray(np.clip(total / total.max() * 255, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def run(references: int, repeats: int) -> list[dict[str, Any]]:
    data = jpeg()
    embedder = load_embedder("pdq")
    rng = np.random.default_rng(1)
    rows = np.where(rng.random((references, 256)) < 0.5, -1 / 16, 1 / 16).astype(np.float32)
    rows[references // 2] = embedder.embed(_batch(data))[0]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "rows.npy", rows)
        index = Path(folder) / "bench.index"
        build_index(open_source(Path(folder) / "rows.npy", spec=embedder.spec), index, embedder, thumbnails=0)
        guard = Guard.open(index, deadline_s=DEADLINE_S, verify=False)
        packed = pack_bits(rows).view(np.uint64)
        ours, peer, stages = [], [], []
        for repeat in range(repeats + 5):
            started = perf_counter()
            pixels = decode(data).rgb
            decoded = perf_counter()
            report = guard.check([pixels])
            ended = perf_counter()
            assert report[0].decision is Decision.BLOCK, report[0]
            other = _timed(lambda: _plain(data, packed))
            if repeat >= 5:  # the first ones warm caches up
                ours.append(ended - started)
                peer.append(other)
                stages.append({"decode": decoded - started, **report.seconds})
    ratio = median(a / b for a, b in zip(ours, peer, strict=True))
    return [
        *(row(f"check path: {stage}", 1000 * median(s[stage] for s in stages), "ms") for stage in stages[0]),
        row("check path: total", 1000 * median(ours), "ms"),
        row("peer: decode + pdqhash + bitwise_count scan", 1000 * median(peer), "ms"),
        row("check path / peer", ratio, "x", at_most=BAR),
    ]


def run_additions(references: int, repeats: int) -> list[dict[str, Any]]:
    data = jpeg()
    pixels = decode(data).rgb
    embedder = load_embedder()
    if not takes_hashes(embedder.spec):
        return []
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((references, embedder.spec.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    noise = rng.integers(0, 256, (references, BITS // 8), dtype=np.uint8)
    hashes: list[bytes | None] = [of_one.tobytes() for of_one in noise]
    hashes[references // 2] = packed_hash(pixels)
    with tempfile.TemporaryDirectory() as folder:
        write_index(Path(folder) / "bench.index", embedder, rows, hashes)
        with open_index(Path(folder) / "bench.index", embedder=embedder) as index:
            ways: dict[str, dict[str, Any]] = {
                "plain": {"policy": {"identical": "ignore"}, "query_views": "one"},
                "hashes": {"policy": {"identical": "block"}, "query_views": "one"},
                "windows": {"policy": {"identical": "ignore"}, "query_views": usual_views(embedder)},
            }
            guards = {
                what: Guard(index, embedder, config=load_config(None, deadline_s=DEADLINE_S, verify=False, **settings))
                for what, settings in ways.items()
            }
            seconds: dict[str, list[float]] = {what: [] for what in guards}
            for repeat in range(repeats + 5):
                for what, guard in guards.items():
                    started = perf_counter()
                    (verdict,) = guard.check([pixels])
                    if repeat >= 5:
                        seconds[what].append(perf_counter() - started)
                    assert (verdict.decision is Decision.BLOCK) == (what == "hashes"), verdict
    rows = [row(f"check with {embedder.spec.name}, one view, no hashes", 1000 * median(seconds["plain"]), "ms")]
    for what in ("hashes", "windows"):
        pairs = list(zip(seconds["plain"], seconds[what], strict=True))
        rows += [
            row(f"{what} beside it add", 1000 * median(b - a for a, b in pairs), "ms"),
            row(f"with {what} / without", median(b / a for a, b in pairs), "x"),
        ]
    return rows


def run_regions(references: int, repeats: int) -> list[dict[str, Any]]:
    """Crops and the copy are drawn near their picture, as far as crops of real ones are: a cosine of some 0.6."""
    pixels, embedder = decode(jpeg()).rgb, load_embedder()
    if not has_windows(embedder):
        return []
    rng, dim = np.random.default_rng(3), embedder.spec.dim
    whole = rng.standard_normal((references, 1, dim)).astype(np.float32)
    crops = whole + 1.3 * rng.standard_normal((references, REGIONS - 1, dim)).astype(np.float32)
    every = np.concatenate([whole, crops], axis=1)
    every /= np.linalg.norm(every, axis=2, keepdims=True)
    nothing: list[bytes | None] = [None] * references
    with tempfile.TemporaryDirectory() as folder:
        guards = {}
        for regions in (1, every.shape[1]):
            path = Path(folder) / f"{regions}.index"
            write_index(path, embedder, every[:, :regions].reshape(-1, dim), nothing, regions=regions, usual=True)
            guards[regions] = Guard.open(path, deadline_s=DEADLINE_S, verify=False)
        seconds: dict[int, list[float]] = {regions: [] for regions in guards}
        for repeat in range(repeats + 5):
            for regions, guard in guards.items():
                taken = _timed(lambda guard=guard: guard.check([pixels]))
                if repeat >= 5:
                    seconds[regions].append(taken)
    pairs = list(zip(*seconds.values(), strict=True))
    return [
        row(f"check against {references:,} references, windows, rivals", 1000 * median(a for a, _ in pairs), "ms"),
        row("regions add", 1000 * median(b - a for a, b in pairs), "ms"),
        row("with regions / without", median(b / a for a, b in pairs), "x"),
    ]


def write_index(
    path: Path,
    embedder: Embedder,
    rows: np.ndarray[Any, Any],
    hashes: list[bytes | None],
    *,
    regions: int = 1,
    usual: bool = False,
) -> None:
    """As a build does, without pictures to hash. rows: `regions` a reference. usual: with the default transform."""
    layout, folder = FlatLayout("float32", embedder.spec.dim, regions), IndexFolder(path)
    path.mkdir()
    with folder.writer():
        staging = Staging(path / "building", layout, {}, thumbnails=False, hashes=True)
        records = [Record(i, f"{i:06d}.jpg", "") for i in range(len(rows) // regions)]
        nothing: list[bytes | None] = [None] * len(records)
        staging.append(layout.encode(rows), records, nothing, (), {}, position=len(records), hashes=hashes)
        transform = usual_transform(embedder.spec, rows[::regions]) if usual else None
        staging.seal(
            complete(staging, embedder.spec, ["random rows"], transform, region_handicap=REGION_HANDICAP)
        )  # fmt: skip
        folder.publish(path / "building")


def _batch(data: bytes) -> Any:
    from guard.pixels import to_batch

    return to_batch([decode(data).rgb])


def _plain(data: bytes, packed: np.ndarray[Any, Any]) -> int:
    with Image.open(io.BytesIO(data)) as image:
        bits, _quality = pdqhash.compute(np.asarray(image.convert("RGB")))
    query = np.packbits(bits.astype(bool)).view(np.uint64)
    return int(np.bitwise_count(packed ^ query).sum(axis=1).argmin())


def _timed(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--references", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    if options.quick:
        options.references, options.repeats = 10_000, 20
    rows = run(options.references, options.repeats) + run_additions(options.references, options.repeats)
    rows += run_regions(REGIONS_UP_TO, options.repeats)
    finish("check_path", rows, options.json, references=options.references, repeats=options.repeats)


if __name__ == "__main__":
    main()
