"""Time, recall and precision of finding duplicates, beside others in one run; and 100,000 descriptors on these cores.

    python tests/benchmarks/dedup.py [--pictures 5000] [--images FOLDER] [--rows 100000] [--peer PYTHON]
                                     [--work FOLDER] [--json OUT]

Pictures: procedural ones, and with --images those of a folder as well. Of every third, one to three copies are planted,
edited as pictures are on their way through the web (guard.evaluation.edits). A planted copy is found if it shares a
cluster with its original; precision is over all pairs that share one. Pictures of one procedural program are no copies
of one another: its other layouts and contents are what precision is about, and so is, counted apart, the same drawing
with every parameter moved a little. With --work, pictures are kept, and not drawn again.

Peers: pdqhash with all pairs of hashes within 31 bits, whose components are its clusters; and, where PYTHON has it,
imagededup's PHash with its own bound of 10 bits. It brings torch and torchvision: give it an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pdqhash
from _dedup_pictures import Scores, scores, write_pictures
from _report import finish, options_parser, row
from PIL import Image

from guard.dedup import dedup_source, find_duplicates
from guard.dedup.neighbours import Pairs, near_bits, near_rows
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard.indexes.store import open_index
from guard.sources import open_source

MINUTES = 10  # for 100,000 descriptors, at most
RECALL = 0.99  # of the exact near pairs, that the approximate search finds at least
NEAR = 0.65  # cosine of a near pair of descriptors

PEER = """
import json, logging, sys, time
from imagededup.methods import PHash
began = time.perf_counter()
logging.disable(logging.INFO)
found = PHash(verbose=False).find_duplicates(image_dir=sys.argv[1], max_distance_threshold=10)
json.dump({"seconds": time.perf_counter() - began, "found": found}, open(sys.argv[2], "w"))
"""


def components(n: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in pairs:
        parent[root(a)] = root(b)
    groups: dict[int, list[int]] = {}
    for i in range(n):
        groups.setdefault(root(i), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def by_pdqhash(folder: Path) -> tuple[float, list[list[str]]]:
    """Plain pdqhash of each file on one core, and all pairs of hashes one by one."""
    began = perf_counter()
    names, hashes = [], []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            bits, quality = pdqhash.compute(np.asarray(image.convert("RGB")))
        if quality >= 50:
            names.append(path.name)
            hashes.append(np.packbits(np.asarray(bits, np.bool_)))
    rows = np.array(hashes)
    pairs: list[tuple[int, int]] = []
    for i in range(len(rows)):
        near = np.flatnonzero(np.bitwise_count(rows[i + 1 :] ^ rows[i]).sum(axis=1) <= 31)
        pairs += [(i, i + 1 + int(j)) for j in near]
    found = [[names[i] for i in group] for group in components(len(rows), pairs)]
    return perf_counter() - began, found


def by_imagededup(folder: Path, python: str, work: Path) -> tuple[float, list[list[str]]]:
    subprocess.run([python, "-W", "ignore", "-c", PEER, str(folder), str(work / "peer.json")], check=True)
    said = json.loads((work / "peer.json").read_text())
    names = sorted(said["found"])
    number = {name: i for i, name in enumerate(names)}
    pairs = ((number[a], number[b]) for a, near in said["found"].items() for b in near)
    return said["seconds"], [[names[i] for i in group] for group in components(len(names), pairs)]


def ours(folder: Path, work: Path) -> tuple[float, float, list[list[str]]]:
    began = perf_counter()
    dedup_source(open_source(folder), work / "out", load_embedder())
    whole = perf_counter() - began
    with open_index(work / "out" / "set.index") as index:
        records = list(index.reader.all())
    clusters: dict[int, list[str]] = {}
    for record in records:
        clusters.setdefault(record.cluster, []).append(record.uri)
    with open_index(work / "out" / "set.index") as index:
        began = perf_counter()
        find_duplicates(index)
        found = perf_counter() - began
    return whole, found, [cluster for cluster in clusters.values() if len(cluster) > 1]


def beside(
    total: int, images: Sequence[Path], python: str | None, kept: Path | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = (kept or work) / "pictures"
        write_pictures(folder, total, images)
        names = sorted(path.name for path in folder.iterdir())
        whole, finding, clusters = ours(folder, work)
        peers = {"pdqhash, all pairs": by_pdqhash(folder)}
        if python is not None:
            peers["imagededup PHash"] = by_imagededup(folder, python, work)
        own = scores(clusters, names)
        copies = sum(name.startswith("c-") for name in names)
        rows = [
            row(f"memguard dedup of {len(names)} pictures, {copies} planted: recall", own.recall, ""),
            *_precision(own),
            row("… in all, the index included", whole, "s"),
            row("… without the index", finding, "s"),
        ]
        details: dict[str, Any] = {"by_edit": {"memguard": own.by_edit}, "strangers": own.stranger_pairs}
        for name, (seconds, theirs) in peers.items():
            peer = scores(theirs, names)
            rows += [
                row(f"{name}: recall", peer.recall, ""),
                *_precision(peer),
                row("… seconds", seconds, "s"),
                row("… recall of memguard over its", own.recall / max(peer.recall, 1e-9), "x", at_least=1.0),
                row("… time of memguard over its", whole / seconds, "x"),
            ]
            details["by_edit"][name] = peer.by_edit
    return rows, details


def _precision(found: Scores) -> list[dict[str, Any]]:
    return [
        row("… precision of pairs", found.precision, ""),
        row("… but for drawings whose parameters moved a little", found.but_for_moved, ""),
        row("… unrelated pictures in one cluster", found.strangers, "pairs"),
    ]


def descriptors(n: int, dim: int = 256, groups: int = 2000, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows around centres, as pictures of kinds are; every tenth is a near copy of another."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((groups, dim)).astype(np.float32)
    rows = rng.standard_normal((n, dim)).astype(np.float32)
    rows += 0.8 * centres[rng.integers(0, groups, n)]
    copies = rng.choice(n, n // 10, replace=False)
    noise = rng.standard_normal((len(copies), dim)).astype(np.float32)
    rows[copies] = rows[rng.integers(0, n, len(copies))] + 0.5 * noise
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def as_keys(pairs: Pairs) -> np.ndarray[Any, np.dtype[np.int64]]:
    return pairs.first * (1 << 32) + pairs.second


def plain(rows: np.ndarray[Any, np.dtype[np.float32]], least: float) -> float:
    """Seconds of the obvious loop: numpy, a block at a time, all pairs."""
    began, found = perf_counter(), 0
    for start in range(0, len(rows), 1024):
        found += int((rows[start : start + 1024] @ rows.T >= least).sum())
    assert found >= len(rows)
    return perf_counter() - began


def large(n: int) -> list[dict[str, Any]]:
    rows, ids = descriptors(n), np.arange(n)
    hashes = np.packbits(rows > 0, axis=1)
    began = perf_counter()
    exact = near_rows(rows, ids, NEAR, method="exact")
    seconds = perf_counter() - began
    began = perf_counter()
    approximate = near_rows(rows, ids, NEAR, method="approximate")
    quick = perf_counter() - began
    recall = float(np.isin(as_keys(exact), as_keys(approximate)).mean())
    loop = plain(rows, NEAR)
    out = [
        row(f"near pairs of {n} descriptors, exactly", seconds, "s", at_most=60 * MINUTES),
        row("… over a plain numpy loop", seconds / loop, "x"),
        row("near pairs, in cells", quick, "s", at_most=60 * MINUTES),
        row("… over the exact ones", quick / seconds, "x"),
        row("… share of the exact pairs that it finds", recall, "", at_least=RECALL),
    ]
    for method in ("exact", "approximate"):
        began = perf_counter()
        near_bits(hashes, ids, 31, method=method)  # type: ignore[arg-type]
        out.append(row(f"near pairs of {n} hashes, {method}", perf_counter() - began, "s", at_most=60 * MINUTES))
    return out + whole_of(rows)


def whole_of(rows: np.ndarray[Any, np.dtype[np.float32]]) -> list[dict[str, Any]]:
    """An index of finished descriptors, from opening it to its clusters, in a process of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        np.save(Path(temporary) / "rows.npy", rows)
        command = [sys.executable, __file__, "--child", temporary]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [
        row(f"clusters of {len(rows)} descriptors, no pictures", said["seconds"], "s", at_most=60 * MINUTES),
        row("… peak memory", said["peak_mib"], "MiB"),
        row("… clusters of two or more", said["clusters"], ""),
    ]


