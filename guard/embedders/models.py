"""The model list: the shipped network and published ones, where their weights come from and how they are loaded.

Weights and their preprocessing are one record. Nothing here downloads: `fetch_model` does when it is
called, and `load_model` only reads what was fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from guard.embedders.fetch import Progress, fetch_file, pinned_sha256, put_file
from guard.embedders.files import cache_dir
from guard.embedders.model_cards import CARDS, ModelCard
from guard.embedders.preprocess import Preprocessing
from guard.embedders.shipped import SHIPPED, load_shipped, shipped_card
from guard.errors import ConfigError

if TYPE_CHECKING:
    from guard.embedders.base import Embedder

__all__ = ["MODELS", "fetch_model", "fetched", "load_model", "model_card", "model_folder", "register_model"]

_models: dict[str, ModelCard] = {}
MODELS: Mapping[str, ModelCard] = MappingProxyType(_models)
"""Name -> card. A read-only view."""


def register_model(card: ModelCard) -> None:
    """Add a model to the list. Raises ConfigError for a name that is taken."""
    if card.name in _models:
        raise ConfigError(f"the model {card.name!r} is on the list already")
    _models[card.name] = card


def model_card(name: str) -> ModelCard:
    """Return one card. Raises ConfigError that lists the known names."""
    if name not in _models:
        raise ConfigError(f"unknown model {name!r}; known: {', '.join(sorted(_models))}")
    return _models[name]


def model_folder(name: str, cache: Path | None = None) -> Path:
    """Where the files of a model lie, fetched or not."""
    return (cache or cache_dir()) / "models" / model_card(name).name


def fetched(name: str, cache: Path | None = None) -> bool:
    """Say whether every file of a model is there (their checksums are looked at when it is loaded).

    The shipped one has no file to fetch.
    """
    return all((model_folder(name, cache) / file.name).is_file() for file in model_card(name).files)


def fetch_model(
    name: str, *, cache: Path | None = None, source: Path | None = None, progress: Progress | None = None
) -> Path:
    """Download what is missing of a model, check it and return its folder.

    source: the weights file that the user brought; needed where the card says so, allowed for every model of one file.
    Raises ConfigError for a model that can only be brought, FetchError if a download fails.
    """
    card, folder = model_card(name), model_folder(name, cache)
    if not card.files:
        raise ConfigError(f"{name!r} comes with the package; there is nothing to fetch")
    if source is not None:
        if len(card.files) != 1:
            raise ConfigError(f"{name!r} has {len(card.files)} files; put them into {folder} by hand, or fetch them")
        put_file(source, folder / card.files[0].name, sha256=card.files[0].sha256)
        return folder
    if card.bring:
        raise ConfigError(
            f"{name!r} cannot be downloaded by a program: {card.bring}, then {card.fetch_command} --from FILE"
        )
    for file in card.files:
        fetch_file(file.url, folder / file.name, sha256=file.sha256, progress=progress)
    return folder


def load_model(name: str, *, cache: Path | None = None, **options: Any) -> Embedder:
    """Build the embedder of a fetched model, or the shipped one.

    options: of TorchEmbedder, of OrtEmbedder for an ONNX model, of load_shipped for the shipped one.

    Raises ConfigError naming the fetch command if it was not fetched, or if a file has changed since.
    """
    if name == SHIPPED:
        return load_shipped(**options)
    from guard.embedders import ort, torch_loaders

    card, folder = model_card(name), model_folder(name, cache)
    if not fetched(name, cache):
        how = f"{card.fetch_command} --from FILE ({card.bring})" if card.bring else card.fetch_command
        raise ConfigError(
            f"the weights of {name!r} are not in {folder}; fetch them once, before the service starts: {how}"
        )
    expected = [file.sha256 or _pin(folder / file.name, card) for file in card.files]
    for file, sha256 in zip(card.files[:-1], expected[:-1], strict=True):  # the weights are checked as they are loaded
        torch_loaders.checked_sha256(folder / file.name, sha256)
    weights = folder / card.files[-1].name
    common: dict[str, Any] = {
        "name": name,
        "preprocessing": card.preprocessing,
        "thresholds": card.thresholds,
        **options,
    }
    embedder: Embedder
    if card.loader == "onnx":
        torch_loaders.checked_sha256(weights, expected[-1])
        embedder = ort.OrtEmbedder(weights, **common)
    elif card.loader == "torchscript":
        embedder = torch_loaders.from_torchscript(weights, expected_sha256=expected[-1], **common)
    elif card.loader == "transformers":
        embedder = torch_loaders.from_transformers(folder, expected_sha256=expected[-1], **common)
    else:
        embedder = torch_loaders.from_state_dict(
            weights, architecture=card.loader, expected_sha256=expected[-1], **common
        )
    if embedder.spec.dim != card.dim:
        raise ConfigError(
            f"{name!r} has {embedder.spec.dim} dimensions, {card.dim} were expected: these are other weights"
        )
    return embedder


def _pin(path: Path, card: ModelCard) -> str:
    pin = pinned_sha256(path)
    if not pin:
        raise ConfigError(f"{path} was put there by hand and has no checksum; use {card.fetch_command} --from {path}")
    return pin


def _shipped() -> ModelCard:
    card = shipped_card()
    return ModelCard(
        name=card.name,
        title="comes with the package; trained on procedural pictures only",
        licence="Apache-2.0, as the package",
        dim=card.dim,
        preprocessing=Preprocessing.parse(card.preprocessing),
        loader="shipped",
        files=(),
        source="python -m guard.training (docs/training.md)",
        thresholds=card.thresholds,
    )


for _card in (_shipped(), *CARDS):
    register_model(_card)
