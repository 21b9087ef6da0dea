"""POST /v1/check: images in, one verdict each out. Knows requests and answers; the check itself is the engine's."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from guard.errors import ConfigError
from guard_server.access import require
from guard_server.engine import Job
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
        try:
            report, pictures = await service.engine.check(job)
        except ConfigError as exc:
            raise Problem("invalid", f"options: {exc}") from None
        body: dict[str, Any] = report.to_dict()
        if upload.fields.evidence:
            body["evidence_pictures"] = await service.engine.evidence(pictures, report)
        return JSONResponse(body)


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
