"""A client of `memguard serve` that waits. Knows connections and time; no pixels.

`protect(pipe, Client("http://127.0.0.1:8750"))` guards a pipeline as a guard in the same process does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from guard.errors import DeadlineError, GuardError, RemoteError
from guard.hosted import Prompts
from guard.intake import count_images
from guard.stages import translated
from guard.types import Report
from guard.workers import run_within
from guard_server import questions
from guard_server.exchange import Outgoing, ServerInfo, read_answer
from guard_server.questions import Question
from guard_server.remote import RemoteGuard, Story
from guard_server.talking import WAIT_S, httpx2_module, next_of, unreachable, was_dropped, worth_waiting

if TYPE_CHECKING:
    import httpx2

    from guard.embedders.views import ViewKind
    from guard.hosted import HostGuard
    from guard.search.query import SearchPage, WordsBy

__all__ = ["Client"]

T = TypeVar("T")


class Client(RemoteGuard):
    """Plays the guard for `protect`. Safe for threads; arguments are RemoteGuard's.

    A check that the server did not make (gone, busy, too slow, no token) is a failed check: status ERROR, and
    `on_error` says what happens to the image. Everything else raises RemoteError.
    """

    def __init__(self, url: str, **arguments: Any) -> None:
        super().__init__(url, **arguments)
        # A proxy of the environment has no place between a pipeline and the guard beside it.
        self._http: httpx2.Client = httpx2_module().Client(base_url=self.url, headers=self._headers, trust_env=False)

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
        return self._ask(questions.info())

    def search(
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
        """References near to a picture, with words in their caption, or both; see guard.search.SearchQuery.

        Raises RemoteError, and InputError for a picture that cannot be read.
        """
        asked = {"words": words, "by": by, "views": views, "source": source, "min_similarity": min_similarity}
        return self._ask(questions.search(picture, self.encoding, **asked, offset=offset, limit=limit))

    def events(self, *, limit: int = 50, before: int | None = None, **filters: Any) -> list[dict[str, Any]]:
        """Of the decision log, newest first. before: the `seq` of the last one of the page before.

        filters: decision, status, pipeline, outcome (lists), reviewed, since, until.
        """
        return self._ask(questions.events(limit=limit, before=before, **filters))

    def review(self, event: str, outcome: str, *, note: str = "", matches: Sequence[int] = (0,)) -> str | None:
        """Say `confirm`, `not_a_copy`, `unsure` or `undo` of an event; returns what stands now."""
        return self._ask(questions.review(event, outcome, note, matches))

    def reload(self, *, force: bool = False) -> str:
        """Load the version of the index that is published; returns the one in use then."""
        return self._ask(questions.reload(force))

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

    def _ask(self, question: Question[T]) -> T:
        return question.read(self._send(question.request, WAIT_S))

    def _told(self, story: Story, seconds: float | None, fail: Callable[[Exception], Report]) -> Report:
        """Tell a story to its end within so many seconds; if it breaks, what fail makes of that."""
        begun = time.monotonic()

        def tell() -> Report:
            answer = None
            while not isinstance(request := next_of(story, answer), Report):
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
                wait = worth_waiting(exc, left)
                if wait is None:
                    raise
                time.sleep(wait)

    def _send(self, request: Outgoing, seconds: float | None) -> Any:
        return self._once(request, seconds, again=True)

    def _once(self, request: Outgoing, seconds: float | None, *, again: bool) -> Any:
        httpx2 = httpx2_module()
        try:
            answer = self._http.request(
                request.method, request.path, content=request.body, headers=dict(request.headers), timeout=seconds
            )
        except httpx2.TimeoutException as exc:
            raise DeadlineError(stage="host", deadline_s=seconds or 0.0) from exc
        except httpx2.TransportError as exc:
            if again and was_dropped(exc):
                return self._once(request, seconds, again=False)
            raise unreachable(self.url, exc) from exc
        return read_answer(answer.status_code, answer.headers, answer.content)


if TYPE_CHECKING:
    _plays_the_guard: type[HostGuard] = Client
