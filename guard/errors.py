"""Every error that this library raises on purpose, one leaf for each thing a caller can do.

GuardError
+-- ConfigError (ValueError)         change the configuration
+-- MissingExtraError (ImportError)  install the extra it names
+-- InputError (ValueError)          hand in another image
+-- FetchError (OSError)             a download failed: try again, or bring the file
+-- IndexLoadError                   rebuild; the text names the file or field that does not fit
+-- IndexLockedError                 another process writes this index: wait, or stop it
+-- EventLogError                    the decision log cannot be read or written: see its file, or name another
+-- RemoteError                      a guard that another process serves cannot be reached, or refuses: see .code
+-- CheckError                       the check did not run: see .stage and .reason
|   +-- DeadlineError                it ran out of time: raise deadline_s, or free the machine
+-- SkippedError                     an output that nothing could check was withheld; the text says how to allow it
+-- BlockedError                     no fault: carries .report and the allowed images
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.types import Report

__all__ = [
    "BlockedError",
    "CheckError",
    "ConfigError",
    "DeadlineError",
    "EventLogError",
    "FetchError",
    "GuardError",
    "IndexLoadError",
    "IndexLockedError",
    "InputError",
    "MissingExtraError",
    "RemoteError",
    "SkippedError",
]


class GuardError(Exception):
    """Base of every error of this library."""


class ConfigError(GuardError, ValueError):
    """A setting is unknown, out of range, or contradicts another one; the text names it."""


class MissingExtraError(GuardError, ImportError):
    """A package that is not part of the base install is needed."""

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}: pip install 'memorization-guard[{extra}]'")
        self.extra = extra


class InputError(GuardError, ValueError):
    """An image is of a form, size or content that cannot be read."""


class FetchError(GuardError, OSError):
    """A model's file could not be downloaded, or is not the file that was expected."""


class IndexLoadError(GuardError):
    """An index is damaged, of another format, or does not fit the embedder in use."""


class IndexLockedError(GuardError):
    """Another process holds the writer's lock of this index."""


class EventLogError(GuardError):
    """A decision log is damaged, locked or no log, or does not hold what was asked for. No check raises it."""


class RemoteError(GuardError):
    """A guard that another process serves (`memguard serve`) could not be reached, or turned a request away.

    status: of its answer; 0 where none came. code: the last word of the problem's type, such as "busy" or
    "token-needed"; "" where none came. retry_after_s: where the answer says when to try again.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class CheckError(GuardError):
    """A check did not run to its end.

    stage: "pixels", "embed", "search", "verify", "decide" or "host".
    reason: a short word from a closed set for metrics (usually the class of the cause).
    """

    def __init__(self, message: str = "", *, stage: str, reason: str) -> None:
        super().__init__(message or f"the check failed while it should {stage}: {reason}")
        self.stage = stage
        self.reason = reason


class DeadlineError(CheckError):
    """The time that a call may spend on its check was over before there was a similarity."""

    def __init__(self, *, stage: str, deadline_s: float) -> None:
        super().__init__(f"no decision within deadline_s = {deadline_s:g} s (in stage {stage!r})",
                         stage=stage, reason="deadline")  # fmt: skip


class SkippedError(GuardError):
    """In mode `enforce`, an output that could not be checked is withheld instead of released."""

    def __init__(self, message: str, *, reason: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.report = report


class BlockedError(GuardError):
    """At least one image was blocked and the block action is `raise`.

    report: one verdict an image, in order. allowed: the images that were not blocked, in order.
    """

    def __init__(self, report: Report, allowed: Sequence[Any]) -> None:
        blocked = sum(1 for v in report if v.withheld)
        super().__init__(f"{blocked} of {len(report)} images withheld; see .report and .allowed")
        self.report = report
        self.allowed = allowed
