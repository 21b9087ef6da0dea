"""Name -> function that builds an untrained network for a state dict. Knows places; no weights and no pictures."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from guard.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCHITECTURES", "build_architecture", "register_architecture"]

_places: dict[str, str] = {}
ARCHITECTURES: Mapping[str, str] = MappingProxyType(_places)
"""Name -> "package.module:function". A read-only view."""


def register_architecture(name: str, place: str) -> None:
    """Let state dicts be loaded into what the function at "package.module:function" builds.

    It takes the configuration as keywords and returns a module (n, 3, h, w) -> (n, dim). If that has a method
    `folded()`, what this returns takes its place once the weights are loaded: the same function in a faster form.
    Raises ConfigError for a name that is taken.
    """
    if name in _places:
        raise ConfigError(f"the architecture {name!r} is registered already, at {_places[name]}")
    _places[name] = place


def build_architecture(name: str, **config: Any) -> nn.Module:
    """Build one by name. Raises ConfigError for an unknown name (the known are listed) or unknown keywords."""
    if name not in _places:
        raise ConfigError(f"unknown architecture {name!r}; known: {', '.join(sorted(_places))}")
    module, _, function = _places[name].partition(":")
    try:
        built: nn.Module = getattr(importlib.import_module(module), function)(**config)
    except TypeError as exc:
        raise ConfigError(f"architecture {name!r}: {exc}") from exc
    return built


register_architecture("copynce_vit", "guard.embedders.copynce:copynce_vit")
register_architecture("memguard_descriptor", "guard.training.network:descriptor_net")
register_architecture("memguard_windows", "guard.training.network:window_net")
