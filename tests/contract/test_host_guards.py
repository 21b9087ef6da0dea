"""The guard in this process and the one behind a server pass one contract; so does a pipeline guarded by either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import pytest

from guard import Guard
from guard.hosted import HostGuard
from guard_server import Client
from tests.contract.host_guard import HostGuardContract
from tests.contract.pipeline import PipelineContract
from tests.pipelines import tiny
from tests.pipelines.planted import Planted, one_thread, pictures_of, value  # noqa: F401
from tests.support.served import WAIT_S, listening, toy_guard
from tests.support.toys import MemoryIndex, ToyEmbedder, picture


class TestLocal(HostGuardContract):
    @contextmanager
    def open(self, embedder: ToyEmbedder | None = None, **settings: Any) -> Iterator[HostGuard]:
        yield toy_guard(embedder, **settings)

    @contextmanager
    def broken(self) -> Iterator[HostGuard]:
        class Broken(ToyEmbedder):
            def embed(self, batch: Any) -> Any:
                raise RuntimeError("there is no runtime")

        index = MemoryIndex(ToyEmbedder(), {"a.png": picture(0)})
        yield Guard(index, Broken())


class TestRemote(HostGuardContract):
    @contextmanager
    def open(self, embedder: ToyEmbedder | None = None, **settings: Any) -> Iterator[HostGuard]:
        with (
            listening(toy_guard(embedder)) as server,
            Client(server.url, **{"deadline_s": WAIT_S, **settings}) as client,
        ):
            yield client

    @contextmanager
    def broken(self) -> Iterator[HostGuard]:
        with listening() as server:
            url = server.url
        with Client(url) as client:  # nothing listens there any more
            yield client


class RemotePlanted(Planted):
    """Hands out clients of servers that hold the planted pictures."""

    def __init__(self, planted: Any) -> None:
        super().__init__(planted)
        self.servers = ExitStack()

    def guard(self, embedder: Any = None, **settings: Any) -> Any:
        server = self.servers.enter_context(listening(super().guard(embedder)))
        return self.servers.enter_context(Client(server.url, **{"deadline_s": WAIT_S, **settings}))


class TestStableDiffusionOverHttp(PipelineContract):
    """Everything that is promised of a guarded pipeline, with the guard in another place."""

    build = staticmethod(tiny.stable_diffusion)
    arguments: ClassVar[dict[str, Any]] = {"prompt": "a cat"}

    @pytest.fixture(scope="class")
    @classmethod
    def planted(cls, pipe: Any) -> Iterator[Planted]:
        planted = RemotePlanted(pictures_of(value(cls.run(pipe, 0))))
        with planted.servers:
            yield planted
