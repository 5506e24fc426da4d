"""What happened to an action: page by page, or as a stream that goes on where it broke off."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Query, Router

from actions.api import sse
from actions.api.caller import access_of
from actions.api.schemas import ActionEvents
from actions.live.database import asking
from actions.live.ears import listening
from actions.live.standing import Standing
from actions.models import Action
from actions.verbs import find
from audit.models import Event, PrivateValue

router = Router(tags=["events"])
STREAM = "text/event-stream"
BATCH = 100
LONGEST_S = 60.0
MOST_BYTES = 256 * 1024
HEARTBEAT_S = 10.0
RECHECK_S = 5.0
"""How old an answer to "may they still see this?" may be when an event is sent."""
SLACK_S = 1.0
PAUSE_S = 0.05
"""Between two looks, so that a burst of commits is read in one."""
RETRY_MS = 1_000
STREAMED = {
    "responses": {
        200: {"content": {STREAM: {"schema": {"type": "string"}}}},
    }
}


@router.get(
    "/actions/{action_id}/events",
    response=ActionEvents,
    summary="What happened",
    openapi_extra=STREAMED,
)
async def events(
    request: HttpRequest,
    action_id: str,
    after: int = Query(0, ge=0, le=2**53 - 1, description="The seq of the last event that you have."),
    limit: int = Query(BATCH, ge=1, le=500),
) -> Any:
    """
    A page of events, or a stream of them where `Accept` asks for text/event-stream.

    A stream ends after 60 s or 256 KB; reconnect with the last id as `Last-Event-ID`. Nothing is lost or said twice.
    """
    action = await asking(find)(access_of(request), action_id)
    if not wants_stream(request):
        return await asking(page)(action, after, limit)
    resumed = sse.last_event_id(request.headers.get("Last-Event-ID"))
    stream = told(Standing.of_request(request), action, after if resumed is None else resumed)
    response = StreamingHttpResponse(stream, content_type=STREAM)
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


def wants_stream(request: HttpRequest) -> bool:
    return request.get_preferred_type(["application/json", STREAM]) == STREAM


def page(action: Action, after: int, limit: int) -> dict[str, Any]:
    """Events in order and where the next page starts. Two queries."""
    found = read(action.pk, after, limit + 1)
    return {"items": found[:limit], "next": found[limit - 1]["seq"] if len(found) > limit else None}


def read(action_id: UUID, after: int, limit: int) -> list[dict[str, Any]]:
    """The events of an action beyond a seq, with the texts they commit to. Two queries."""
    rows = Event.objects.filter(subject_id=action_id, subject_kind="action", seq__gt=after).order_by("seq")[:limit]
    found = [_shown(bytes(body), bytes(hashed)) for body, hashed in rows.values_list("body", "hash")]
    texts = _texts(action_id, [event["seq"] for event in found])
    for event in found:
        event["private"] = texts.get(event["seq"], {})
    return found


def _shown(body: bytes, hashed: bytes) -> dict[str, Any]:
    envelope = json.loads(body)
    names = ("seq", "verb", "outcome", "actor", "correlation_id", "at", "facts", "artifacts")
    return {**{name: envelope[name] for name in names}, "hash": hashed.hex()}


def _texts(action_id: UUID, seqs: Sequence[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    if seqs:
        between = {"seq__gte": seqs[0], "seq__lte": seqs[-1]}
        kept = PrivateValue.objects.filter(subject_id=action_id, value__isnull=False, **between)
        for seq, name, value in kept.values_list("seq", "name", "value"):
            found.setdefault(seq, {})[name] = bytes(value or b"").decode()
    return found


async def told(standing: Standing, action: Action, after: int) -> AsyncIterator[bytes]:
    """
    The stream: what is known, then what happens, until it is long enough or the reader may no longer see it.

    Holds one batch at most, and no database connection between looks. Looks when it is woken, and every 5 s anyway.
    """
    sent, started = 0, time.monotonic()
    spoke, checked = started, 0.0
    yield sse.retry(RETRY_MS)
    async with listening(action.pk, action.environment_id, standing.principal_id) as ear:
        while (now := time.monotonic()) - started < LONGEST_S:
            if ear.roles_changed or now - checked >= RECHECK_S - SLACK_S:
                ear.roles_changed, checked = False, now
                if not await asking(standing.may_view)(action.environment_id):
                    return
            batch = await asking(read)(action.pk, after, BATCH)
            for event in batch:
                framed = sse.frame(json.dumps(event, ensure_ascii=False), id=event["seq"])
                if sent and sent + len(framed) > MOST_BYTES:
                    return
                yield framed
                sent, after, spoke = sent + len(framed), event["seq"], time.monotonic()
            if sent >= MOST_BYTES:
                return
            if time.monotonic() - spoke > HEARTBEAT_S:
                spoke = time.monotonic()
                yield sse.HEARTBEAT
            if len(batch) < BATCH:
                await asyncio.sleep(PAUSE_S)
                await ear.wait(min(RECHECK_S, started + LONGEST_S - time.monotonic()))
