"""/review: the queue of flagged and blocked images, each pair side by side, and what a reviewer says of it.

Knows the decision log and forms; what a word does is `guard.reviewing`'s, what is seen `guard_server.pages.pair`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from guard.events import Event, EventFilter, EventLog, Outcome
from guard.reviewing import Reviews
from guard.types import Decision
from guard_server.decisions import event_of, log_of
from guard_server.pages.access import PageRoute, redirect, visitor
from guard_server.pages.forms import CSRF, read_fields, require_ours
from guard_server.pages.pair import pair_of
from guard_server.pages.rendering import picture, render
from guard_server.pages.sessions import Visit
from guard_server.problems import Problem
from guard_server.references import reference_of, thumbnail_of
from guard_server.service import Service, service_of
from guard_server.tokens import Scope

__all__ = ["PAGE", "router"]

PAGE = 24
"""Rows of one page."""
MOST_MATCHES = 12
"""References of one image that are offered to look at."""
router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/review")
Reviewer = Annotated[Visit, Depends(visitor(Scope.REVIEW))]
ServiceHere = Annotated[Service, Depends(service_of)]
Shown = Literal["open", "all", "confirm", "not_a_copy", "unsure"]


@dataclass(frozen=True, slots=True)
class Queue:
    """Which events somebody works through."""

    show: Shown = "open"
    decision: Literal["", "flag", "block"] = ""
    pipeline: str = ""

    def filter(self) -> EventFilter:
        reviewed = {"open": False, "all": None}.get(self.show, True)
        return EventFilter(
            decisions=[Decision(self.decision)] if self.decision else [Decision.FLAG, Decision.BLOCK],
            pipelines=[self.pipeline] if self.pipeline else (),
            outcomes=[Outcome(self.show)] if reviewed else (),
            reviewed=reviewed,
        )

    def query(self, **more: object) -> str:
        """For an address: "?show=all", what differs from the beginning alone; "" for nothing."""
        mine = {"show": self.show if self.show != "open" else "", "decision": self.decision, "pipeline": self.pipeline}
        given = {name: value for name, value in {**mine, **more}.items() if value not in ("", None)}
        return f"?{urlencode(given)}" if given else ""


def queue_of(
    show: Shown = "open",
    decision: Literal["", "flag", "block"] = "",
    pipeline: Annotated[str, Query(max_length=64)] = "",
) -> Queue:
    return Queue(show, decision, pipeline)


QueueHere = Annotated[Queue, Depends(queue_of)]


@router.get("")
def listed(
    request: Request,
    service: ServiceHere,
    visit: Reviewer,
    queue: QueueHere,
    before: Annotated[int | None, Query(ge=0, lt=1 << 63)] = None,
    done: Annotated[str, Query(max_length=32)] = "",
) -> Response:
    """A page of the queue, newest first."""
    if service.guard.events is None:
        return render(request, "no_log.html", visit=visit, active="review")
    log = log_of(service.guard)
    events = log.read(queue.filter(), limit=PAGE + 1, before=before)
    return render(
        request,
        "review_list.html",
        visit=visit,
        active="review",
        queue=queue,
        events=events[:PAGE],
        more=events[PAGE - 1].seq if len(events) > PAGE else None,
        before=before,
        waiting=log.count(Queue().filter()),
        pipelines=pipelines_of(service, queue),
        done=last_review(log, done),
    )


def pipelines_of(service: Service, queue: Queue) -> list[tuple[str, str]]:
    """What the queue can be narrowed to, with its words; nothing but "every" where there is one pipeline."""
    names = {*service.config.pipelines, *([queue.pipeline] if queue.pipeline else [])}
    return [("", "Every pipeline"), *((name, name) for name in sorted(names))] if len(names) > 1 else []


@router.get("/{identifier}")
def one(
    request: Request,
    service: ServiceHere,
    visit: Reviewer,
    queue: QueueHere,
    identifier: str,
    match: Annotated[int, Query(ge=0)] = 0,
    done: Annotated[str, Query(max_length=32)] = "",
) -> Response:
    """One image beside one of its references."""
    with service.current.use() as guard:
        log = log_of(guard)
        event = event_of(log, identifier)
        position = min(match, max(0, len(event.matches) - 1))
        pair = pair_of(guard, event, position) if event.matches else None
        reviews = Reviews.of(guard, log)
        exempt, not_exemptable = reviews.exempt_pairs(event), reviews.problem(event)
    older = log.read(queue.filter(), limit=1, before=event.seq)
    return render(
        request,
        "review_one.html",
        visit=visit,
        active="review",
        queue=queue,
        event=event,
        position=position,
        pair=pair,
        others=list(enumerate(event.matches[:MOST_MATCHES])),
        reviews=log.reviews(event.id)[::-1],
        exempt=exempt,
        not_exemptable=not_exemptable,
        older=older[0] if older else None,
        newer=log.newer(queue.filter(), after=event.seq),
        waiting=log.count(Queue().filter()),
        done=last_review(log, done),
    )


@router.post("/{identifier}")
async def say(request: Request, service: ServiceHere, visit: Reviewer, queue: QueueHere, identifier: str) -> Response:
    """A reviewer's word; then the next image of the queue."""
    fields = await read_fields(request)
    require_ours(request, visit, fields.get(CSRF, [""])[0])
    asked = fields.get("outcome", [""])[0]
    if asked not in (*Outcome, "undo"):
        raise Problem("invalid", f"outcome: one of {', '.join(Outcome)} and undo")
    position = fields.get("match", ["0"])[0]
    if not position.isdecimal():
        raise Problem("invalid", "match: the number of a reference")
    note = fields.get("note", [""])[0].strip()[:1000]
    return await run_in_threadpool(
        said, service, visit, queue, identifier, asked, note, None if "all" in fields else int(position[:6])
    )


