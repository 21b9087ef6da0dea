"""The guard inside diffusers pipelines: `protect(pipe, guard)`, and a block for modular pipelines in `.modular`."""

from guard_diffusers.wrap import from_pipe, is_protected, protect, unprotect

__all__ = ["from_pipe", "is_protected", "protect", "unprotect"]
