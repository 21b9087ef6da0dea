"""The shipped descriptor, the torch index and a guarded generation on a GPU, beside the same on this machine's CPU.

    python tests/benchmarks/gpu.py [--device cuda] [--quick] [--json OUT]

* Embedding pictures of 512 x 512 that are tensors already, one view and with windows, batch 1 to 256.
* Searching 100,000 and 1,000,000 random unit rows of 256 values, on the device and with faiss on the CPU.
* Generations of one picture of 512 x 512 by a UNet and a VAE of the size of Stable Diffusion 1.5, in half precision,
  with classifier-free guidance, unguarded and guarded in turn; of 100,000 references. The weights are random and there
  is no text encoder: what a step takes does not depend on what a network has learnt.

Milliseconds are medians, the device synchronised around each call. A part that fails says why, and costs the others
nothing. Without a GPU everything runs on the CPU, in small: that shows that it runs, and no figure.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from _report import finish, options_parser, row
from check_path import jpeg, write_index

from guard import Decision, Guard
from guard.config import load_config
from guard.decode import decode
from guard.embedders.pdq import BITS
from guard.embedders.shipped import load_shipped
from guard.embedders.views import ViewKind, embed_views
from guard.indexes.faiss_index import FaissFlatIndex
from guard.indexes.store import open_index
from guard.indexes.torch_index import TorchIndex
from guard.pixels import ImageBatch, to_batch
from guard_diffusers import protect

MOST_APART = {"float32": 100.0, "float16": 1000.0}  # millionths of 1 - cosine to the CPU's descriptor
MOST_OFF = 10.0  # millionths of a similarity, to faiss
MOST_SHARE = 0.05  # of a generation that a check may take
MOST_REPEATS = 200
DEADLINE_S = 600.0  # a check that stands still is slow here, and no failure
VIEWS: tuple[ViewKind, ...] = ("one", "windows")
ONNX_UP_TO = 16  # pictures at once
DIM, K = 256, 5
UNGUARDED = "unguarded"
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done; the small one shows in seconds, on a CPU too, that everything runs."""

    side: int = 512
    batches: tuple[int, ...] = (1, 16, 64, 256)
    references: tuple[int, ...] = (100_000, 1_000_000)
    queries: tuple[int, ...] = (1, 16)
    indexed: int = 100_000
    generations: tuple[tuple[int, int], ...] = ((20, 1), (50, 1), (20, 4))
    """Steps, and pictures of a call."""
    full_models: bool = True
    budget_s: float = 0.5
    """Of one figure; a generation's is ten times that."""


SMALL = Size(128, (1, 4), (2_000, 5_000), (1, 4), 1_000, ((2, 1),), full_models=False, budget_s=0.05)


