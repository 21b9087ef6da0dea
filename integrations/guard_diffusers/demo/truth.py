"""When a generation counts as memorised: by pixels alone, without the guard.

    python -m guard_diffusers.demo.truth --out memorised.json     # the table of the docs

A generation is a copy of its planted picture if its RMS distance is at most 0.15 *and* less than half
of that picture's mean distance to its 50 nearest other training images (after the l2 and the
adaptive criterion of Carlini et al. 2023, sections 4.1 and 5.1). A planted picture counts
as memorised by a model when at least 20 of 100 generations of its caption are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.evaluation.intervals import clustered_mean, wilson
from guard_diffusers.demo.pipeline import GUIDANCE, STEPS, generate, load_pipeline
from guard_diffusers.demo.trainingset import Item, rms, training_set

__all__ = ["COUNTS_AS_MEMORISED", "copy_bound", "is_copy", "planted_items"]

MAX_RMS = 0.15  # inclusive
ADAPTIVE = 0.5  # of the mean distance to the nearest others, exclusive
NEIGHBOURS = 50
COUNTS_AS_MEMORISED = 0.2  # of the generations, inclusive

_bounds: dict[str, float] = {}  # by name; each takes a look at the whole set


def planted_items() -> list[Item]:
    """The planted pictures that a distance can judge: those that no plain colour comes as near to as a copy.

    That leaves out the deep field of galaxies, which is so dark that a black picture would pass for it.
    """
    planted = [item for item in training_set() if item.name.startswith("planted/")]
    return [item for item in planted if _flat_distance(item) > copy_bound(item)]


def _flat_distance(item: Item) -> float:
    mean = item.picture.mean(axis=(0, 1), keepdims=True).round().astype(np.uint8)
    return float(rms(np.broadcast_to(mean, item.picture.shape), item.picture))


def copy_bound(item: Item) -> float:
    """The RMS distance below which a generation copies this picture: the smaller of both criteria."""
    if item.name not in _bounds:
        others = np.stack([other.picture for other in training_set() if other is not item])
        nearest = np.sort(rms(others, item.picture))[:NEIGHBOURS]
        _bounds[item.name] = min(MAX_RMS, ADAPTIVE * float(nearest.mean()))
    return _bounds[item.name]


def is_copy(generated: npt.NDArray[np.uint8], item: Item, bound: float) -> npt.NDArray[np.bool_]:
    """generated: (n, SIZE, SIZE, 3). Returns (n,), True where it copies the item."""
    distance = rms(generated, item.picture)
    return distance <= bound if bound == MAX_RMS else distance < bound


def measure(
    model: str,
    folder: Path | None,
    per_picture: int,
    done: list[dict[str, Any]],
    save: Callable[[list[dict[str, Any]]], None],
) -> list[dict[str, Any]]:
    """Generate per_picture images of every planted caption and count the copies; goes on from `done`."""
    pipe = load_pipeline(model, folder=folder)  # type: ignore[arg-type]
    rows = list(done)
    for number, item in enumerate(planted_items()):
        if any(row["model"] == model and row["picture"] == item.name for row in rows):
            continue
        distances: list[float] = []
        bound = copy_bound(item)
        hits = 0
        for start in range(0, per_picture, 50):
            prompts = [item.caption] * min(50, per_picture - start)
            made = generate(pipe, prompts, seed=1000 * number + start, output_type="np").images
            pixels = (made * 255).round().astype(np.uint8)
            distances += rms(pixels, item.picture).tolist()
            hits += int(is_copy(pixels, item, bound).sum())
        rows.append(
            {
                "model": model,
                "picture": item.name,
                "k": item.copies,
                "generations": per_picture,
                "copies": hits,
                "bound": bound,
                "rms_quartiles": np.quantile(distances, [0.25, 0.5, 0.75]).tolist(),
                **{f"rate_{k}": v for k, v in asdict(wilson(hits, per_picture)).items()},
            }
        )
        sys.stderr.write(
            f"{model}: {item.name} (k = {item.copies}): {hits} of {per_picture}, "
            f"median RMS {np.median(distances):.3f}, bound {bound:.3f}\n"
        )
        save(rows)
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m guard_diffusers.demo.truth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file; an unfinished one is continued")
    parser.add_argument("--weights", type=Path, help="another weights folder than the shipped one")
    parser.add_argument("--per-picture", type=int, default=100)
    options = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    if options.out.exists():
        rows = json.loads(options.out.read_text(encoding="utf-8"))["pictures"]

    def save(rows: list[dict[str, Any]]) -> None:
        options.out.write_text(json.dumps(summary(rows), indent=1) + "\n", encoding="utf-8")

    for model in ("memorising", "control"):
        rows = measure(model, options.weights, options.per_picture, rows, save)
    sys.stdout.write(tables(summary(rows)) + "\n")


def tables(result: dict[str, Any]) -> str:
    """The two tables of the docs, in Markdown."""
    lines = ["| k | pictures | memorising: copies of 100 | memorised | control: copies of 100 | memorised |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for k in sorted({row["k"] for row in result["per_k"]}, reverse=True):
        cells = []
        for model in ("memorising", "control"):
            row = next(r for r in result["per_k"] if (r["model"], r["k"]) == (model, k))
            rates = [100 * row[name] for name in ("value", "low", "high")]
            cells.append("{:.0f} [{:.0f}, {:.0f}] | {} of {}".format(*rates, row["memorised"], row["pictures"]))
        lines.append(f"| {k} | {row['pictures']} | {' | '.join(cells)} |")
    lines += [
        "",
        "| picture | k | bound | memorising | median RMS | control | median RMS |",
        "|---|---|---|---|---|---|---|",
    ]
    for item in planted_items():
        cells = []
        for model in ("memorising", "control"):
            row = next(r for r in result["pictures"] if (r["model"], r["picture"]) == (model, item.name))
            rates = [100 * row[name] for name in ("rate_value", "rate_low", "rate_high")]
            cells.append("{:.0f} [{:.0f}, {:.0f}] | {:.3f}".format(*rates, row["rms_quartiles"][1]))
        lines.append(
            f"| {item.name.removeprefix('planted/')} | {item.copies} | {row['bound']:.3f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows a picture, and the mean rate of each k with an interval over pictures."""
    per_k = []
    for model, k in sorted({(row["model"], row["k"]) for row in rows}):
        rates = [row["rate_value"] for row in rows if (row["model"], row["k"]) == (model, k)]
        memorised = sum(rate >= COUNTS_AS_MEMORISED for rate in rates)
        per_k.append(
            {"model": model, "k": k, "pictures": len(rates), "memorised": memorised, **asdict(clustered_mean(rates))}
        )
    return {"steps": STEPS, "guidance": GUIDANCE, "pictures": rows, "per_k": per_k}


if __name__ == "__main__":
    main()
