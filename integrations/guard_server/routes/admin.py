"""POST /v1/admin/reload: load a new version of the index now. Knows requests and answers; the swap is another's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from guard_server.access import require
from guard_server.problems import Problem, documented
from guard_server.service import Service, service_of
from guard_server.tokens import Scope

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin", tags=["operation"], dependencies=[Depends(require(Scope.ADMIN))])


class Reload(BaseModel):
    result: str = Field(
        description="`loaded`, or `unchanged` where no other version is published.", examples=["loaded"]
    )
    index_version: str = Field(description="In use from now on.", examples=["0004"])


@router.post(
    "/reload",
    response_model=Reload,
    responses=documented("token-needed", "scope-needed", "refused", "invalid", "unavailable"),
)
async def reload(
    service: Annotated[Service, Depends(service_of)],
    force: Annotated[
        bool, Query(description="Also a version that holds none of the references that the canaries stand for.")
    ] = False,
) -> Response:
    """Load the version of the index that is published, in this process; others see it within `watch_s`. Scope `admin`.

    A version that was refused before is tried again. Requests go on meanwhile.
    """
    swap = await service.watch.swap(force=force)
    if swap is None:
        raise Problem("unavailable", "this index is in memory alone; there is nothing to load")
    if swap.result == "refused":
        raise Problem("refused", f"version {swap.met or '?'}: {swap.text}", index_version=swap.version)
    return JSONResponse({"result": swap.result, "index_version": swap.version})