def child(folder: str) -> None:
    from guard.embedders.base import EmbedderSpec, Thresholds

    class Finished:
        """Only the identity of what made the rows."""

        spec = EmbedderSpec("finished", 256, 8, "none", "", thresholds=Thresholds(NEAR, NEAR, "by construction"))

        def embed(self, batch: Any) -> Any:
            raise NotImplementedError

    build_index(Path(folder) / "rows.npy", Path(folder) / "x.index", Finished(), thumbnails=0)
    with open_index(Path(folder) / "x.index") as index:
        began = perf_counter()
        found = find_duplicates(index)
        seconds = perf_counter() - began
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    clusters = sum(1 for _ in found.members())
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_mib": int(peak.split()[1]) / 1024, "clusters": clusters}))


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--pictures", type=int, default=5000, help="planted copies included; 0 to leave them out")
    parser.add_argument("--images", type=Path, action="append", default=[], help="a folder of pictures to take part")
    parser.add_argument("--rows", type=int, default=100_000, help="descriptors; 0 to leave them out")
    parser.add_argument("--peer", help="a Python that has imagededup")
    parser.add_argument("--work", type=Path, help="a folder that keeps the pictures")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    if options.quick:
        options.pictures, options.rows = 200, 5000
    rows: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    if options.pictures:
        rows, details = beside(options.pictures, options.images, options.peer, options.work)
    if options.rows:
        rows += large(options.rows)
    details["weights"] = load_embedder().spec.weights_sha256
    finish("dedup", rows, options.json, cores=os.cpu_count(), pictures=options.pictures, **details)


if __name__ == "__main__":
    main()
