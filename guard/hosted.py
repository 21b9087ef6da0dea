"""What a host needs of a guard, wherever the check is made; and the part of it that is the same everywhere.

Knows reports, actions and the switch; no pixels, no index and no network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from guard import actions
from guard.config import GuardConfig, override
from guard.errors import GuardError
from guard.stages import failed, translated
from guard.types import Action, Decision, Mode, Report, Status, Verdict

if TYPE_CHECKING:
    from guard.metrics import GuardMetrics

__all__ = ["HostGuard", "Hosted", "Prompts", "acted"]

Prompts = Sequence[str | None] | str | None
_disabled: ContextVar[frozenset[int]] = ContextVar("memguard_disabled", default=frozenset())


class HostGuard(Protocol):
    """What `guard_diffusers.protect` and other hosts use of a guard. `Guard` is one; so is one that calls a server.

    `check` and `check_videos` never raise because a check failed: that is status ERROR, acted on as `on_error` says.
    """

    @property
    def config(self) -> GuardConfig: ...

    @property
    def metrics(self) -> GuardMetrics: ...

    @property
    def disabled(self) -> bool: ...

    def check(
        self,
        images: Any,
        *,
        pipeline: str = ...,
        inputs: Any = ...,
        prompts: Prompts = ...,
        options: Mapping[str, Any] | None = ...,
    ) -> Report:
        """See Guard.check."""
        ...

    def check_videos(
        self,
        videos: Sequence[Any],
        *,
        pipeline: str = ...,
        inputs: Any = ...,
        prompts: Prompts = ...,
        options: Mapping[str, Any] | None = ...,
    ) -> Report:
        """See Guard.check_videos."""
        ...

    def skip(
        self,
        count: int,
        reason: str,
        *,
        pipeline: str = ...,
        prompts: Prompts = ...,
        action: Action = ...,
        options: Mapping[str, Any] | None = ...,
    ) -> Report:
        """See Hosted.skip."""
        ...

    def fail(
        self,
        count: int,
        error: Exception,
        *,
        pipeline: str = ...,
        prompts: Prompts = ...,
        options: Mapping[str, Any] | None = ...,
    ) -> Report:
        """See Hosted.fail."""
        ...

    def apply(self, images: Any, report: Report, *, options: Mapping[str, Any] | None = ...) -> Any:
        """See Hosted.apply."""
        ...


class Hosted(ABC):
    """The part of a HostGuard that does not depend on where the check is made."""

    config: GuardConfig

    def skip(
        self,
        count: int,
        reason: str,
        *,
        pipeline: str = "default",
        prompts: Prompts = None,
        action: Action = Action.RELEASED,
        options: Mapping[str, Any] | None = None,
    ) -> Report:
        """Report and count images that cannot or shall not be checked; reason is one of metrics.SKIP_REASONS.

        action: what the host does with them.
        """
        config = override(self.config, options)
        verdict = Verdict(Status.SKIPPED, reasons=(f"not checked: {reason}",), reason=reason, action=action)
        return self._finish([verdict] * count, {}, config, pipeline, prompts)

    def fail(
        self,
        count: int,
        error: Exception,
        *,
        pipeline: str = "default",
        prompts: Prompts = None,
        options: Mapping[str, Any] | None = None,
    ) -> Report:
        """Report and count images whose check broke in the host, before `check` could see them: status ERROR."""
        config = override(self.config, options)
        known = error if isinstance(error, GuardError) else translated(error, "host")
        return self._finish([failed(known, "host")] * count, {}, config, pipeline, prompts)

    def apply(self, images: Any, report: Report, *, options: Mapping[str, Any] | None = None) -> Any:
        """Do to images what their verdicts say; the same object comes back if nothing is withheld.

        Raises BlockedError, with the images that are not withheld, where the action is `raised`.
        """
        return actions.apply(images, report, override(self.config, options).on_block)

    @property
    def disabled(self) -> bool:
        return id(self) in _disabled.get()

    @contextmanager
    def disable(self) -> Iterator[None]:
        """Let images pass unchecked (counted as skipped), in this thread or task only."""
        token = _disabled.set(_disabled.get() | {id(self)})
        try:
            yield
        finally:
            _disabled.reset(token)

    @contextmanager
    def enable(self) -> Iterator[None]:
        """Check again within a `disable` block, in this thread or task only."""
        token = _disabled.set(_disabled.get() - {id(self)})
        try:
            yield
        finally:
            _disabled.reset(token)

    @abstractmethod
    def _finish(
        self,
        verdicts: Sequence[Verdict],
        seconds: Mapping[str, float],
        config: GuardConfig,
        pipeline: str,
        prompts: Prompts = None,
        picture: Callable[[int], Any] | None = None,
    ) -> Report:
        """Say what happens to each image, and count. picture: gives the image at a position."""


def acted(verdicts: Sequence[Verdict], config: GuardConfig) -> tuple[Verdict, ...]:
    """The verdicts with what the settings do to the pixels."""
    planned = actions.intended_action(config.on_block)
    enforce = config.mode is Mode.ENFORCE

    def one(verdict: Verdict) -> Verdict:
        failed_closed = verdict.status is Status.ERROR and config.on_error == "closed"
        withhold = enforce and (verdict.decision is Decision.BLOCK or failed_closed)
        return replace(verdict, action=planned) if withhold else verdict

    return tuple(map(one, verdicts))
