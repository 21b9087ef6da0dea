"""Generation-time memorization guard: `Guard.open(index).check(images)`; see also `guard_diffusers.protect`."""

from guard._version import __version__
from guard.config import GuardConfig, load_config
from guard.errors import (
    BlockedError,
    CheckError,
    ConfigError,
    DeadlineError,
    GuardError,
    IndexLoadError,
    IndexLockedError,
    InputError,
    MissingExtraError,
    SkippedError,
)
from guard.guard import Guard
from guard.metrics import GuardMetrics
from guard.policy import Policy
from guard.types import Action, Decision, Match, Mode, Record, Report, Status, Verdict

__all__ = [
    "Action",
    "BlockedError",
    "CheckError",
    "ConfigError",
    "DeadlineError",
    "Decision",
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
    "Report",
    "SkippedError",
    "Status",
    "Verdict",
    "__version__",
    "load_config",
]
