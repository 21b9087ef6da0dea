"""The guard as an HTTP service of its own (`memguard serve`). Each name is imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guard_server.app import create_app
    from guard_server.async_client import AsyncClient
    from guard_server.client import Client
    from guard_server.config import ServerConfig, load_server_config

__all__ = ["AsyncClient", "Client", "ServerConfig", "create_app", "load_server_config"]

_PLACES = {
    "AsyncClient": "async_client",
    "Client": "client",
    "ServerConfig": "config",
    "create_app": "app",
    "load_server_config": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
