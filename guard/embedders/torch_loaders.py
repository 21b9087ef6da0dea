"""Files -> torch modules: TorchScript, state dicts, transformers folders. Knows formats; no model by name.

What a file may do when it is opened:
* a safetensors file or a `.pth` read with `weights_only=True` holds numbers and nothing else;
* a TorchScript file *is a program*: loading and running it executes what is in it. Open only one
  whose checksum you know; `expected_sha256` refuses any other before it is opened.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guard.embedders.architectures import build_architecture
from guard.embedders.files import sha256_of
from guard.embedders.torch import TorchEmbedder, import_torch
from guard.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from guard.embedders.preprocess import Preprocessing

__all__ = ["checked_sha256", "from_state_dict", "from_torchscript", "from_transformers"]

EXTRA_PREPROCESSING = "memguard_preprocessing"
"""Name of the extra file within a TorchScript file; ONNX files have the same key in their metadata."""
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Of a transformers folder, best first."""


def from_torchscript(
    path: str | Path,
    *,
    preprocessing: Preprocessing | str | None = None,
    name: str | None = None,
    expected_sha256: str = "",
    **options: Any,
) -> TorchEmbedder:
    """Load a TorchScript file, which executes what is in it: see the top of this file.

    preprocessing: a record, its canonical text, or None to take it from the file, where
    `torch.jit.save(module, path, _extra_files={"memguard_preprocessing": text})` put it.
    options: device, dtype, max_batch, thresholds of TorchEmbedder.
    Raises ConfigError for a file that is absent, damaged or of another checksum.
    """
    torch, path = import_torch(), Path(path)
    sha256 = checked_sha256(path, expected_sha256)
    extra = {EXTRA_PREPROCESSING: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is on its way out; published files stay
            warnings.simplefilter("ignore", FutureWarning)
            module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    except (RuntimeError, ValueError) as exc:
        raise ConfigError(f"{path.name} is not a TorchScript file that torch can open: {_first_line(exc)}") from exc
    return _embedder(module, path, sha256, preprocessing or _text(extra[EXTRA_PREPROCESSING], path), name, options)


def from_state_dict(
    path: str | Path,
    *,
    architecture: str,
    preprocessing: Preprocessing | str,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    expected_sha256: str = "",
    **options: Any,
) -> TorchEmbedder:
    """Load weights (.safetensors, or .pth / .pt / .bin / .tar of plain tensors) into a registered architecture.

    config goes to the architecture's build function. A checkpoint that keeps the weights under "model"
    or "state_dict", or under a "module." prefix, is unwrapped.
    Raises ConfigError for a damaged file, or for weights that do not fit: missing and unexpected names are listed.
    """
    path = Path(path)
    sha256 = checked_sha256(path, expected_sha256)
    module = build_architecture(architecture, **dict(config or {}))
    try:
        missing, unexpected = module.load_state_dict(_read_weights(path), strict=False)
    except RuntimeError as exc:
        raise ConfigError(f"the weights in {path.name} do not fit {architecture!r}: {exc}") from exc
    if missing or unexpected:
        raise ConfigError(
            f"the weights in {path.name} do not fit {architecture!r}: "
            f"missing {_some(missing)}, unexpected {_some(unexpected)}"
        )
    folded = getattr(module, "folded", None)
    return _embedder(module if folded is None else folded(), path, sha256, preprocessing, name, options)


def from_transformers(
    folder: str | Path,
    *,
    preprocessing: Preprocessing | str,
    name: str | None = None,
    expected_sha256: str = "",
    **options: Any,
) -> TorchEmbedder:
    """Load a DINOv2 or CLIP model from a local folder (config.json and weights). Nothing is downloaded.

    The descriptor is DINOv2's normalised class token, or CLIP's projected image embedding.
    Raises ConfigError for another kind of model or a folder that is not whole.
    """
    folder = Path(folder)
    weights = next((folder / file for file in WEIGHT_FILES if (folder / file).is_file()), None)
    if weights is None or not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is not a model folder: it needs config.json and one of {', '.join(WEIGHT_FILES)}")
    sha256 = checked_sha256(weights, expected_sha256)
    try:
        import transformers
    except ImportError as exc:
        raise MissingExtraError("a DINOv2 or CLIP embedder", extra="diffusers") from exc
    kinds: dict[str, tuple[Any, Callable[[Any], Tensor]]] = {
        "dinov2": (transformers.Dinov2Model, lambda out: out.last_hidden_state[:, 0]),
        "clip": (transformers.CLIPVisionModelWithProjection, lambda out: out.image_embeds),
        "clip_vision_model": (transformers.CLIPVisionModelWithProjection, lambda out: out.image_embeds),
    }
    try:
        kind = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if kind not in kinds:
            raise ConfigError(f"{folder.name} is a {kind!r} model; known: {', '.join(sorted(kinds))}")
        model_class, take = kinds[kind]
        model = model_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as exc:
        if isinstance(exc, ConfigError):
            raise
        raise ConfigError(f"transformers cannot load {folder.name}: {_first_line(exc)}") from exc
    return _embedder(_taking(model, take), folder, sha256, preprocessing, name, options)


def checked_sha256(path: Path, expected: str = "") -> str:
    """Return the checksum. Raises ConfigError if the file is absent, or is another than was expected."""
    if not path.is_file():
        raise ConfigError(f"no weights at {path}")
    found = sha256_of(path)
    if expected and found != expected.lower():
        raise ConfigError(
            f"{path.name} has sha256 {found}, expected {expected.lower()}: "
            "it is damaged or another file; fetch it again"
        )
    return found


def _embedder(module: nn.Module, path: Path, sha256: str, preprocessing: Preprocessing | str,
              name: str | None, options: dict[str, Any]) -> TorchEmbedder:  # fmt: skip
    from guard.embedders.preprocess import Preprocessing as Record

    record = Record.parse(preprocessing) if isinstance(preprocessing, str) else preprocessing
    return TorchEmbedder(
        module, name=name or path.name.split(".")[0], preprocessing=record, weights_sha256=sha256, **options
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    torch = import_torch()
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)  # numbers only; no pickle is executed
    except Exception as exc:
        raise ConfigError(f"{path.name} cannot be read as weights: {_first_line(exc)}") from exc
    for key in ("model", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise ConfigError(f"{path.name} is not a state dict: it must map names to tensors")
    return {key.removeprefix("module."): value for key, value in found.items()}


def _taking(model: nn.Module, take: Callable[[Any], Tensor]) -> nn.Module:
    torch = import_torch()

    class Taking(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return take(self.model(pixel_values=x))

    module: nn.Module = Taking()
    return module


def _text(written: str | bytes, path: Path) -> str:
    text = written.decode("utf-8", "replace") if isinstance(written, bytes) else written
    if not text.strip():
        raise ConfigError(
            f"{path.name} does not say how pictures are prepared for it; give preprocessing=, or save it with "
            f"torch.jit.save(module, path, _extra_files={{{EXTRA_PREPROCESSING!r}: 'squash:288;bilinear;…'}})"
        )
    return text.strip()


def _some(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else "none"


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
