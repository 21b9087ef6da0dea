"""Clients of `memguard serve`: one that waits and one that awaits. Know connections and time; no pixels.

`protect(pipe, Client("http://127.0.0.1:8750"))` guards a pipeline as a guard in the same process does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from guard.errors import DeadlineError, GuardError, MissingExtraError, RemoteError
from guard.hosted import Prompts
from guard.intake import count_images
from guard.stages import translated
from guard.types import Report
from guard.workers import run_within
from guard_server.exchange import Outgoing, ServerInfo, read_answer
from guard_server.remote import RemoteGuard, Story

if TYPE_CHECKING:
    import httpx2

    from guard.hosted import HostGuard

__all__ = ["AsyncClient", "Client"]

WAIT_S = 30.0  # for an answer to what is no check


class Client(RemoteGuard):
    """Plays the guard for `protect`. Safe for threads; arguments are RemoteGuard's.

    A check that the server did not make (gone, busy, too slow, no token) is a failed check: status ERROR, and
    `on_error` says what happens to the image. Everything else raises RemoteError.
    """

    def __init__(self, url: str, **arguments: Any) -> None:
        super().__init__(url, **arguments)
        # A proxy of the environment has no place between a pipeline and the guard beside it.
        self._http: httpx2.Client = _httpx2().Client(base_url=self.url, headers=self._headers, trust_env=False)

    def check(
        self,
        images: Any,
        *,
        pipeline: str = "default",
        inputs: Any = None,
        prompts: Prompts = None,
        options: Mapping[str, Any] | None = None,
    ) -> Report:
        """See Guard.check. options: of RemoteGuard's LOCAL settings. Raises ConfigError for a wrong one."""
        config = self._settings(options)
        told: dict[str, Any] = {"pipeline": pipeline, "prompts": prompts, "options": options}
        if self.disabled:
            return self.skip(count_images(images), "disabled", **told)
        story = self._check_story(images, pipeline, inputs, prompts, config)
        return self._told(story, config.deadline_s, lambda exc: self.fail(count_images(images), exc, **told))

    def check_videos(
        self,
        videos: Sequence[Any],
        *,
        pipeline: str = "default",
        inputs: Any = None,
        prompts: Prompts = None,
        options: Mapping[str, Any] | None = None,
    ) -> Report:
        """See Guard.check_videos. Frames are sampled here, and only those are sent."""
        config = self._settings(options)
        told: dict[str, Any] = {"pipeline": pipeline, "prompts": prompts, "options": options}
        if self.disabled:
            return self.skip(len(videos), "disabled", **told)
        story = self._videos_story(videos, pipeline, inputs, prompts, config)
        return self._told(story, config.deadline_s, lambda exc: self.fail(len(videos), exc, **told))

    def info(self) -> ServerInfo:
        """What runs on the other side."""
        return ServerInfo.of(self._send(Outgoing("GET", "/version"), WAIT_S))

    def ready(self) -> bool:
        """Whether checks can be made there, and would be right. Never raises."""
        try:
            self._send(Outgoing("GET", "/readyz"), WAIT_S)
        except GuardError:
            return False
        return True

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _told(self, story: Story, seconds: float | None, fail: Callable[[Exception], Report]) -> Report:
        """Tell a story to its end within so many seconds; if it breaks, what fail makes of that."""
        begun = time.monotonic()

        def tell() -> Report:
            answer = None
            while not isinstance(request := _next(story, answer), Report):
                left = None if seconds is None else max(0.001, seconds - (time.monotonic() - begun))
                answer = self._send_patiently(request, left)
            return request

        try:
            return tell() if seconds is None else run_within(seconds, tell)
        except TimeoutError:
            return fail(DeadlineError(stage="host", deadline_s=seconds or 0.0))
        except GuardError as exc:
            return fail(exc)
        except Exception as exc:
            return fail(translated(exc, "host"))

    def _send_patiently(self, request: Outgoing, seconds: float | None) -> Any:
        """Once more where a busy server says when, and there is time for it."""
        begun = time.monotonic()
        while True:
            left = None if seconds is None else seconds - (time.monotonic() - begun)
            try:
                return self._send(request, left)
            except RemoteError as exc:
                wait = _worth_waiting(exc, left)
                if wait is None:
                    raise
                time.sleep(wait)

    def _send(self, request: Outgoing, seconds: float | None) -> Any:
        return self._once(request, seconds, again=True)

    def _once(self, request: Outgoing, seconds: float | None, *, again: bool) -> Any:
        httpx2 = _httpx2()
        try:
            answer = self._http.request(
                request.method, request.path, content=request.body, headers=dict(request.headers), timeout=seconds
            )
        except httpx2.TimeoutException as exc:
            raise DeadlineError(stage="host", deadline_s=seconds or 0.0) from exc
        except httpx2.TransportError as exc:
            if again and _was_dropped(exc):
                return self._once(request, seconds, again=False)
            raise _unreachable(self.url, exc) from exc
        return read_answer(answer.status_code, answer.headers, answer.content)


