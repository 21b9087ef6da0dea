"""Is the process alive, is it ready, which version is it, and its metrics. Decides nothing."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from guard._version import __version__
from guard_server.access import require
from guard_server.problems import documented
from guard_server.readiness import readiness
from guard_server.service import Service, service_of
from guard_server.tokens import Scope

__all__ = ["router"]

router = APIRouter(tags=["operation"])
ServiceHere = Annotated[Service, Depends(service_of)]


class Health(BaseModel):
    status: str = Field(examples=["ok"])


class Readiness(BaseModel):
    ready: bool
    checks: dict[str, str] = Field(
        description="What must hold, each `ok` or the reason why not.", examples=[{"index": "ok", "provider": "ok"}]
    )


class Version(BaseModel):
    memguard: str = Field(examples=["0.1.0"])
    index: str = Field(description="Name of the index.", examples=["training.index"])
    index_version: str = Field(examples=["0003"])
    references: int = Field(description="How many the index holds.")
    embedder: str = Field(examples=["procedural"])
    provider: str = Field(description="Where the embedder runs.", examples=["ort-cpu"])
    mode: str = Field(examples=["enforce"])
    meaning_version: str | None = Field(
        description="Of the index that `server.meaning` names; null without one.", examples=["0002"]
    )


@router.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """The process answers. Needs no token."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness, "description": "Not ready"}})
async def readyz(service: ServiceHere) -> Response:
    """Checks can be made, and would be right: the index is loaded, the embedder runs where it shall. Needs no token."""
    checks = readiness(service)
    ready = all(state == "ok" for state in checks.values())
    return JSONResponse({"ready": ready, "checks": checks}, 200 if ready else 503)


@router.get("/version", response_model=Version, responses=documented("token-needed"), dependencies=[Depends(require())])
async def version(service: ServiceHere) -> Response:
    """What runs here. Any token opens it."""
    guard = service.guard
    return JSONResponse(
        {
            "memguard": __version__,
            "index": guard.name,
            "index_version": guard.index.version,
            "references": guard.index.manifest.count,
            "embedder": guard.embedder.spec.name,
            "provider": getattr(guard.embedder, "provider", "cpu"),
            "mode": guard.config.mode.value,
            "meaning_version": service.meanings.version,
        }
    )


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """This interface, described. Needs no token."""
    return JSONResponse(request.app.openapi())


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"example": "memguard_images_total{…} 12.0\n"}}},
        **documented("token-needed", "scope-needed"),
    },
    dependencies=[Depends(require(Scope.METRICS))],
)
def metrics(service: ServiceHere) -> Response:
    """Prometheus' text format, of all workers together. Scope `metrics`."""
    return Response(service.guard.metrics.text(), media_type=CONTENT_TYPE_LATEST)
