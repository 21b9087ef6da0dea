"""Time of the shipped descriptor in ONNX Runtime, beside the same weights in torch; and what views multiply.

    python tests/benchmarks/descriptor.py [--repeats 60] [--threads 2] [--json OUT]

Both runtimes get the same prepared batch, by turns in the same run, with as many threads each; preprocessing of a
512 x 512 picture is timed by itself. A check with `query_views` embeds as many views as the last rows say.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from _report import finish, options_parser, row

from guard.embedders.preprocess import Preprocessing
from guard.embedders.shipped import FOLDER, SHIPPED, load_shipped, shipped_card
from guard.embedders.views import VIEW_KINDS, embed_views, view_count
from guard.pixels import ImageBatch

BAR_MS = 10.0  # an image, at most
BATCHES = (1, 16)
WARM_UP = 5
BLOCK = 5
"""Calls in a row: threads of one runtime wait for more work in a loop, and take the cores from the other."""


def timed(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call, in blocks by turns; the first call of a block is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    for _ in range(-(-repeats // BLOCK)):
        for name, call in calls.items():
            for i in range(BLOCK + 1):
                began = perf_counter()
                call()
                if i:
                    seconds[name].append(perf_counter() - began)
    return seconds


def runtimes(repeats: int, threads: int) -> list[dict[str, Any]]:
    import onnxruntime

    from guard.training.network import descriptor_net

    card = shipped_card()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(FOLDER / f"{SHIPPED}.onnx", options, providers=["CPUExecutionProvider"])
    torch.set_num_threads(threads)
    network = descriptor_net(**card.network).folded()  # the weights do not change the time
    size = Preprocessing.parse(card.preprocessing).size
    rows = []
    for batch in BATCHES:
        x = np.random.default_rng(0).uniform(-1, 1, (batch, 3, size, size)).astype(np.float32)
        tensor = torch.from_numpy(x)
        with torch.inference_mode():
            seconds = timed(
                {
                    "onnx": lambda x=x: session.run(None, {"image": x}),  # type: ignore[misc]
                    "torch": lambda tensor=tensor: network(tensor),  # type: ignore[misc]
                },
                repeats,
            )
        ms = {name: 1000 * median(values) / batch for name, values in seconds.items()}
        ratio = median(a / b for a, b in zip(seconds["onnx"], seconds["torch"], strict=True))
        rows += [
            row(f"ONNX Runtime, batch {batch}", ms["onnx"], "ms/image", at_most=BAR_MS),
            row(f"torch, batch {batch}", ms["torch"], "ms/image"),
            row(f"ONNX Runtime / torch, batch {batch}", ratio, "x"),
        ]
    return rows


def views(repeats: int, threads: int) -> list[dict[str, Any]]:
    embedder = load_shipped(runtime="onnx", threads=threads)
    picture = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    batch = ImageBatch(arrays=(picture,))
    preprocessing = Preprocessing.parse(shipped_card().preprocessing)
    calls: dict[str, Callable[[], Any]] = {
        kind: lambda kind=kind: embed_views(embedder, batch, kind)  # type: ignore[misc]
        for kind in VIEW_KINDS
    }
    seconds = timed({"preparing": lambda: preprocessing.arrays([picture]), **calls}, max(repeats // 3, 5))
    rows = [row("preparing a picture of 512 x 512", 1000 * median(seconds["preparing"]), "ms")]
    for kind in VIEW_KINDS:
        rows.append(row(f"embedding with views {kind!r} ({view_count(kind)})", 1000 * median(seconds[kind]), "ms"))
        if kind != "one":
            ratio = median(a / b for a, b in zip(seconds[kind], seconds["one"], strict=True))
            rows.append(row(f"views {kind!r} / 'one'", ratio, "x"))
    return rows


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.quick:
        options.repeats = 15
    rows = runtimes(options.repeats, options.threads) + views(options.repeats, options.threads)
    finish("descriptor", rows, options.json, repeats=options.repeats, threads=options.threads, cores=os.cpu_count())


if __name__ == "__main__":
    main()