def said(
    service: Service, visit: Visit, queue: Queue, identifier: str, asked: str, note: str, position: int | None
) -> Response:
    """position: of the reference that it is about; None: all of them."""
    with service.current.use() as guard:
        log = log_of(guard)
        event = event_of(log, identifier)
        reviews = Reviews.of(guard, log)
        who = visit.session.name
        if asked == "undo":
            if event.outcome is not None:
                reviews.undo(event, who=who)
            return redirect(f"/review/{event.id}{queue.query()}")
        matches = range(len(event.matches)) if position is None else [position]
        reviews.say(event, Outcome(asked), who=who, note=note, matches=matches)
    following = log.read(queue.filter(), limit=1, before=event.seq)
    if following:
        return redirect(f"/review/{following[0].id}{queue.query(done=event.id)}")
    return redirect(f"/review{queue.query(done=event.id)}")


@router.get("/{identifier}/image")
def image(service: ServiceHere, _visit: Reviewer, identifier: str) -> Response:
    """The logged image, as small as the log keeps it."""
    return picture(event_of(log_of(service.guard), identifier).thumbnail)


@router.get("/{identifier}/reference/{position}")
def reference(service: ServiceHere, _visit: Reviewer, identifier: str, position: int) -> Response:
    """The picture of a reference that an image was close to."""
    event = event_of(log_of(service.guard), identifier)
    if not 0 <= position < len(event.matches):
        raise Problem("not-found", "The image has no such reference.")
    with service.current.use() as guard:
        record = reference_of(guard, event.matches[position])
        return picture(None if record is None else thumbnail_of(guard, record.id))


def last_review(log: EventLog, identifier: str) -> tuple[Event, str] | None:
    """What was said last of an event that somebody comes from: it and its outcome, while it stands."""
    event = log.get(identifier) if len(identifier) == 32 else None
    return None if event is None or event.outcome is None else (event, event.outcome.value)