class AsyncClient(RemoteGuard):
    """The same for services that await. Arguments are RemoteGuard's; `protect` takes a Client."""

    def __init__(self, url: str, **arguments: Any) -> None:
        super().__init__(url, **arguments)
        self._http: httpx2.AsyncClient = _httpx2().AsyncClient(
            base_url=self.url, headers=self._headers, trust_env=False
        )

    async def check(
        self,
        images: Any,
        *,
        pipeline: str = "default",
        inputs: Any = None,
        prompts: Prompts = None,
        options: Mapping[str, Any] | None = None,
    ) -> Report:
        """See Client.check."""
        config = self._settings(options)
        told: dict[str, Any] = {"pipeline": pipeline, "prompts": prompts, "options": options}
        if self.disabled:
            return self.skip(count_images(images), "disabled", **told)
        story = self._check_story(images, pipeline, inputs, prompts, config)
        return await self._told(story, config.deadline_s, lambda exc: self.fail(count_images(images), exc, **told))

    async def check_videos(
        self,
        videos: Sequence[Any],
        *,
        pipeline: str = "default",
        inputs: Any = None,
        prompts: Prompts = None,
        options: Mapping[str, Any] | None = None,
    ) -> Report:
        """See Client.check_videos."""
        config = self._settings(options)
        told: dict[str, Any] = {"pipeline": pipeline, "prompts": prompts, "options": options}
        if self.disabled:
            return self.skip(len(videos), "disabled", **told)
        story = self._videos_story(videos, pipeline, inputs, prompts, config)
        return await self._told(story, config.deadline_s, lambda exc: self.fail(len(videos), exc, **told))

    async def info(self) -> ServerInfo:
        """See Client.info."""
        return ServerInfo.of(await self._send(Outgoing("GET", "/version"), WAIT_S))

    async def ready(self) -> bool:
        """See Client.ready."""
        try:
            await self._send(Outgoing("GET", "/readyz"), WAIT_S)
        except GuardError:
            return False
        return True

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _told(self, story: Story, seconds: float | None, fail: Callable[[Exception], Report]) -> Report:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                answer = None
                # Encoding is work for a thread.
                while not isinstance(request := await asyncio.to_thread(_next, story, answer), Report):
                    left = None if seconds is None else seconds - (time.monotonic() - begun)
                    answer = await self._send_patiently(request, left)
                return request
        except TimeoutError:
            return fail(DeadlineError(stage="host", deadline_s=seconds or 0.0))
        except GuardError as exc:
            return fail(exc)
        except Exception as exc:
            return fail(translated(exc, "host"))

    async def _send_patiently(self, request: Outgoing, seconds: float | None) -> Any:
        begun = time.monotonic()
        while True:
            left = None if seconds is None else seconds - (time.monotonic() - begun)
            try:
                return await self._send(request, left)
            except RemoteError as exc:
                wait = _worth_waiting(exc, left)
                if wait is None:
                    raise
                await asyncio.sleep(wait)

    async def _send(self, request: Outgoing, seconds: float | None) -> Any:
        return await self._once(request, seconds, again=True)

    async def _once(self, request: Outgoing, seconds: float | None, *, again: bool) -> Any:
        httpx2 = _httpx2()
        try:
            answer = await self._http.request(
                request.method, request.path, content=request.body, headers=dict(request.headers), timeout=seconds
            )
        except httpx2.TimeoutException as exc:
            raise DeadlineError(stage="host", deadline_s=seconds or 0.0) from exc
        except httpx2.TransportError as exc:
            if again and _was_dropped(exc):
                return await self._once(request, seconds, again=False)
            raise _unreachable(self.url, exc) from exc
        return read_answer(answer.status_code, answer.headers, answer.content)


if TYPE_CHECKING:
    _plays_the_guard: type[HostGuard] = Client


def _next(story: Story, answer: Any) -> Outgoing | Report:
    """The next request, or the report at the end."""
    try:
        return story.send(answer)
    except StopIteration as done:
        report: Report = done.value
        return report


def _httpx2() -> ModuleType:
    try:
        import httpx2
    except ImportError as exc:
        raise MissingExtraError("guard_server.Client", extra="client") from exc
    return httpx2


def _was_dropped(exc: Exception) -> bool:
    """A connection that was kept and that the other side has closed meanwhile: a new one is worth a try."""
    httpx2 = _httpx2()
    return isinstance(exc, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError)


def _unreachable(url: str, exc: Exception) -> RemoteError:
    return RemoteError(
        f"the guard at {url} cannot be reached ({type(exc).__name__}: {exc}); is `memguard serve` running?"
    )


def _worth_waiting(exc: RemoteError, left: float | None) -> float | None:
    """Seconds to wait before another try, if a busy server named them and they fit."""
    wait = exc.retry_after_s
    return wait if exc.status == 429 and wait is not None and (left is None or wait < left) else None
