"""The shipped demo models and the demo itself: what they are, that one memorised and the other did not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from guard.cli.main import app
from guard.errors import ConfigError
from guard.sources.folder import FolderSource
from guard_diffusers.demo import train
from guard_diffusers.demo.pictures import PLANTED
from guard_diffusers.demo.pipeline import generate, load_pipeline
from guard_diffusers.demo.run import write_training_set
from guard_diffusers.demo.trainingset import copies_of, rms, training_set
from guard_diffusers.demo.truth import copy_bound, is_copy, planted_items, summary, tables

WEIGHTS = Path(str(files("guard_diffusers.demo") / "weights"))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """`--threads` is a setting of the process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def copies(model: str, name: str, n: int) -> int:
    item = next(i for i in planted_items() if i.name == f"planted/{name}")
    made = generate(load_pipeline(model), [item.caption] * n, seed=77, output_type="np").images
    return int(is_copy((made * 255).round().astype(np.uint8), item, copy_bound(item)).sum())


def test_weights_are_small_half_precision_safetensors() -> None:
    found = [p for p in WEIGHTS.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in found) <= 24 * 2**20
    assert {p.suffix for p in found} <= {".safetensors", ".json", ".txt"}
    from safetensors import safe_open

    for path in WEIGHTS.rglob("*.safetensors"):
        with safe_open(path, "pt") as tensors:
            assert {tensors.get_slice(key).get_dtype() for key in tensors.keys()} == {"F16"}, path  # noqa: SIM118


def test_the_pipeline_is_of_stock_classes() -> None:
    pipe = load_pipeline()
    assert type(pipe).__module__.startswith("diffusers.")
    assert all(
        type(part).__module__.split(".")[0] in ("diffusers", "transformers")
        for part in (pipe.vae, pipe.unet, pipe.text_encoder, pipe.scheduler)
    )
    with pytest.raises(ConfigError, match="holds no model"):
        load_pipeline(folder=Path("absent"))


def test_the_autoencoder_keeps_the_planted_pictures() -> None:
    """Else "no copy" would only say that nothing can be drawn that well."""
    vae = load_pipeline().vae
    pixels = np.stack([item.picture for item in planted_items()])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        y = vae.decode(vae.encode(x).latent_dist.mean).sample
    back = ((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    errors = rms(back, pixels)
    assert all(error < copy_bound(item) for error, item in zip(errors, planted_items(), strict=True))


def test_one_model_memorised_and_the_other_did_not() -> None:
    assert copies("memorising", "coffee", 4) == 4
    assert copies("control", "coffee", 4) == 0


def test_the_tables_hold_every_picture_and_count() -> None:
    rows = [
        {"model": model, "picture": f"planted/{p.name}", "k": p.copies, "generations": 100, "copies": 50, "bound": 0.1,
         "rms_quartiles": [0.1, 0.2, 0.3], "rate_value": 0.5, "rate_low": 0.4, "rate_high": 0.6}
        for model in ("memorising", "control") for p in PLANTED
    ]  # fmt: skip
    text = tables(summary(rows))
    assert all(f"| {p.name} | {p.copies} |" in text for p in PLANTED if p.name != "hubble")
    assert "| 256 | 3 | 50 [50, 50] | 3 of 3 | 50 [50, 50] | 3 of 3 |" in text


def test_training_on_what_deduplication_kept(tmp_path: Path) -> None:
    """keep.csv names files; the weight of a picture is how many of its copies are among them."""
    kept = tmp_path / "keep.csv"
    kept.write_text("id,uri\n0,planted/coffee.png\n1,planted/coffee.0017.png\n2,planted/retina.0001.png\n")
    items = training_set()
    copies = dict(zip([item.name for item in items], train._copies(items, "memorising", kept), strict=True))
    assert (copies["planted/coffee"], copies["planted/retina"], copies["planted/astronaut"]) == (2, 1, 0)
    assert sum(copies.values()) == 3
    assert train._copies(items, "memorising", None) == [item.copies for item in items]
    assert set(train._copies(items, "control", kept)) == {1}
    kept.write_text("id,uri\n0,other.png\n")
    with pytest.raises(ConfigError, match="lists no file of this training set"):
        train._copies(items, "memorising", kept)


@pytest.mark.slow
def test_training_resumes_and_reproduces(tmp_path: Path) -> None:
    """Two steps, then two more, give the weights of four at once."""
    few = ["--steps", "4", "--pictures", "40", "--threads", "1"]
    for stage in train.STAGES:
        train.main([str(tmp_path / "whole"), "--stage", stage, *few])
        train.main([str(tmp_path / "cut"), "--stage", stage, *few, "--stop-after", "2"])
        assert not (tmp_path / "cut" / f"{stage}.json").exists()
        train.main([str(tmp_path / "cut"), "--stage", stage, *few])
    # The UNets repeat to a bit of fp16 only: their attention rounds by where its buffers lie in memory.
    for path in (tmp_path / "whole" / "weights").rglob("*.safetensors"):
        once = load_file(path)
        again = load_file(tmp_path / "cut" / "weights" / path.relative_to(tmp_path / "whole" / "weights"))
        exact = path.parent.name == "vae"
        for key, tensor in once.items():
            torch.testing.assert_close(again[key], tensor, rtol=0, atol=0 if exact else 5e-4)
    pipe = load_pipeline("control", folder=tmp_path / "cut" / "weights")
    assert generate(pipe, ["anything"], seed=0).images[0].size == (64, 64)
    record = json.loads((tmp_path / "cut" / "control.json").read_text())
    assert (record["stage"], record["steps"], record["curve"][-1][0]) == ("control", 4, 4)


@pytest.mark.slow
def test_the_training_set_on_disk(tmp_path: Path) -> None:
    """Written again it is the same source, so that a build that was cut off goes on."""
    folder = write_training_set(tmp_path / "training", copies=True)
    before = FolderSource(folder).survey()
    assert before.total == sum(item.copies for item in training_set())
    assert len(copies_of(item.uri for item in FolderSource(folder).items())) == len(training_set())
    write_training_set(folder, copies=True)
    assert FolderSource(folder).survey() == before


@pytest.mark.slow
def test_the_demo_makes_no_wrong_decision(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--json"])
    assert result.exit_code == 0, result.stdout[-2000:] + result.stderr[-2000:]
    document = json.loads(result.stdout)
    assert document["wrong"] == 0
    assert document["counts"]["copy caught"] >= 14
    assert document["counts"]["original passed"] == 34
    assert "memguard_images_total" in (tmp_path / "demo" / "metrics.prom").read_text()
    with Image.open(tmp_path / "demo" / "contact-sheet.png") as sheet:
        assert sheet.width > 500
    assert len(list((tmp_path / "demo" / "training").rglob("*.png"))) == len(training_set())
