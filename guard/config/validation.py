"""Merged values -> a checked model, or a ConfigError that names each field, its source and what was meant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from guard.environment import misspelt, names_in
from guard.errors import ConfigError

__all__ = ["checked"]

M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], merged: dict[str, Any], origin: Mapping[str, str], table: str = "") -> M:
    """The model of the merged values. Raises ConfigError for what does not fit.

    origin: the source of each value, by its dotted name. table: what stands before every name in a message.
    """
    try:
        return model.model_validate(merged)
    except ValidationError as exc:
        lines: list[str] = []
        known: list[str] = []
        for error in exc.errors():
            if error["type"] == "callable_type":
                continue  # of on_block; the line about its words is there too
            path = [str(part) for part in error["loc"] if str(part) in merged or "[" not in str(part)]
            field = ".".join(path) or "(config)"
            where = _where(error["msg"], field, path, origin)
            said, hint = error["msg"].removeprefix("Value error, "), ""  # pydantic's words before a sentence of ours
            if error["type"] == "extra_forbidden":
                said, meant = "there is no such setting", misspelt("__".join(path), names_in(model))
                hint = f"; did you mean {table}{meant.replace('__', '.')}?" if meant else ""
                known += [] if meant else _beside(path, model)
            named = said if said.startswith(f"{table}{field}") else f"{table}{field}: {said}"
            lines.append(named + (f" (from {where})" if where else "") + hint)
        settings = ", ".join(f"{table}{name}" for name in sorted(set(known)))
        raise ConfigError("; ".join(dict.fromkeys(lines)) + (f". Settings: {settings}" if settings else "")) from None


def _where(said: str, field: str, path: Sequence[str], origin: Mapping[str, str]) -> str:
    """The sources of the fields that a sentence about a table names, else that of the field, else of its table."""
    named = [name for name in origin if name.startswith(f"{field}.") and re.search(rf"\b{re.escape(name)}\b", said)]
    if named:
        return " and ".join(dict.fromkeys(origin[name] for name in named))
    return next((origin[name] for name in (field, path[0] if path else "") if name in origin), "")


def _beside(path: Sequence[str], model: type[BaseModel]) -> list[str]:
    """The settings that stand where an unknown one stands."""
    found = (name.split("__") for name in names_in(model))
    return [".".join(name) for name in found if name[:-1] == [*path[:-1]]]
