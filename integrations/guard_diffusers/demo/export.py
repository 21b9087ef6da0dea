"""One of the demo's models as a folder that diffusers loads, for whatever takes a pipeline: an audit, a server.

    python -m guard_diffusers.demo.export FOLDER                                # the memorising model that ships
    python -m guard_diffusers.demo.export FOLDER --model control
    python -m guard_diffusers.demo.export FOLDER --weights OUT/weights          # of guard_diffusers.demo.train OUT

float32, some 35 MB. Its figures were measured with 12 steps and guidance 2.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from guard.errors import ConfigError
from guard_diffusers.demo.pipeline import load_pipeline

__all__ = ["export", "main"]


def export(folder: Path, model: str = "memorising", *, weights: Path | None = None) -> None:
    """Write the pipeline of a model to a new folder. Raises ConfigError if one is there, or load_pipeline does."""
    if folder.exists():
        raise ConfigError(f"{folder} exists; name a new folder")
    load_pipeline(model, folder=weights).save_pretrained(folder, safe_serialization=True)  # type: ignore[arg-type]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m guard_diffusers.demo.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--model", choices=("memorising", "control"), default="memorising")
    parser.add_argument("--weights", type=Path, help="a weights folder (default: the one that ships)")
    options = parser.parse_args(argv)
    try:
        export(options.folder, options.model, weights=options.weights)
    except ConfigError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
