"""The prompt of each picture of a call, for the decision log. Knows the arguments of stock pipelines; no guard."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["own_prompts"]


class _Arguments(Protocol):
    """The arguments of a call, or the state of a modular pipeline."""

    def get(self, name: str, /) -> Any: ...


def own_prompts(call: _Arguments, count: int) -> list[str] | None:
    """One prompt for each of `count` pictures, in their order; None where it is not known.

    Stock pipelines make the pictures of the first prompt, then those of the second. A prompt in any other form than
    text, or embeddings in its place, says nothing, nor does a number of pictures that the prompts do not divide.
    """
    prompt = call.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list | tuple) or not prompts or not all(isinstance(p, str) for p in prompts):
        return None
    each, rest = divmod(count, len(prompts))
    return None if rest else [p for p in prompts for _ in range(each)]
