"""A guarded Stable Diffusion pipeline whose seed 0 is in the reference set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.pipelines import tiny
from tests.pipelines.planted import Planted, one_thread  # noqa: F401


@pytest.fixture(scope="session")
def pipe() -> Any:
    return tiny.stable_diffusion()


@pytest.fixture(scope="session")
def run(pipe: Any) -> Callable[..., Any]:
    """run(seed) or run([seed, ...]): one call of the pipeline, one image a seed."""

    def call(seed: int | list[int], **more: Any) -> Any:
        seeds = seed if isinstance(seed, list) else [seed]
        arguments = {"prompt": "a cat", "num_images_per_prompt": len(seeds), "num_inference_steps": 2, **more}
        return pipe(**arguments, generator=[tiny.seeded(s) for s in seeds])

    return call


@pytest.fixture(scope="session")
def planted(run: Callable[..., Any]) -> Planted:
    return Planted(run(0).images)
