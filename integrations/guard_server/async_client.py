"""A client of `memguard serve` that awaits. Knows connections and time; no pixels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from guard.errors import DeadlineError, GuardError, RemoteError
from guard.hosted import Prompts
from guard.intake import count_images
from guard.stages import translated
from guard.types import Report
from guard_server import questions
from guard_server.exchange import Outgoing, ServerInfo, read_answer
from guard_server.questions import Question
from guard_server.remote import RemoteGuard, Story
from guard_server.talking import WAIT_S, httpx2_module, next_of, unreachable, was_dropped, worth_waiting

if TYPE_CHECKING:
    import httpx2

    from guard.embedders.views import ViewKind
    from guard.search.query import SearchPage, WordsBy

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient(RemoteGuard):
    """The same for services that await. Arguments are RemoteGuard's; `protect` takes a Client."""

    def __init__(self, url: str, **arguments: Any) -> None:
        super().__init__(url, **arguments)
        self._http: httpx2.AsyncClient = httpx2_module().AsyncClient(
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
        return await self._ask(questions.info())

    async def search(
        self,
        picture: Any = None,
        *,
        words: str = "",
        by: WordsBy = "captions",
        views: ViewKind = "one",
        source: str = "",
        min_similarity: float | None = None,
        offset: int = 0,
        limit: int = 20,
    ) -> SearchPage:
        """See Client.search."""
        asked = {"words": words, "by": by, "views": views, "source": source, "min_similarity": min_similarity}
        return await self._ask(questions.search(picture, self.encoding, **asked, offset=offset, limit=limit))

    async def events(self, *, limit: int = 50, before: int | None = None, **filters: Any) -> list[dict[str, Any]]:
        """See Client.events."""
        return await self._ask(questions.events(limit=limit, before=before, **filters))

    async def review(self, event: str, outcome: str, *, note: str = "", matches: Sequence[int] = (0,)) -> str | None:
        """See Client.review."""
        return await self._ask(questions.review(event, outcome, note, matches))

    async def reload(self, *, force: bool = False) -> str:
        """See Client.reload."""
        return await self._ask(questions.reload(force))

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

    async def _ask(self, question: Question[T]) -> T:
        return question.read(await self._send(question.request, WAIT_S))

    async def _told(self, story: Story, seconds: float | None, fail: Callable[[Exception], Report]) -> Report:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                answer = None
                # Encoding is work for a thread.
                while not isinstance(request := await asyncio.to_thread(next_of, story, answer), Report):
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
                wait = worth_waiting(exc, left)
                if wait is None:
                    raise
                await asyncio.sleep(wait)

    async def _send(self, request: Outgoing, seconds: float | None) -> Any:
        return await self._once(request, seconds, again=True)

    async def _once(self, request: Outgoing, seconds: float | None, *, again: bool) -> Any:
        httpx2 = httpx2_module()
        try:
            answer = await self._http.request(
                request.method, request.path, content=request.body, headers=dict(request.headers), timeout=seconds
            )
        except httpx2.TimeoutException as exc:
            raise DeadlineError(stage="host", deadline_s=seconds or 0.0) from exc
        except httpx2.TransportError as exc:
            if again and was_dropped(exc):
                return await self._once(request, seconds, again=False)
            raise unreachable(self.url, exc) from exc
        return read_answer(answer.status_code, answer.headers, answer.content)
