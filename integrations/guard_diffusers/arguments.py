"""The arguments of one pipeline call by name, however they were given. Knows signatures; nothing of pictures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

__all__ = ["CallArguments"]


class CallArguments:
    """One call, bound to the signature of the pipeline's own `__call__`.

    Raises TypeError, as the call itself would, for arguments that do not fit.
    """

    def __init__(
        self, base_call: Callable[..., Any], pipe: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self.signature, self._extra = _signature(base_call)
        self._bound = self.signature.bind(pipe, *args, **kwargs)
        self._base_call = base_call

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a parameter: given, else its own default, else `default` if there is no such parameter."""
        given = self._bound.arguments
        if name in given:
            return given[name]
        if self._extra is not None and name in given.get(self._extra, {}):
            return given[self._extra][name]
        parameter = self.signature.parameters.get(name)
        return default if parameter is None or parameter.default is parameter.empty else parameter.default

    def run(self, **changed: Any) -> Any:
        """Call the pipeline, with these parameters changed."""
        if not changed:
            return self._base_call(*self._bound.args, **self._bound.kwargs)
        bound = self.signature.bind(*self._bound.args, **self._bound.kwargs)
        bound.arguments.update(changed)
        return self._base_call(*bound.args, **bound.kwargs)


@lru_cache(maxsize=256)
def _signature(base_call: Callable[..., Any]) -> tuple[inspect.Signature, str | None]:
    """The signature, and the name of its **kwargs parameter."""
    signature = inspect.signature(base_call)
    extra = [p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]
    return signature, extra[0] if extra else None
