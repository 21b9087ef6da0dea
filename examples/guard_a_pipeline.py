"""Guard a diffusers pipeline: two lines. The pipeline here is the demo's, which memorised some pictures.

    python examples/guard_a_pipeline.py

Needs the extras cpu and demo. With your own pipeline, only the last part changes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from guard import Guard, Policy
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard_diffusers import protect, unprotect
from guard_diffusers.demo.pipeline import generate, load_pipeline
from guard_diffusers.demo.truth import planted_items


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The pictures that the model was trained on, and their index. `memguard index build` does the same.
        training = Path(folder) / "training"
        training.mkdir()
        for item in planted_items():
            Image.fromarray(item.picture).save(training / f"{Path(item.name).name}.png")
        build_index(training, Path(folder) / "training.index", load_embedder())

        # The two lines.
        guard = Guard.open(Path(folder) / "training.index", policy=Policy(block=0.75))
        pipe = protect(load_pipeline(), guard, name="example")

        prompts = ["a cup of coffee on a wooden table", "wide checks in teal and white with navy"]
        out = generate(pipe, prompts, seed=1)
        for prompt, image, verdict in zip(prompts, out.images, out.guard, strict=True):
            print(f"{verdict.decision}: {prompt!r} -> {image.size}; {'; '.join(verdict.reasons)}")
        unprotect(pipe)


if __name__ == "__main__":
    main()
