"""protect and unprotect: the class of one pipeline object, changed in place and back. Knows no pixels and no check.

The guarded class has the name of the stock one, so that `isinstance`, `.to()`, offloading, `AutoPipeline`
and `save_pretrained` go on working. What is guarded is the object, not the class: anything built from it
(`from_pipe`, save and load, `type(pipe)(...)`) is unguarded until it is protected itself.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from guard.errors import ConfigError
from guard_diffusers.call import guarded_call
from guard_diffusers.inputs import OWN_INPUTS
from guard_diffusers.outputs import PICTURE_FIELDS

if TYPE_CHECKING:
    from guard.hosted import HostGuard
    from guard.types import Report

__all__ = ["Protection", "from_pipe", "is_protected", "protect", "unprotect"]

_STATE = "_memguard"  # in the pipeline's own __dict__: never in its config, so that nothing of it is saved
_BASE = "_memguard_base"
Pixels = Literal["auto", "tensor", "output"]
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Protection:
    """What one guarded pipeline object carries."""

    guard: HostGuard
    name: str
    """Label of its metrics."""
    named: bool
    """The caller chose the name."""
    inputs: tuple[str, ...]
    on_report: Callable[[Report], None] | None
    pixels: Pixels

    def __deepcopy__(self, memo: dict[int, Any]) -> Protection:
        return self  # a copied pipeline shares the guard, whose locks and index cannot be copied


def protect(
    pipe: P,
    guard: HostGuard,
    *,
    name: str | None = None,
    inputs: Sequence[str] = OWN_INPUTS,
    on_report: Callable[[Report], None] | None = None,
    pixels: Pixels = "auto",
) -> P:
    """Guard every call of a diffusers pipeline; the same object comes back, with the same class name.

    name: label of its metrics; None takes the class name. inputs: parameters of the call that hold the
    caller's own pictures, so that an output that echoes one is told apart. on_report: called with each
    report, also where the call then raises, and where `return_dict=False` leaves no place for `out.guard`.
    pixels: "tensor" takes them before they become PIL images or arrays, "output" as they are returned;
    "auto" takes the tensor where the pipeline runs on an accelerator. The result is the same.
    Protecting a guarded pipeline again replaces its guard and settings.
    Raises ConfigError for what is no pipeline that makes pictures, or no guard.
    """
    base = _unguarded_class(type(pipe))
    _require_pictures(base)
    if pixels not in ("auto", "tensor", "output"):
        raise ConfigError(f"pixels = {pixels!r}; known: auto, tensor, output")
    if not callable(getattr(guard, "check", None)):
        raise ConfigError(f"guard is a {type(guard).__name__}; open one: Guard.open('training.index')")
    label = name or base.__name__
    guard.metrics.add_pipeline(label)
    vars(pipe)[_STATE] = Protection(guard, label, name is not None, tuple(inputs), on_report, pixels)
    pipe.__class__ = _guarded_class(base)
    return pipe


def unprotect(pipe: P) -> P:
    """Undo protect; a pipeline that is not guarded comes back as it is."""
    vars(pipe).pop(_STATE, None)
    base = _unguarded_class(type(pipe))
    if type(pipe) is not base:
        pipe.__class__ = base
    return pipe


def is_protected(pipe: Any) -> bool:
    """True if calls of this very object are checked."""
    return _BASE in vars(type(pipe)) and _STATE in vars(pipe)


def from_pipe(cls: Any, pipe: Any, *, name: str | None = None, **kwargs: Any) -> Any:
    """`cls.from_pipe(pipe, **kwargs)`, guarded as pipe is; cls may also be an AutoPipeline class.

    name: label of the new pipeline's metrics; None keeps a name that was chosen for pipe, else takes the new class's.
    """
    new = (_unguarded_class(cls) if isinstance(cls, type) else cls).from_pipe(pipe, **kwargs)
    if not is_protected(pipe):
        return new
    kept: Protection = vars(pipe)[_STATE]
    label = name or (kept.name if kept.named else None)
    return protect(new, kept.guard, name=label, inputs=kept.inputs, on_report=kept.on_report, pixels=kept.pixels)


def _unguarded_class(cls: type[Any]) -> type[Any]:
    base: type[Any] = vars(cls).get(_BASE, cls)
    return base


_lock = threading.Lock()
_classes: dict[type[Any], type[Any]] = {}


def _guarded_class(base: type[Any]) -> type[Any]:
    with _lock:
        if base not in _classes:
            _classes[base] = _make_class(base)
        return _classes[base]


def _make_class(base: type[Any]) -> type[Any]:
    base_call = base.__call__

    @functools.wraps(base_call)
    def __call__(  # noqa: N807
        self: Any, *args: Any, guard_options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        protection: Protection | None = vars(self).get(_STATE)
        if protection is None:  # built from the class of a guarded pipeline, and not protected itself
            return base_call(self, *args, **kwargs)
        return guarded_call(protection, base_call, self, args, kwargs, guard_options)

    namespace = {
        "__call__": __call__,
        "__doc__": base.__doc__,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        _BASE: base,
    }
    metaclass: Any = type(base)
    guarded: type[Any] = metaclass(base.__name__, (base,), namespace)
    return guarded


def _require_pictures(cls: type[Any]) -> None:
    from diffusers import DiffusionPipeline

    supported = "protect() takes diffusers pipelines that return images or video frames"
    if not issubclass(cls, DiffusionPipeline):
        modular = any(c.__name__ == "ModularPipeline" for c in cls.__mro__)
        hint = "; put a guard_diffusers.modular.GuardBlock after its decode block" if modular else ""
        raise ConfigError(f"{cls.__name__} is no DiffusionPipeline{hint}; {supported}")
    if not _makes_pictures(cls):
        raise ConfigError(f"{cls.__name__} makes no pictures; {supported}")


def _makes_pictures(cls: type[Any]) -> bool:
    """False if the outputs that `__call__` builds hold sound, text, embeddings or molecules; unknown ones are tried."""
    call = inspect.unwrap(cls.__call__)
    named = [n for n in call.__code__.co_names if n.endswith("Output")]
    outputs = [call.__globals__[n] for n in named if is_dataclass(call.__globals__.get(n))]
    held = {field.name for output in outputs for field in fields(output)}
    return not held or any(name in held for name in PICTURE_FIELDS)
