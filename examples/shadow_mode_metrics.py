"""Try the guard on live traffic first: shadow mode changes nothing and counts what would have been blocked.

    python examples/shadow_mode_metrics.py

Needs the extra cpu. Serves /metrics on a free port for a moment and prints what Prometheus would scrape.
"""

from __future__ import annotations

import tempfile
import urllib.request
from pathlib import Path

from PIL import Image

from guard import Guard
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard_diffusers.demo.procedural import draw


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        pictures = Path(temporary) / "pictures"
        pictures.mkdir()
        for seed in range(10):
            Image.fromarray(draw(seed).picture).save(pictures / f"{seed}.png")
        build_index(pictures, Path(temporary) / "my.index", load_embedder())
        guard = Guard.open(Path(temporary) / "my.index", mode="shadow")
        guard.metrics.add_pipeline("txt2img")
        server = guard.metrics.serve(0)
        try:
            for seed in (3, 100, 101):  # one is a copy of a training picture
                guard.check(draw(seed).picture, pipeline="txt2img")
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as response:
                text = response.read().decode()
        finally:
            server.shutdown()
            server.server_close()
        print("\n".join(line for line in text.splitlines() if line.startswith("memguard_would_block_total")))


if __name__ == "__main__":
    main()
