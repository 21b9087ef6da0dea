"""Images per second of `build_index` with PDQ, beside a plain loop over the same files; and peak memory by size.

    python tests/benchmarks/index_build.py [--files 600] [--side 512] [--repeats 3] [--memory 1000 50000] [--json OUT]

The peer is one core: PIL decode and `pdqhash.compute`, file after file, in turn with ours in the same run.
Memory is measured in a child process for each number of files (hard links to a few small pictures).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pdqhash
from _report import finish, options_parser, row
from PIL import Image

from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index

BAR = 1.7  # times the peer, at least, without thumbnails on two cores
GROWTH_MIB = 12  # of peak memory between the smallest and the largest number of files, at most: caches fill, once


def write_pictures(folder: Path, files: int, side: int) -> None:
    """JPEGs of usual quality with detail at every scale."""
    folder.mkdir(parents=True)
    for i in range(files):
        rng = np.random.default_rng(i)
        total = np.zeros((side, side, 3), np.float32)
        for step in (8, 32, 128):
            coarse = Image.fromarray(rng.integers(0, 256, (step, step, 3), dtype=np.uint8))
            total += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32) * (12 / step) ** 0.5
        pixels = (total / total.max() * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:06d}.jpg", quality=90)


def plain_loop(folder: Path) -> float:
    began = perf_counter()
    for file in sorted(folder.iterdir()):
        with Image.open(file) as image:
            pdqhash.compute(np.asarray(image.convert("RGB")))
    return perf_counter() - began


def built(folder: Path, out: Path, thumbnails: int) -> float:
    began = perf_counter()
    build_index(folder, out, load_embedder("pdq"), thumbnails=thumbnails, restart=True)
    return perf_counter() - began


def rates(files: int, side: int, repeats: int) -> list[dict[str, Any]]:
    seconds: dict[str, list[float]] = {"plain": [], "build": [], "build_thumbnails": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary) / "pictures", Path(temporary) / "bench.index"
        write_pictures(folder, files, side)
        for _ in range(repeats):
            seconds["plain"].append(plain_loop(folder))
            seconds["build"].append(built(folder, out, 0))
            seconds["build_thumbnails"].append(built(folder, out, 256))

    def over(name: str) -> float:
        return median(p / b for p, b in zip(seconds["plain"], seconds[name], strict=True))

    return [
        row("plain loop, one core: PIL decode + pdqhash", files / median(seconds["plain"]), "images/s"),
        row("index build, no thumbnails", files / median(seconds["build"]), "images/s"),
        row("index build / plain loop, no thumbnails", over("build"), "x", at_least=BAR),
        row("index build / plain loop, thumbnails of 256 px", over("build_thumbnails"), "x"),
    ]


def peak_mib(files: int) -> float:
    """Peak resident memory of a child that builds an index of so many files, in MiB."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pictures"
        write_pictures(Path(temporary) / "few", 16, 64)
        originals = sorted((Path(temporary) / "few").iterdir())
        folder.mkdir()
        for i in range(files):
            os.link(originals[i % len(originals)], folder / f"{i:08d}.jpg")
        command = [sys.executable, __file__, "--child", str(folder), str(Path(temporary) / "bench.index")]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(folder: str, out: str) -> None:
    build_index(folder, out, load_embedder("pdq"), thumbnails=64)
    # Not ru_maxrss: Linux hands the parent's peak on to the child.
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    sys.stdout.write(str(int(peak.split()[1]) / 1024))


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[1000, 4000], help="numbers of files")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    if options.quick:
        options.files, options.repeats, options.memory = 200, 2, [200, 1000]
    rows = rates(options.files, options.side, options.repeats) if options.files else []
    peaks = {n: peak_mib(n) for n in options.memory}
    rows += [row(f"peak memory of a build of {n} files", peak, "MiB") for n, peak in peaks.items()]
    if peaks:
        rows.append(row("growth of peak memory", max(peaks.values()) - min(peaks.values()), "MiB", at_most=GROWTH_MIB))
    finish("index_build", rows, options.json, files=options.files, side=options.side, cores=os.cpu_count())


if __name__ == "__main__":
    main()
