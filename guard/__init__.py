"""Generation-time memorization guard: `Guard.open(index).check(images)`; see also `guard_diffusers.protect`.

Names load on first use, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from guard._version import __version__

if TYPE_CHECKING:
    from guard.calibration.target import fpr
    from guard.config import GuardConfig, load_config
    from guard.errors import (
        BlockedError,
        CheckError,
        ConfigError,
        DeadlineError,
        EventLogError,
        FetchError,
        GuardError,
        IndexLoadError,
        IndexLockedError,
        InputError,
        MissingExtraError,
        RemoteError,
        SkippedError,
    )
    from guard.guard import Guard
    from guard.metrics import GuardMetrics
    from guard.policy import CollectionPolicy, Policy
    from guard.types import Action, Decision, Match, Mode, Record, Report, Status, Verdict

__all__ = [
    "Action",
    "BlockedError",
    "CheckError",
    "CollectionPolicy",
    "ConfigError",
    "DeadlineError",
    "Decision",
    "EventLogError",
    "FetchError",
    "Guard",
    "GuardConfig",
    "GuardError",
    "GuardMetrics",
    "IndexLoadError",
    "IndexLockedError",
    "InputError",
    "Match",
    "MissingExtraError",
    "Mode",
    "Policy",
    "Record",
    "RemoteError",
    "Report",
    "SkippedError",
    "Status",
    "Verdict",
    "__version__",
    "fpr",
    "load_config",
]

_MODULES = {
    "Guard": "guard",
    "GuardConfig": "config",
    "fpr": "calibration.target",
    "load_config": "config",
    "GuardMetrics": "metrics",
    "CollectionPolicy": "policy",
    "Policy": "policy",
}
_TYPES = frozenset({"Action", "Decision", "Match", "Mode", "Record", "Report", "Status", "Verdict"})


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES.get(name) or ("types" if name in _TYPES else "errors")
    value = globals()[name] = getattr(import_module(f"guard.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
