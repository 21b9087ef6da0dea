"""What all routes of one process share. Holds parts; each of them lives in a file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request

from guard_server.config import ServerConfig
from guard_server.current import Current
from guard_server.engine import Engine
from guard_server.meanings import Meanings
from guard_server.metrics import ServerMetrics
from guard_server.tokens import TokenBook
from guard_server.uploads import UploadBudget
from guard_server.watch import Watch

if TYPE_CHECKING:
    from guard.guard import Guard

__all__ = ["Service", "service_of"]


@dataclass(frozen=True, slots=True)
class Service:
    config: ServerConfig
    tokens: TokenBook
    current: Current
    watch: Watch
    engine: Engine
    metrics: ServerMetrics
    uploads: UploadBudget
    meanings: Meanings

    @property
    def guard(self) -> Guard:
        """The guard in use: another one after a swap, so that nobody keeps it."""
        return self.current.guard


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
