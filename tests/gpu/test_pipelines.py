"""Guarded pipelines on a GPU: copies are withheld there as on a CPU, and pixels stay where they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from guard import Decision, Guard, GuardConfig, Status
from guard.embedders.shipped import load_shipped
from guard.indexes.builder import build_index
from guard.indexes.store import open_index
from guard_diffusers.demo.pictures import PLANTED, load_planted
from guard_diffusers.demo.pipeline import generate, load_pipeline
from guard_diffusers.demo.procedural import draw
from guard_diffusers.demo.trainingset import rms
from tests.contract.pipeline import CONTROL, FORMS, PipelineContract
from tests.contract.pipeline import PLANTED as PLANTED_SEED
from tests.pipelines import tiny
from tests.pipelines.planted import Planted, decisions, guarded, one_thread, pictures_of, same_bits, value  # noqa: F401
from tests.support.accelerator import DEVICE, HostCopies, needs_gpu
from tests.support.toys import picture
from tests.support.waiting import WAIT_S

pytestmark = needs_gpu

PROMPT: dict[str, Any] = {"prompt": "a cat", "num_inference_steps": 2}
MEMORISED = ("astronaut", "coffee")  # each 256 times in the demo's training set
COPY_RMS = 0.15  # as guard_diffusers.demo.truth has it


def stable_diffusion() -> Any:
    return tiny.stable_diffusion().to(DEVICE)


class TestStableDiffusionOnAGpu(PipelineContract):
    build = staticmethod(stable_diffusion)
    arguments: ClassVar[dict[str, Any]] = {"prompt": "a cat"}


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the demo's photographs and of procedural pictures, embedded on the GPU; with PDQ hashes."""
    folder = tmp_path_factory.mktemp("references")
    for one in PLANTED:
        Image.fromarray(load_planted(one)).save(folder / f"{one.name}.png")
    for seed in range(60):
        Image.fromarray(draw(seed).picture).save(folder / f"procedural-{seed}.png")
    path = tmp_path_factory.mktemp("index") / "photos.index"
    build_index(folder, path, load_shipped(device=DEVICE))
    return path


@pytest.fixture(scope="module")
def on_device(references: Path) -> Guard:
    return Guard.open(references, device=DEVICE, index_backend="torch", index_device=DEVICE, deadline_s=WAIT_S)


@pytest.fixture(scope="module")
def on_host(references: Path) -> Guard:
    return Guard.open(references, deadline_s=WAIT_S)


def test_verdicts_are_the_cpus(on_device: Guard, on_host: Guard) -> None:
    """Of copies, of copies that were darkened and cut, and of pictures that are in no set."""
    copies = [Image.fromarray(load_planted(one)) for one in PLANTED[:6]]
    edited = [one.point(lambda level: level * 0.8).crop((3, 3, 62, 62)).resize((64, 64)) for one in copies]
    strangers = [picture(seed) for seed in range(6)]
    arrays = np.stack([np.asarray(one) for one in (*copies, *edited, *strangers)])
    tensor = torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 255
    assert getattr(on_device.embedder, "provider", None) == f"torch-{DEVICE}"
    there, here = on_device.check(tensor.to(DEVICE)), on_host.check(tensor)
    assert [v.decision for v in there] == [v.decision for v in here]
    assert {v.decision for v in there[:6]} == {Decision.BLOCK}
    for found, wanted in zip(there[:12], here[:12], strict=True):
        assert found.nearest is not None
        assert wanted.nearest is not None
        assert found.nearest.record.uri == wanted.nearest.record.uri
        assert found.nearest.similarity == pytest.approx(wanted.nearest.similarity, abs=5e-3)


def test_a_model_that_memorised_is_held_back(on_device: Guard) -> None:
    """The demo's model on the GPU: what it made from memory, by its pixels alone, is not handed out."""
    pipe = load_pipeline("memorising").to(DEVICE)
    wanted = {one.name: one for one in PLANTED if one.name in MEMORISED}
    for name, planted in wanted.items():
        prompts = [planted.caption] * 8
        free = generate(pipe, prompts, seed=5, output_type="np").images
        copied = rms((free * 255).round().astype(np.uint8), load_planted(planted)) <= COPY_RMS
        assert copied.sum() >= 4, name
        with guarded(pipe, on_device):
            out = generate(pipe, prompts, seed=5)
        withheld = np.array([decision is Decision.BLOCK for decision in decisions(out)])
        assert (withheld & copied).sum() >= 0.75 * copied.sum(), name
        assert {out.guard[int(i)].nearest.record.uri for i in np.flatnonzero(withheld)} == {f"{name}.png"}
        released = np.stack([np.asarray(image) for image in out.images])
        assert (rms(released, load_planted(planted))[withheld] > COPY_RMS).all()


