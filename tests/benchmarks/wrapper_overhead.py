"""What a guarded call costs beside the pipeline, one conversion of its pixels, the embedder and the index.

    python tests/benchmarks/wrapper_overhead.py [--repeats 300] [--images 4] [--quick] [--json OUT]

The pipeline returns 512 x 512 pictures that are made already, the embedder returns zeros and the index
nothing, so that what is left is the guard's own. Timed in turn, in the same run: the bare call, the bare call
and one conversion of its output (np.asarray of PIL images; else what `guard.pixels` does), the guarded call.
The wrapper's own is the difference of the last two, a median. On a busy machine the hand-over to the thread
that bounds a check by `deadline_s` waits for a free processor; the processor time stands beside it.
Memory: the most that is held above the start, by tracemalloc for PIL images and arrays; the embedder says
whether the tensor that it is handed is the pipeline's own.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from _report import finish, options_parser, row
from diffusers import DiffusionPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput

from guard import Decision, Guard, GuardConfig
from guard.embedders.base import EmbedderSpec, Thresholds
from guard.pixels import ImageBatch, to_batch
from guard.types import Candidates, Record
from guard_diffusers import protect

BAR_MS = 1.0  # beyond the one conversion
BAR_COPY = 0.05  # of the size of the pixels: more would be a second copy
SIDE = 512
DEADLINE_S = 600.0  # a check that stands still is slow here, and no failure


class Ready(DiffusionPipeline):
    """A pipeline that has made its pictures before it is called."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.register_modules()
        noise = torch.rand(images, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        array = noise.permute(0, 2, 3, 1).contiguous().numpy()
        self.made = {"pt": noise, "np": array, "pil": self.numpy_to_pil(array)}

    @torch.no_grad()
    def __call__(self, prompt: str, num_inference_steps: int = 50, output_type: str = "pil") -> ImagePipelineOutput:
        return ImagePipelineOutput(images=self.made[output_type])


class NullEmbedder:
    """Looks at no pixel; remembers the batch that it was handed."""

    spec = EmbedderSpec("null", 1, 1, "", "", thresholds=Thresholds(0.5, 0.5, "none"))
    batch: ImageBatch | None = None

    def embed(self, batch: ImageBatch) -> Any:
        self.batch = batch
        return np.ones((len(batch), 1), np.float32)  # of unit norm, as the guard demands


class NullIndex:
    """Finds nothing."""

    version = "0000"
    manifest = SimpleNamespace(count=0, built_timestamp=0.0, embedder=NullEmbedder.spec)

    def search(self, xq: Any, k: int) -> Candidates:
        return Candidates(np.full((len(xq), k), -1), np.full((len(xq), k), -np.inf, np.float32))

    def records(self, ids: Any) -> list[Record]:
        return []

    def __len__(self) -> int:
        return 0


def convert(form: str, images: Any) -> Any:
    return [np.asarray(image) for image in images] if form == "pil" else to_batch(images)


def measure(form: str, images: int, repeats: int) -> list[dict[str, Any]]:
    plain, guarded = Ready(images), Ready(images)
    embedder = NullEmbedder()
    guard = Guard(NullIndex(), embedder, config=GuardConfig(deadline_s=DEADLINE_S, verify=False))  # type: ignore[arg-type]
    protect(guarded, guard)

    def bare() -> Any:
        return plain("a prompt", output_type=form)

    def converted() -> Any:
        return convert(form, bare().images)

    def checked() -> Any:
        return guarded("a prompt", output_type=form)

    assert [v.decision for v in checked().guard] == [Decision.ALLOW] * images
    walls: list[tuple[float, ...]] = []
    cpus: list[float] = []
    for repeat in range(repeats + 10):
        timed = [_timed(call) for call in (bare, converted, checked)]
        if repeat >= 10:  # the first ones warm caches up
            walls.append(tuple(wall for wall, _ in timed))
            cpus.append(1000 * (timed[2][1] - timed[1][1]))
    bare_ms, converted_ms, checked_ms = (1000 * median(column) for column in zip(*walls, strict=True))
    rows = [
        row(f"{form}: bare call", bare_ms, "ms"),
        row(f"{form}: bare call + one conversion", converted_ms, "ms"),
        row(f"{form}: guarded call", checked_ms, "ms"),
        row(f"{form}: guarded / (bare + conversion)", checked_ms / converted_ms, "x"),
        row(f"{form}: the wrapper's own", 1000 * median(c - b for _, b, c in walls), "ms", at_most=BAR_MS),
        row(f"{form}: the wrapper's own, processor time", median(cpus), "ms"),
    ]
    return [*rows, _copies(form, images, converted, checked, embedder, guarded.made["pt"])]


def _copies(
    form: str, images: int, converted: Callable[[], Any], checked: Callable[[], Any], embedder: NullEmbedder, made: Any
) -> dict[str, Any]:
    """How much more the guarded call holds than the one conversion, in copies of the pixels."""
    what = f"{form}: copies of the pixels beyond the one conversion"
    if form == "pt":  # no conversion at all: the embedder must be handed the pipeline's own memory
        checked()
        batch = embedder.batch
        copies = float(batch is None or batch.tensor is None or batch.tensor.data_ptr() != made.data_ptr())
    else:
        pixels = images * SIDE * SIDE * 3
        copies = (_peak(checked) - _peak(converted)) / pixels
    return row(what, copies, "x", at_most=BAR_COPY)


def _peak(call: Callable[[], Any]) -> int:
    """Bytes held at most while it runs, above what was held before; the least of three runs."""
    peaks = []
    for _ in range(3):
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        call()
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
    return min(peaks)


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock, and of processor time in all threads."""
    wall, cpu = perf_counter(), process_time()
    call()
    return perf_counter() - wall, process_time() - cpu


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--images", type=int, default=4)
    options = parser.parse_args()
    repeats = 50 if options.quick else options.repeats
    torch.set_num_threads(1)  # the range check of a tensor otherwise waits for threads that cannot run
    rows = [line for form in ("pil", "np", "pt") for line in measure(form, options.images, repeats)]
    finish("wrapper_overhead", rows, options.json, images=options.images, side=SIDE, repeats=repeats)


if __name__ == "__main__":
    main()
