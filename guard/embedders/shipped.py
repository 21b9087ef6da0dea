"""The descriptor inside the package: its files, what is known of it, and which runtime runs it. Downloads nothing.

The same weights are there for ONNX Runtime, as a graph for the whole picture and one for its windows, and as
safetensors for torch. They share one identity, so that an index built with either is opened with both.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from guard.embedders.base import Thresholds
from guard.embedders.files import sha256_of
from guard.embedders.windowed import WindowedEmbedder
from guard.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from guard.embedders.base import Embedder

__all__ = ["ARCHITECTURE", "FOLDER", "SHIPPED", "ShippedCard", "load_shipped", "shipped_card"]

SHIPPED = "procedural"
"""Its name, after the pictures that trained it."""
FOLDER = Path(__file__).with_name("weights")
ARCHITECTURE, WINDOWS_ARCHITECTURE = "memguard_descriptor", "memguard_windows"

Runtime = Literal["onnx", "torch"]


class ShippedCard(BaseModel):
    """What `python -m guard.training.ship` writes beside the weights. Every figure in it was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    dim: int
    preprocessing: str
    network: dict[str, Any]
    """The fields of guard.training.config.NetworkConfig."""
    weights_sha256: str
    """Of the safetensors file; the identity of both."""
    onnx_sha256: str
    windows_preprocessing: str
    windows_sha256: str
    """Of the ONNX graph of the windows."""
    thresholds: Thresholds
    training: dict[str, Any]
    """Data, commit, seeds, views and compute of each run, the first one first."""
    evaluation: dict[str, Any]
    """Date, command, pictures, and figures by group; guard/training/ship.py says which."""
    weak_spots: tuple[str, ...]
    """In words, from the evaluation."""


@cache
def shipped_card(folder: Path = FOLDER) -> ShippedCard:
    """Read the card. Raises ConfigError if the installation is damaged."""
    path = folder / f"{SHIPPED}.json"
    try:
        return ShippedCard.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValidationError) as exc:
        raise ConfigError(
            f"the card of the shipped descriptor cannot be read ({exc}); install the package anew"
        ) from exc


def load_shipped(*, device: str | None = None, runtime: Runtime | None = None, **options: Any) -> Embedder:
    """Build the shipped embedder.

    device: "cpu" (None), "cuda", "cuda:1". runtime: "onnx" or "torch"; None takes ONNX Runtime on a CPU where it is
    installed, and torch on a GPU that it can use, since the pictures of a pipeline are tensors there.
    options: of OrtEmbedder or TorchEmbedder.
    Raises MissingExtraError if neither runtime is installed, ConfigError for damaged weights or an unknown runtime.
    """
    card = shipped_card()
    chosen = runtime or _runtime(device)
    if chosen == "onnx":
        return _with_onnx(card, {"device": device, **options})
    if chosen == "torch":
        return _with_torch(card, {"device": device or "cpu", **options})
    raise ConfigError(f"unknown runtime {chosen!r}; known: onnx, torch")


def _runtime(device: str | None) -> Runtime:
    has_onnx, has_torch = (importlib.util.find_spec(name) is not None for name in ("onnxruntime", "torch"))
    if not has_onnx and not has_torch:
        raise MissingExtraError("the shipped descriptor", extra="cpu")
    if device not in (None, "cpu") and has_torch:
        import torch

        if torch.cuda.is_available():
            return "torch"
    return "onnx" if has_onnx else "torch"


def _with_onnx(card: ShippedCard, options: Mapping[str, Any]) -> Embedder:
    from guard.embedders.ort import OrtEmbedder

    path = _checked(FOLDER / f"{SHIPPED}.onnx", card.onnx_sha256)
    windows = FOLDER / f"{SHIPPED}.windows.onnx"
    return WindowedEmbedder(
        OrtEmbedder(path, thresholds=card.thresholds, **options),
        lambda: OrtEmbedder(_checked(windows, card.windows_sha256), **options),
    )


def _with_torch(card: ShippedCard, options: Mapping[str, Any]) -> Embedder:
    from guard.embedders.torch_loaders import from_state_dict

    weights = FOLDER / f"{SHIPPED}.safetensors"
    common = {"config": card.network, "name": card.name, "expected_sha256": card.weights_sha256, **options}
    return WindowedEmbedder(
        from_state_dict(
            weights,
            architecture=ARCHITECTURE,
            preprocessing=card.preprocessing,
            thresholds=card.thresholds,
            **common,
        ),
        lambda: from_state_dict(
            weights, architecture=WINDOWS_ARCHITECTURE, preprocessing=card.windows_preprocessing, **common
        ),
    )


def _checked(path: Path, expected: str) -> Path:
    if not path.is_file() or sha256_of(path) != expected:
        raise ConfigError(f"{path.name} is missing or damaged; install the package anew")
    return path
