"""Variables of the environment -> settings, as a file would say them. Knows names; checks no value and reads nothing.

A variable that is none of the settings stops nobody unless it is clearly one of them, misspelt: a cluster that runs a
service called `memguard` sets MEMGUARD_PORT and MEMGUARD_SERVICE_HOST by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from difflib import SequenceMatcher
from typing import Any, get_args

from pydantic import BaseModel

from guard.errors import ConfigError
from guard.types import Collection as References

__all__ = ["ENV_PREFIX", "misspelt", "names_in", "settings_in"]

ENV_PREFIX = "MEMGUARD_"
NOT_SETTINGS = frozenset({"CACHE"})  # read elsewhere, by the model list
MISSPELT = 0.8  # likeness of two names from which one stands for the other: `modee` and `mode` have 0.89
_DASHED = {c.value.replace("-", "_"): c.value for c in References}
_log = logging.getLogger(__name__)


def settings_in(environ: Mapping[str, str], known: Collection[str]) -> dict[str, Any]:
    """Nested settings of the variables that begin with ENV_PREFIX.

    known: names of settings, of nested ones with a double underscore. A variable whose first part is none of them is
    logged and ignored. Raises ConfigError if it is one of them misspelt, or sets a part of what another one sets.
    """
    first = {name.partition("__")[0] for name in known}
    values: dict[str, Any] = {}
    for name, text in sorted(environ.items()):  # a whole comes before its parts
        own = name.removeprefix(ENV_PREFIX)
        if own == name or own in NOT_SETTINGS:
            continue
        *parents, leaf = own.lower().split("__")
        if [*parents, leaf][0] not in first:
            meant = misspelt(own.lower(), known)
            if meant:
                raise ConfigError(f"{name} (from environment) is no setting; did you mean {ENV_PREFIX}{meant.upper()}?")
            _log.warning(
                "%s (from environment) is no setting of the guard, and is ignored%s", name, _nested(own, known)
            )
            continue
        if parents[:2] == ["policy", "collections"]:  # no shell lets a name hold the dash of opt-out
            parents[2:] = [_DASHED.get(part, part) for part in parents[2:]]
        node = values
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{name} sets a part of {parent}, which {ENV_PREFIX}{parent.upper()} sets as a whole")
        node[leaf] = _parse(leaf, text)
    return values


def misspelt(name: str, known: Collection[str]) -> str:
    """The known name that is nearest, or "": no such name is near. Underscores do not count."""
    near = {one: SequenceMatcher(None, name.replace("_", ""), one.replace("_", "")).ratio() for one in sorted(known)}
    best = max(near, key=near.__getitem__, default="")
    return best if best and near[best] >= MISSPELT else ""


def names_in(model: type[BaseModel]) -> list[str]:
    """The settings of a model, those of the models within it with a double underscore."""
    names = []
    for name, field in model.model_fields.items():
        names.append(name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names += [f"{name}__{inner}" for inner in names_in(kind)]
    return names


def _nested(own: str, known: Collection[str]) -> str:
    """A hint for MEMGUARD_SERVER_PORT, which may be a service's address or lack an underscore."""
    tables = (name for name in known if own.lower().startswith(f"{name}_"))
    return next((f" (of {name} it takes two underscores: {ENV_PREFIX}{name.upper()}__…)" for name in tables), "")


def _parse(leaf: str, text: str) -> Any:
    if leaf == "allow_unchecked":
        return [part.strip() for part in text.split(",") if part.strip()]
    return None if text.strip().lower() == "none" else text
