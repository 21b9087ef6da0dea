"""File, environment and keywords -> settings. Knows where a value came from; not what any setting means."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel

from guard.config.policy import said_by
from guard.config.settings import OPENING, GuardConfig
from guard.config.validation import checked
from guard.environment import names_in, settings_in
from guard.errors import ConfigError
from guard.policy import Policy

__all__ = ["TABLES", "load_config", "load_table", "override"]

TABLES = frozenset({"server"})
"""Tables of the same file and environment that belong to an integration; it reads its own with `load_table`."""
KEYWORD = "keyword"
_UNCALLED: Mapping[str, str] = MappingProxyType({})
M = TypeVar("M", bound=BaseModel)


def load_config(
    source: GuardConfig | str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    called: Mapping[str, str] = _UNCALLED,
    **keywords: Any,
) -> GuardConfig:
    """Merge a TOML file (or a finished config), the environment and keywords into one config.

    environ: usually os.environ; None reads no environment. Nested fields use a double underscore. called: what people
    call a keyword, by its dotted field ("policy.flag": "--flag").
    Raises ConfigError that names the field and the source of a value that does not fit.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    if isinstance(source, GuardConfig):
        _merge(merged, origin, source.model_dump(exclude_unset=True), "config")
    elif source is not None:
        _merge(merged, origin, _without_tables(_read_toml(Path(source))), str(source))
    _merge(merged, origin, _without_tables(_in_environment(environ)), "environment")
    _merge(merged, origin, keywords, KEYWORD)
    return checked(GuardConfig, merged, _as_called(origin, called))


def load_table(
    name: str,
    model: type[M],
    source: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    called: Mapping[str, str] = _UNCALLED,
    **keywords: Any,
) -> M:
    """The settings of an integration: one of TABLES in the same file and environment (`MEMGUARD_SERVER__PORT`).

    Later sources win, and what does not fit is a ConfigError, as with load_config.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for values, where in ((_read_toml(Path(source)) if source else {}, str(source)),
                          (_in_environment(environ), "environment")):  # fmt: skip
        table = values.get(name, {})
        if not isinstance(table, Mapping):
            raise ConfigError(f"{name} is a table of settings and not a value (from {where})")
        _merge(merged, origin, table, where)
    _merge(merged, origin, keywords, KEYWORD)
    return checked(model, merged, _as_called(origin, called), table=f"{name}.")


def override(config: GuardConfig, options: Mapping[str, Any] | None) -> GuardConfig:
    """Apply the options of one call. Raises ConfigError as load_config does."""
    if not options:
        return config
    if not isinstance(options, Mapping):
        raise ConfigError(f"guard_options is a {type(options).__name__}; give a mapping such as {{'mode': 'flag'}}")
    late = sorted(OPENING.intersection(options))
    if late:
        raise ConfigError(f"{late[0]} (from guard_options) is read when the guard is opened; a call cannot change it")
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    _merge(merged, origin, config.model_dump(exclude_unset=True), "config")
    _merge(merged, origin, dict(options), "guard_options")
    return checked(GuardConfig, merged, origin)


def _as_called(origin: Mapping[str, str], called: Mapping[str, str]) -> dict[str, str]:
    return {field: called.get(field, where) if where == KEYWORD else where for field, where in origin.items()}


def _in_environment(environ: Mapping[str, str] | None) -> dict[str, Any]:
    return settings_in(environ or {}, [*names_in(GuardConfig), *TABLES])


def _without_tables(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in TABLES}


def _merge(
    into: dict[str, Any], origin: dict[str, str], values: Mapping[str, Any], source: str, path: str = ""
) -> None:
    for key, value in values.items():
        dotted = f"{path}{key}"
        if isinstance(value, Policy):
            value = said_by(value)
        elif isinstance(value, BaseModel):
            value = value.model_dump(exclude_unset=True)
        if isinstance(value, Mapping):
            child = into.setdefault(key, {})
            if not isinstance(child, dict):
                child = into[key] = {}
            _merge(child, origin, value, source, f"{dotted}.")
        else:
            into[key] = value
        origin[dotted] = source


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"no such configuration file: {path}") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read as TOML: {exc}") from exc
