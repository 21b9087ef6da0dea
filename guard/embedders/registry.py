"""Name -> embedder. Knows places and extras; imports an embedder only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.embedders.base import Embedder

__all__ = [
    "DEFAULT",
    "EMBEDDERS",
    "Entry",
    "embedder_class",
    "load_embedder",
    "load_index_embedder",
    "register_embedder",
]

DEFAULT = "procedural"
"""The shipped one (guard.embedders.shipped)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an embedder class lives."""

    place: str
    """"package.module:Class"."""
    extra: str = ""
    """The optional dependency group it needs; "" for none."""

    def load(self) -> Any:
        module, _, name = self.place.partition(":")
        return getattr(importlib.import_module(module), name)


_entries: dict[str, Entry] = {}
EMBEDDERS: Mapping[str, Entry] = MappingProxyType(_entries)
"""A read-only view."""


def register_embedder(name: str, place: str, *, extra: str = "") -> None:
    """Make `load_embedder(name)` build the class at "package.module:Class". Raises ConfigError for a known name."""
    if name in _entries:
        raise ConfigError(f"the embedder {name!r} is registered already, at {_entries[name].place}")
    _entries[name] = Entry(place, extra)


register_embedder("pdq", "guard.embedders.pdq:PdqEmbedder")


def embedder_class(name: str) -> Any:
    """Return the class of a registered embedder. Raises ConfigError that lists the known names."""
    if name not in _entries:
        raise ConfigError(f"unknown embedder {name!r}; known: {', '.join(sorted(_entries))}")
    return _entries[name].load()


def load_embedder(name: str | None = None, **options: Any) -> Embedder:
    """Build an embedder; None is the default one.

    name: a registered one ("pdq"), one from the model list ("procedural", which is the default and comes with the
    package; "sscd_disc_mixup", whose weights must have been fetched: nothing is downloaded here), or a file:
    "onnx:/path/to/model.onnx", "torchscript:/path/to/model.pt".
    options: of its constructor. `device` ("cpu", "cuda", "cuda:1") is understood by all of them.
    Raises ConfigError for an unknown name (the known ones are listed) or option, or for weights that are not there.
    """
    name = name or DEFAULT
    kind, _, path = name.partition(":")
    try:
        if kind in _FILES and path:
            return _FILES[kind](path, **options)
        if name in _entries:
            embedder: Embedder = embedder_class(name)(**options)
            return embedder
        from guard.embedders.models import MODELS, load_model

        if name in MODELS:
            return load_model(name, **options)
    except TypeError as exc:
        if "unexpected keyword argument" not in str(exc) and "missing" not in str(exc):
            raise
        raise ConfigError(f"embedder {name!r}: {exc}") from exc
    known = [*sorted(_entries), *sorted(MODELS), *(f"{prefix}:PATH" for prefix in _FILES)]
    raise ConfigError(f"unknown embedder {name!r}; known: {', '.join(known)}")


def load_index_embedder(built_with: str, name: str | None = None, **options: Any) -> Embedder:
    """Build the embedder of an index: name, else the one that the index says it was built with.

    An index remembers the name of an ONNX or TorchScript model, and not its file.
    Raises ConfigError as load_embedder does, and for a name of the index that says nothing here.
    """
    if name is None and built_with not in _entries:
        from guard.embedders.models import MODELS

        if built_with not in MODELS:
            raise ConfigError(
                f"the index was built with the embedder {built_with!r}, which is on no list here. If it was a file, "
                "name that again: embedder = 'onnx:FILE' or 'torchscript:FILE' (--embedder, MEMGUARD_EMBEDDER)"
            )
    return load_embedder(name or built_with, **options)


def _onnx(path: str, **options: Any) -> Embedder:
    """NAME.windows.onnx beside NAME.onnx describes the windows of a picture with the same weights."""
    from guard.embedders.ort import OrtEmbedder
    from guard.embedders.windowed import WindowedEmbedder

    whole, windows = OrtEmbedder(path, **options), Path(path).with_suffix(".windows.onnx")
    if not windows.is_file():
        return whole
    own = {key: value for key, value in options.items() if key not in ("preprocessing", "name", "output", "thresholds")}
    return WindowedEmbedder(whole, lambda: OrtEmbedder(windows, **own))


def _torchscript(path: str, **options: Any) -> Embedder:
    from guard.embedders.torch_loaders import from_torchscript

    return from_torchscript(path, **options)


_FILES: Mapping[str, Callable[..., Embedder]] = MappingProxyType({"onnx": _onnx, "torchscript": _torchscript})