def main() -> int:
    parser = options_parser(__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    size = Size() if on_gpu and not options.quick else SMALL
    rows, seconds, failed = [], {}, []
    for part in (embedding, searching, generating):
        began = perf_counter()
        try:
            rows += part(device, size)
        except Exception:
            failed.append(part.__name__)
            traceback.print_exc()
        if on_gpu:
            torch.cuda.empty_cache()
        seconds[part.__name__] = round(perf_counter() - began, 1)
    about = machine(device) | {"seconds": seconds, "failed": failed}
    print(about)
    finish("gpu", rows, options.json, **about)
    return 1 if failed else 0


def machine(device: torch.device) -> dict[str, Any]:
    about: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": "cpu",
        "cpu": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        about |= {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda, "driver": _driver()}
        about["tf32"] = {"cudnn": torch.backends.cudnn.allow_tf32, "matmul": torch.backends.cuda.matmul.allow_tf32}
    return about


def _driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def timed(call: Callable[[], Any], device: torch.device, budget_s: float) -> float:
    """Median milliseconds of a call, warmed up, repeated for budget_s and three times at least."""
    call()
    seconds: list[float] = []
    ends = perf_counter() + budget_s
    while len(seconds) < 3 or (perf_counter() < ends and len(seconds) < MOST_REPEATS):
        seconds.append(_once(call, device))
    return 1000 * median(seconds)


def _once(call: Callable[[], Any], device: torch.device) -> float:
    _wait(device)
    began = perf_counter()
    call()
    _wait(device)
    return perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def embedding(device: torch.device, size: Size) -> Rows:
    pictures = _pictures(max(size.batches), size.side)
    there = pictures.to(device)
    options: dict[str, Any] = {"device": str(device), "runtime": "torch"}
    on_device: dict[str, Any] = {"float32": load_shipped(**options)}
    if device.type == "cuda":  # on a CPU it takes twenty times as long as float32
        on_device["float16"] = load_shipped(dtype="float16", **options)
    at_once = {"all in one run": load_shipped(max_batch=max(size.batches), **options)}
    on_cpu: dict[str, Any] = {"torch": load_shipped(runtime="torch"), "ONNX Runtime": load_shipped(runtime="onnx")}
    rows = _agreement(on_device, on_cpu["torch"], pictures[:16], there[:16])
    for kind in VIEWS:
        for count in size.batches:
            largest = count == max(size.batches)
            timed_there = on_device | (at_once if largest else {})
            timed_here = on_cpu if count <= ONNX_UP_TO else {"torch": on_cpu["torch"]}
            what = f"embedding, views {kind!r}, batch {count}"
            ms = {f"device, {name}": _embedded(one, there[:count], kind, size) for name, one in timed_there.items()}
            ms |= {f"CPU, {name}": _embedded(one, pictures[:count], kind, size) for name, one in timed_here.items()}
            rows += [row(f"{what}: {where}", value / count, "ms/image") for where, value in ms.items()]
            rows.append(row(f"{what}: CPU, torch / device", ms["CPU, torch"] / ms["device, float32"], "x"))
    return rows


def _embedded(embedder: Any, pictures: torch.Tensor, kind: ViewKind, size: Size) -> float:
    batch = ImageBatch(tensor=pictures)
    return timed(lambda: embed_views(embedder, batch, kind), pictures.device, size.budget_s)


def _pictures(count: int, side: int) -> torch.Tensor:
    """(count, 3, side, side) in [0, 1], with detail at several scales."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(count, 3, side, side)
    for step in (8, 32):
        coarse = torch.rand(count, 3, step, step, generator=generator)
        total += torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear") / 2
    return total


def _agreement(on_device: dict[str, Any], on_cpu: Any, pictures: torch.Tensor, there: torch.Tensor) -> Rows:
    wanted: Any = embed_views(on_cpu, ImageBatch(tensor=pictures), "windows").vectors
    rows = []
    for dtype, embedder in on_device.items():
        found: Any = embed_views(embedder, ImageBatch(tensor=there), "windows").vectors
        apart = float((1 - (found.cpu() * wanted).sum(2)).max())
        rows.append(
            row(f"distance to the CPU's descriptor, at most: {dtype}", 1e6 * apart, "1e-6", at_most=MOST_APART[dtype])
        )
    return rows


def searching(device: torch.device, size: Size) -> Rows:
    cpu = torch.device("cpu")
    generator = torch.Generator(device).manual_seed(0)
    rows = []
    for count in size.references:
        xb = torch.nn.functional.normalize(torch.randn(count, DIM, device=device, generator=generator), dim=1)
        by_faiss = FaissFlatIndex(xb.cpu().numpy())
        ways = {"device": TorchIndex(xb), "device, float16": TorchIndex(xb, dtype="float16")}
        for batch in size.queries:
            xq = torch.nn.functional.normalize(torch.randn(batch, DIM, device=device, generator=generator), dim=1)
            host = xq.cpu().numpy()
            what = f"search of {count:,} rows, {batch} at once"
            ms = {name: timed(lambda: way.search(xq, K), device, size.budget_s) for name, way in ways.items()}  # noqa: B023
            ms |= {"faiss, CPU": timed(lambda: by_faiss.search(host, K), cpu, size.budget_s)}  # noqa: B023
            rows += [row(f"{what}: {where}", value, "ms") for where, value in ms.items()]
            rows.append(row(f"{what}: faiss, CPU / device", ms["faiss, CPU"] / ms["device"], "x"))
            off = np.abs(ways["device"].search(xq, K).similarity - by_faiss.search(host, K).similarity).max()
            rows.append(row(f"{what}: off by, at most", 1e6 * float(off), "1e-6", at_most=MOST_OFF))
    return rows


def generating(device: torch.device, size: Size) -> Rows:
    with tempfile.TemporaryDirectory() as folder, _guards(Path(folder), device, size.indexed) as guards:
        components = _components(device, full=size.full_models)
        pipes = {UNGUARDED: _pipeline(components)}
        pipes |= {name: protect(_pipeline(components), guard) for name, guard in guards.items()}
        rows: Rows = []
        for pictures in sorted({pictures for _, pictures in size.generations}):
            _warm_up(pipes, device, pictures)
        for steps, pictures in size.generations:
            rows += _generations(pipes, device, size, steps, pictures)
        return rows


@contextmanager
def _guards(folder: Path, device: torch.device, references: int) -> Iterator[Mapping[str, Guard]]:
    """On the device without and with PDQ hashes, which are made on the CPU, and all on the CPU; of the same index."""
    rng = np.random.default_rng(0)
    on_device, on_cpu = load_shipped(device=str(device), runtime="torch"), load_shipped(runtime="onnx")
    rows = rng.standard_normal((references, on_cpu.spec.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[0] = on_cpu.embed(to_batch([decode(jpeg()).rgb]))[0]
    noise = rng.integers(0, 256, (references, BITS // 8), dtype=np.uint8)
    write_index(folder / "bench.index", on_cpu, rows, [one.tobytes() for one in noise])

    def config(identical: str) -> Any:
        return load_config(None, deadline_s=DEADLINE_S, verify=False, policy={"identical": identical})

    with (
        open_index(folder / "bench.index", backend="torch", device=str(device)) as there,
        open_index(folder / "bench.index") as here,
    ):
        guards = {
            "guard on the device": Guard(there, on_device, config=config("ignore")),
            "guard on the device, PDQ hashes": Guard(there, on_device, config=config("block")),
            "guard on the CPU, PDQ hashes": Guard(here, on_cpu, config=config("block")),
        }
        for name, guard in guards.items():
            (verdict,) = guard.check([decode(jpeg()).rgb])
            if verdict.decision is not Decision.BLOCK:
                raise RuntimeError(f"{name} lets a copy through: {verdict}")
        yield guards


def _components(device: torch.device, *, full: bool) -> dict[str, Any]:
    """Of a StableDiffusionPipeline, with random weights; full: the sizes of Stable Diffusion 1.5."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    wide = (320, 640, 1280, 1280) if full else (32, 32, 32, 32)
    fine = (128, 256, 512, 512) if full else (32, 32, 32, 32)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    with device:
        unet = UNet2DConditionModel(
            sample_size=64 if full else 16, block_out_channels=wide, cross_attention_dim=768, attention_head_dim=8
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=fine,
            layers_per_block=2,
            sample_size=512,
        )
    return {
        "vae": vae.to(dtype).eval(),
        "unet": unet.to(dtype).eval(),
        "scheduler": DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        **dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor")),
    }


def _pipeline(components: Mapping[str, Any]) -> Any:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline(**components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _called(pipe: Any, device: torch.device, steps: int, pictures: int) -> Any:
    """The same pictures each time, from the same noise."""
    generator = torch.Generator(device).manual_seed(0)
    prompt, nothing = torch.randn(2, 1, 77, 768, device=device, generator=generator).to(pipe.unet.dtype)
    return pipe(
        prompt_embeds=prompt,
        negative_prompt_embeds=nothing,
        num_images_per_prompt=pictures,
        num_inference_steps=steps,
        generator=generator,
    )


def _warm_up(pipes: Mapping[str, Any], device: torch.device, pictures: int) -> None:
    for name, pipe in pipes.items():
        out = _called(pipe, device, 2, pictures)
        if name != UNGUARDED and [verdict.decision for verdict in out.guard] != [Decision.ALLOW] * pictures:
            raise RuntimeError(f"{name}: not the check that is measured: {list(out.guard)}")


def _generations(pipes: Mapping[str, Any], device: torch.device, size: Size, steps: int, pictures: int) -> Rows:
    """Each pipeline in turn."""
    checks: dict[str, list[float]] = {name: [] for name in pipes if name != UNGUARDED}
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    ends = perf_counter() + 10 * size.budget_s
    while len(seconds[UNGUARDED]) < 3 or perf_counter() < ends:
        for name, pipe in pipes.items():
            _wait(device)
            began = perf_counter()
            out = _called(pipe, device, steps, pictures)
            _wait(device)
            seconds[name].append(perf_counter() - began)
            if name in checks:
                checks[name].append(sum(out.guard.seconds.values()))
    return _generation_rows(f"{steps} steps, {pictures} a call", seconds, checks, held=size.full_models)


def _generation_rows(
    what: str, seconds: Mapping[str, Sequence[float]], checks: Mapping[str, Sequence[float]], *, held: bool
) -> Rows:
    """held: to the bar, which is of pipelines of their true size."""
    rows = [row(f"{what}: unguarded", 1000 * median(seconds[UNGUARDED]), "ms")]
    for name, of_check in checks.items():
        pairs = list(zip(seconds[UNGUARDED], seconds[name], of_check, strict=True))
        bar = MOST_SHARE if held and name.startswith("guard on the device") else None
        rows += [
            row(f"{what}: {name}", 1000 * median(seconds[name]), "ms"),
            row(f"{what}: {name}: check, as it says", 1000 * median(of_check), "ms"),
            row(f"{what}: {name}: added to the call", 1000 * median(b - a for a, b, _ in pairs), "ms"),
            row(f"{what}: {name}: share of a check", median(c / b for _, b, c in pairs), "", at_most=bar),
        ]
    return rows


if __name__ == "__main__":
    sys.exit(main())
