"""The descriptor that comes with the package: both runtimes, its size, its card, and what damage does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guard import Guard
from guard.embedders import shipped
from guard.embedders.models import MODELS, fetch_model, fetched, model_card
from guard.embedders.ort import OrtEmbedder
from guard.embedders.registry import DEFAULT, load_embedder
from guard.embedders.shipped import FOLDER, SHIPPED, load_shipped, shipped_card
from guard.embedders.torch import TorchEmbedder
from guard.embedders.views import embed_views, has_windows, view_count, windows_identity
from guard.embedders.windowed import WindowedEmbedder
from guard.errors import ConfigError
from guard.indexes.builder import build_index
from guard.pixels import ImageBatch, to_batch
from guard.types import Decision
from tests.support.toys import picture

TOLERANCE = 1e-3
MAX_BYTES = 12e6


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped files, where a test may damage them."""
    folder = tmp_path / "weights"
    shutil.copytree(FOLDER, folder)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return folder


def test_it_is_the_default_and_first_on_the_list() -> None:
    assert DEFAULT == SHIPPED
    assert next(iter(MODELS)) == SHIPPED
    assert load_embedder().spec.name == SHIPPED
    assert fetched(SHIPPED)
    with pytest.raises(ConfigError, match="comes with the package"):
        fetch_model(SHIPPED)


def test_both_files_fit_into_a_small_wheel() -> None:
    files = [FOLDER / f"{SHIPPED}.{suffix}" for suffix in ("onnx", "windows.onnx", "safetensors")]
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES
    assert not [path.name for path in FOLDER.iterdir() if path.suffix not in {".onnx", ".safetensors", ".json"}]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_gives_nearly_the_same_descriptors(dtype: str) -> None:
    batch = to_batch([picture(seed, 96, 80) for seed in range(3)])
    whole, half = load_shipped(runtime="torch"), load_shipped(runtime="torch", dtype=dtype)
    wanted, found = (embed_views(embedder, batch, "windows").vectors for embedder in (whole, half))
    assert found.dtype == np.float32
    assert 0 < (1 - (found * wanted).sum(axis=2)).max() < TOLERANCE


def test_both_runtimes_give_one_descriptor_and_share_their_identity() -> None:
    of_onnx, of_torch = load_shipped(runtime="onnx"), load_shipped(runtime="torch")
    assert isinstance(of_onnx, WindowedEmbedder)
    assert isinstance(of_torch, WindowedEmbedder)
    assert isinstance(of_onnx.whole, OrtEmbedder)
    assert isinstance(of_torch.whole, TorchEmbedder)
    assert of_onnx.spec == of_torch.spec
    assert windows_identity(of_onnx) == windows_identity(of_torch)
    assert shipped_card().windows_preprocessing in windows_identity(of_onnx)
    batch = to_batch([picture(seed, 90 + 40 * seed, 200) for seed in range(5)])
    tensor = ImageBatch(tensor=torch.rand(3, 3, 120, 200))
    for both in (batch, tensor):
        one, other = np.asarray(of_onnx.embed(both)), np.asarray(of_torch.embed(both))
        assert np.abs(one - other).max() <= TOLERANCE
        one, other = np.asarray(of_onnx.embed_windows(both)), np.asarray(of_torch.embed_windows(both))
        assert np.abs(one - other).max() <= TOLERANCE


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_mirrored_and_turned_pictures_have_the_same_descriptor(runtime: Any) -> None:
    one = np.asarray(picture(3, 160, 240))
    others = [np.ascontiguousarray(np.rot90(side, turns)) for side in (one, one[:, ::-1]) for turns in range(4)]
    rows = load_shipped(runtime=runtime).embed(to_batch([one, *others]))
    np.testing.assert_allclose(rows[1:], np.broadcast_to(rows[0], (8, rows.shape[1])), atol=1e-3)


def test_the_runtime_follows_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"onnxruntime", "torch"}
    monkeypatch.setattr(shipped.importlib.util, "find_spec", lambda name: object() if name in here else None)
    assert shipped._runtime(None) == "onnx"
    here.discard("onnxruntime")
    assert shipped._runtime(None) == "torch"
    here.clear()
    with pytest.raises(Exception, match=r"memorization-guard\[cpu\]"):
        shipped._runtime(None)


def test_onnx_alone_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np; from guard.embedders.registry import load_embedder;"
        "from guard.pixels import to_batch;"
        "e = load_embedder(); e.embed(to_batch(np.zeros((64, 64, 3), np.uint8)));"
        "print(sorted(sys.modules.keys() & {'torch', 'onnx', 'safetensors', 'cv2'}), e.spec.name)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert run.stdout.strip() == f"[] {SHIPPED}"


def test_an_index_of_one_runtime_is_opened_with_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    for seed in range(4):
        picture(seed, 128, 128).save(folder / f"{seed}.png")
    build_index(folder, tmp_path / "my.index", load_shipped(runtime="onnx"))
    guard = Guard.open(tmp_path / "my.index", embedder=load_shipped(runtime="torch"))
    verdict = guard.check(picture(2, 128, 128)).verdicts[0]
    assert verdict.decision is Decision.BLOCK
    assert verdict.nearest is not None
    assert verdict.nearest.record.uri == "2.png"


def test_the_card_is_whole() -> None:
    card = shipped_card()
    assert card.dim == load_shipped().spec.dim == model_card(SHIPPED).dim
    assert -1 < card.thresholds.flag <= card.thresholds.block <= 1
    assert "memguard eval descriptors" in card.thresholds.source
    assert "none made by a person" in card.training["data"]
    assert all(run["views"] > 0 and run["commit"] for run in card.training["runs"])
    assert card.evaluation["groups"]
    assert card.weak_spots


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_damaged_weights_are_refused(copied: Path, runtime: Any) -> None:
    path = copied / f"{SHIPPED}.{'onnx' if runtime == 'onnx' else 'safetensors'}"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="damaged"):
        load_shipped(runtime=runtime)
    path.unlink()
    with pytest.raises(ConfigError, match=r"missing|no weights"):
        load_shipped(runtime=runtime)


def test_damaged_windows_are_refused_when_they_are_asked_for(copied: Path) -> None:
    whole, windows = copied / f"{SHIPPED}.onnx", copied / f"{SHIPPED}.windows.onnx"
    windows.write_bytes(windows.read_bytes()[:-100])
    batch, embedder = to_batch(picture(1)), load_shipped(runtime="onnx")
    assert embedder.embed(batch).shape == (1, embedder.spec.dim)
    with pytest.raises(ConfigError, match=r"windows\.onnx is missing or damaged"):
        embed_views(embedder, batch, "windows")
    shutil.copyfile(FOLDER / windows.name, windows)
    assert embed_views(load_embedder(f"onnx:{whole}"), batch, "windows").vectors.shape[1] == view_count("windows")
    shutil.copyfile(whole, windows)
    with pytest.raises(ConfigError, match="answers with"):
        embed_views(load_embedder(f"onnx:{whole}"), batch, "windows")
    windows.unlink()
    assert not has_windows(load_embedder(f"onnx:{whole}"))


@pytest.mark.parametrize("text", [None, "", "{}", '{"name": "procedural"}'])
def test_a_damaged_card_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / f"{SHIPPED}.json").write_text(text)
    with pytest.raises(ConfigError, match="install the package anew"):
        shipped_card(tmp_path)


def test_an_unknown_runtime_is_refused() -> None:
    wrong: Any = "tflite"
    with pytest.raises(ConfigError, match="known: onnx, torch"):
        load_shipped(runtime=wrong)
