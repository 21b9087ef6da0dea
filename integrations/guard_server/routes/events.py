"""GET /v1/events and POST /v1/events/{id}/review: the decision log and a reviewer's word. Knows requests; no SQL."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from guard.errors import EventLogError
from guard.events import EventFilter, Outcome
from guard.reviewing import Reviews
from guard.types import Decision, Status
from guard_server.access import require
from guard_server.decisions import event_of, log_of
from guard_server.problems import Problem, documented
from guard_server.service import Service, service_of
from guard_server.tokens import Scope, Session

__all__ = ["router"]

router = APIRouter(prefix="/v1/events", tags=["decision log"])
ServiceHere = Annotated[Service, Depends(service_of)]
Reviewer = Annotated[Session, Depends(require(Scope.REVIEW))]
Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
ANSWERS = documented("token-needed", "scope-needed", "invalid", "unavailable")


class Events(BaseModel):
    """A page of the log, newest first."""

    events: list[dict[str, Any]] = Field(
        description="As `memguard events list --json` prints them: the verdict, thresholds, embedder, outcome."
    )
    before: int | None = Field(description="For the next page; null where there is none.")


class ReviewBody(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    outcome: Literal["confirm", "not_a_copy", "unsure", "undo"] = Field(
        description="`not_a_copy` exempts this image beside the reference from the next check on; `undo` takes the "
        "last outcome back, with what it exempted."
    )
    note: str = Field("", max_length=2000)
    matches: tuple[int, ...] = Field(
        (0,), max_length=1000, description="Positions of the references that `not_a_copy` is about."
    )


class Reviewed(BaseModel):
    id: str
    outcome: str | None = Field(description="What stands now.")
    exempted: int = Field(description="Pairs that are exempt by this event's review.")
    not_exempted: str | None = Field(description="Why no pair could be exempted, where that was asked for.")


@router.get("", response_model=Events, responses=ANSWERS)
def events(
    service: ServiceHere,
    _session: Reviewer,
    decision: Annotated[list[Decision] | None, Query()] = None,
    status: Annotated[list[Status] | None, Query()] = None,
    pipeline: Annotated[list[str] | None, Query(max_length=100)] = None,
    outcome: Annotated[list[Outcome] | None, Query()] = None,
    reviewed: bool | None = None,
    since: Annotated[float | None, Query(description="Seconds since the epoch, inclusive.")] = None,
    until: Annotated[float | None, Query(description="Seconds since the epoch, exclusive.")] = None,
    before: Annotated[int | None, Query(ge=0, lt=1 << 63, description="From the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """What was decided, newest first. Scope `review`."""
    where = EventFilter(
        since=since,
        until=until,
        decisions=decision or (),
        statuses=status or (),
        pipelines=pipeline or (),
        outcomes=outcome or (),
        reviewed=reviewed,
    )
    found = log_of(service.guard).read(where, limit=limit, before=before)
    following = found[-1].seq if len(found) == limit else None
    return JSONResponse({"events": [event.to_dict() for event in found], "before": following})


@router.get("/{identifier}", response_model=dict[str, Any], responses={**ANSWERS, **documented("not-found")})
def one(service: ServiceHere, _session: Reviewer, identifier: Identifier) -> Response:
    """One event, with its thumbnail in base64 and the history of its reviews. Scope `review`."""
    log = log_of(service.guard)
    event = event_of(log, identifier)
    body = event.to_dict(blobs=True)
    body.pop("descriptor")
    return JSONResponse({**body, "reviews": [review.to_dict() for review in log.reviews(event.id)]})


@router.post("/{identifier}/review", response_model=Reviewed, responses={**ANSWERS, **documented("not-found")})
def review(service: ServiceHere, session: Reviewer, identifier: Identifier, body: ReviewBody) -> Response:
    """Say what an event is. Signed with the token's name; in force before the answer is sent. Scope `review`."""
    with service.current.use() as guard:
        log = log_of(guard)
        event = event_of(log, identifier)
        reviews = Reviews.of(guard, log)
        problem = None
        try:
            if body.outcome == "undo":
                standing = reviews.undo(event, who=session.name)
            else:
                standing = Outcome(body.outcome)
                problem = reviews.problem(event) if standing is Outcome.NOT_A_COPY else None
                reviews.say(event, standing, who=session.name, note=body.note, matches=body.matches)
        except EventLogError as exc:
            raise Problem("invalid", str(exc)) from None
        outcome = standing.value if standing else None
        answer = {"id": event.id, "outcome": outcome, "exempted": reviews.exempt_pairs(event)}
    return JSONResponse({**answer, "not_exempted": problem or None})