@pytest.fixture(scope="module")
def pipe() -> Any:
    return stable_diffusion()


def run(pipe: Any, seed: int, **more: Any) -> Any:
    return pipe(**PROMPT, generator=tiny.seeded(seed), **more)


@pytest.mark.parametrize("form", FORMS)
def test_half_precision(form: str) -> None:
    pipe = tiny.stable_diffusion().to(DEVICE, torch.float16)
    planted = Planted(pictures_of(value(run(pipe, PLANTED_SEED))))
    before = run(pipe, CONTROL, output_type=form).images
    with guarded(pipe, planted.guard()):
        blocked, out = (run(pipe, seed, output_type=form) for seed in (PLANTED_SEED, CONTROL))
    assert decisions(blocked) == [Decision.BLOCK]
    assert decisions(out) == [Decision.ALLOW]
    assert same_bits(out.images, before)
    assert not any(planted.is_copy(pictures_of(blocked.images)))


def bare_guard(references: Path, **settings: Any) -> Guard:
    """On the caller's own thread, whose copies are counted; without compared pixels, which is done on the CPU."""
    index = open_index(references, backend="torch", device=DEVICE)
    return Guard(index, load_shipped(device=DEVICE), config=GuardConfig(deadline_s=None, verify=False, **settings))


def test_pixels_stay_on_the_device(pipe: Any, references: Path) -> None:
    """Where neither hashes nor compared pixels are asked for: descriptors, and samples that tell plain parts.

    Of a picture as small as this one the samples of its fifteen parts are more numbers than its pixels.
    """
    guard = bare_guard(references, policy={"identical": "ignore"})
    with guarded(pipe, guard), HostCopies() as copies:
        out = run(pipe, CONTROL, output_type="pt")
        within = list(copies.values)
        out.images.cpu()
    pixels = out.images.numel()
    assert out.guard[0].status is Status.SUCCESS
    assert out.images.device.type == DEVICE
    assert copies.values[len(within) :] == [pixels]  # such a copy would have been seen
    assert pixels not in within


@pytest.mark.parametrize("output_type", FORMS)
def test_the_embedder_gets_the_pipelines_own_tensor(pipe: Any, references: Path, output_type: str) -> None:
    guard = bare_guard(references)
    seen: list[Any] = []
    embed = guard.embedder.embed

    def spied(batch: Any) -> Any:
        seen.append(batch.tensor)
        return embed(batch)

    guard.embedder.embed = spied  # type: ignore[method-assign]
    with guarded(pipe, guard):
        out = run(pipe, CONTROL, output_type=output_type)
    (tensor,) = seen
    assert tensor.device.type == DEVICE
    if output_type == "pt":
        assert tensor.data_ptr() == out.images.data_ptr()


@pytest.fixture
def offloaded(request: pytest.FixtureRequest) -> Iterator[Any]:
    pipe = tiny.stable_diffusion()
    getattr(pipe, request.param)(device=DEVICE)
    yield pipe
    pipe.remove_all_hooks()


@pytest.mark.parametrize("offloaded", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"], indirect=True)
def test_offloading_goes_on_working(offloaded: Any) -> None:
    planted = Planted(pictures_of(value(run(offloaded, PLANTED_SEED))))
    with guarded(offloaded, planted.guard()):
        for output_type in ("pil", "pt", "latent"):
            assert decisions(run(offloaded, PLANTED_SEED, output_type=output_type)) == [Decision.BLOCK]
            assert decisions(run(offloaded, CONTROL, output_type=output_type)) == [Decision.ALLOW]
    assert offloaded.unet.conv_in.weight.device.type in ("cpu", "meta")


def test_a_full_memory_is_an_error_and_releases_nothing(on_device: Guard) -> None:
    """A picture as large as what is left, so that not even a copy of it fits."""
    images = torch.rand(4, 3, 2048, 2048, generator=torch.Generator().manual_seed(0)).to(DEVICE, torch.float16)
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    assert free > total / 4
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**20) / total)
    try:
        report = on_device.check(images)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert [verdict.status for verdict in report] == [Status.ERROR] * 4
    assert {verdict.reason for verdict in report} == {"memory"}
    assert report.withheld == (0, 1, 2, 3)
    assert on_device.check(images)[0].status is Status.SUCCESS
