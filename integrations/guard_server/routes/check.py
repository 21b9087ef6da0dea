"""POST /v1/check: images in, one verdict each out. Knows requests and answers; the check itself is the engine's."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from guard.errors import ConfigError
from guard_server.access import require
from guard_server.admission import FullError
from guard_server.engine import Checked, Job
from guard_server.metrics import GONE
from guard_server.problems import Problem, documented
from guard_server.schema import BODY, EXAMPLES, CheckReport
from guard_server.service import Service, service_of
from guard_server.tokens import Scope, Session
from guard_server.uploads import Upload, read_upload

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["checks"])


@router.post(
    "/check",
    response_model=CheckReport,
    openapi_extra={"requestBody": BODY},
    responses={
        200: {"content": {"application/json": {"examples": EXAMPLES}}},
        **documented(
            "malformed", "token-needed", "scope-needed", "too-slow", "too-large", "media-type", "invalid", "busy"
        ),
    },
)
async def check(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    session: Annotated[Session, Depends(require(Scope.CHECK))],
) -> Response:
    """Check images against the index: one verdict each, in the order of the request. Scope `check`.

    An image that cannot be read gets a verdict of status `error`, and costs no other its own.
    """
    with service.uploads.hold() as more:
        try:
            upload = await read_upload(request, service.config, more)
        except ClientDisconnect:
            service.metrics.rejected.labels("disconnected").inc()
            return Response(status_code=GONE)
        job = _job(upload, service, session)
        checked = await _checked(request, service, job)
        if checked is None:
            service.metrics.rejected.labels("disconnected").inc()
            return Response(status_code=GONE)
        body: dict[str, Any] = checked.report.to_dict()
        if upload.fields.evidence:
            body["evidence_pictures"] = await service.engine.evidence(checked)
        return JSONResponse(body)


async def _checked(request: Request, service: Service, job: Job) -> Checked | None:
    """What the engine says; None if the client goes away first: a check that has not begun is then not made."""
    work = asyncio.create_task(service.engine.check(job))
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else None
    except ConfigError as exc:
        raise Problem("invalid", f"options: {exc}") from None
    except FullError as exc:
        raise Problem("busy", str(exc), retry_after_s=exc.retry_after_s, reason="queue_full") from None
    finally:
        gone.cancel()
        work.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _job(upload: Upload, service: Service, session: Session) -> Job:
    fields, allowed = upload.fields, service.config.call_options
    late = sorted(set(fields.options) - set(allowed))
    if late:
        known = ", ".join(allowed) or "none"
        raise Problem("invalid", f"options: a request may not choose {late[0]!r} here; it may choose: {known}")
    if fields.evidence and not session.may(Scope.REVIEW):
        raise Problem("scope-needed", f"evidence shows training pictures: token {session.name!r} lacks `review`")
    if fields.clips is not None and (sum(fields.clips) != len(upload.images) or min(fields.clips, default=0) < 0):
        raise Problem("invalid", f"clips: {fields.clips} frames in all are not the {len(upload.images)} images sent")
    if fields.clips is not None and fields.evidence:
        raise Problem("invalid", "evidence is drawn of images; send the frame that a verdict names by itself")
    return Job(upload.images, upload.inputs, fields.pipeline, fields.prompts, fields.options, fields.clips)
