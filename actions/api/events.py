"""An action's events, page by page or as an event stream (HTML Standard, 9.2.6), and its evidence."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from ninja import Query, Router, Status

from actions.api.request_context import parse_id
from actions.api.schemas import ActionEvents
from actions.lifecycle.allowed import find_action
from actions.lifecycle.commit import action_subject
from actions.live.connection_access import ConnectionAccess
from actions.live.news import database_async, subscribe
from actions.models import Action
from audit.evidence.api import (
    DOWNLOAD,
    EvidenceQuery,
    JobIn,
    JobOut,
    evidence_response,
    job_response,
    read_form,
    serialize_job,
)
from audit.evidence.jobs import find_job, request_pack
from audit.models import Event, PrivateValue
from audit.web import correlation_of, principal_id_of
from tenants.access import access_of

LINE_END = re.compile(r"\r\n|\r|\n")
HEARTBEAT = b": still here\n\n"


def retry_frame(milliseconds: int) -> bytes:
    """How long a client should wait before it reconnects."""
    return f"retry: {milliseconds}\n\n".encode()


def event_frame(data: str, *, id: int | None = None, event: str = "") -> bytes:
    """One event. A line end in the data starts another `data` line, so that any text survives, its line ends as LF."""
    lines = [f"id: {id}"] if id is not None else []
    if event:
        lines.append(f"event: {LINE_END.sub(' ', event)}")
    lines += [f"data: {line}" for line in LINE_END.split(data)]
    return ("\n".join(lines) + "\n\n").encode()


def last_event_id(header: str | None) -> int | None:
    """The seq that a reconnecting client saw last; None if the header is absent or not one of ours."""
    text = (header or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


# The events of an action: page by page, or as a stream that resumes.


router = Router(tags=["events"])
STREAM = "text/event-stream"
BATCH = 100
MAX_STREAM_S = 60.0
MAX_STREAM_BYTES = 256 * 1024
HEARTBEAT_S = 10.0
RECHECK_S = 5.0
"""How old an answer to "may they still see this?" may be when an event is sent."""
SLACK_S = 1.0
COALESCE_S = 0.05
"""Between two looks, so that a burst of commits is read in one."""
RETRY_MS = 1_000
STREAM_RESPONSE = {
    "responses": {
        200: {"content": {STREAM: {"schema": {"type": "string"}}}},
    }
}


@router.get(
    "/actions/{action_id}/events",
    response=ActionEvents,
    summary="What happened",
    openapi_extra=STREAM_RESPONSE,
)
async def read_events(
    request: HttpRequest,
    action_id: str,
    after: int = Query(0, ge=0, le=2**53 - 1, description="The seq of the last event that you have."),
    limit: int = Query(BATCH, ge=1, le=500),
) -> Any:
    """
    A page of events, or a stream of them where `Accept` asks for text/event-stream.

    A stream ends after 60 s or 256 KB; reconnect with the last id as `Last-Event-ID`. Nothing is lost or said twice.
    """
    action = await database_async(find_action)(access_of(request), action_id)
    if not wants_stream(request):
        return await database_async(events_page)(action, after, limit)
    resumed = last_event_id(request.headers.get("Last-Event-ID"))
    stream = stream_events(ConnectionAccess.of_request(request), action, after if resumed is None else resumed)
    response = StreamingHttpResponse(stream, content_type=STREAM)
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


def wants_stream(request: HttpRequest) -> bool:
    return request.get_preferred_type(["application/json", STREAM]) == STREAM


def events_page(action: Action, after: int, limit: int) -> dict[str, Any]:
    """Events in order and where the next page starts. Two queries."""
    found = fetch_events(action.pk, after, limit + 1)
    return {"items": found[:limit], "next": found[limit - 1]["seq"] if len(found) > limit else None}


def fetch_events(action_id: UUID, after: int, limit: int) -> list[dict[str, Any]]:
    """The events of an action beyond a seq, with the texts they commit to. Two queries."""
    rows = Event.objects.filter(subject_id=action_id, subject_kind="action", seq__gt=after).order_by("seq")[:limit]
    found = [_serialize_event(bytes(body), bytes(hashed)) for body, hashed in rows.values_list("body", "hash")]
    texts = _private_texts(action_id, [event["seq"] for event in found])
    for event in found:
        event["private"] = texts.get(event["seq"], {})
    return found


def _serialize_event(body: bytes, hashed: bytes) -> dict[str, Any]:
    envelope = json.loads(body)
    names = ("seq", "verb", "outcome", "actor", "correlation_id", "at", "facts", "artifacts")
    return {**{name: envelope[name] for name in names}, "hash": hashed.hex()}


def _private_texts(action_id: UUID, seqs: Sequence[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    if seqs:
        between = {"seq__gte": seqs[0], "seq__lte": seqs[-1]}
        kept = PrivateValue.objects.filter(subject_id=action_id, value__isnull=False, **between)
        for seq, name, value in kept.values_list("seq", "name", "value"):
            found.setdefault(seq, {})[name] = bytes(value or b"").decode()
    return found


async def stream_events(standing: ConnectionAccess, action: Action, after: int) -> AsyncIterator[bytes]:
    """
    The stream: what is known, then what happens, until it is long enough or the reader may no longer see it.

    Holds one batch at most, and no database connection between looks. Looks when it is woken, and every 5 s anyway.
    """
    sent, started = 0, time.monotonic()
    spoke, checked = started, 0.0
    yield retry_frame(RETRY_MS)
    async with subscribe(action.pk, action.environment_id, standing.principal_id) as subscription:
        while (now := time.monotonic()) - started < MAX_STREAM_S:
            if subscription.roles_changed or now - checked >= RECHECK_S - SLACK_S:
                subscription.roles_changed, checked = False, now
                if not await database_async(standing.may_view)(action.environment_id):
                    return
            batch = await database_async(fetch_events)(action.pk, after, BATCH)
            for event in batch:
                framed = event_frame(json.dumps(event, ensure_ascii=False), id=event["seq"])
                if sent and sent + len(framed) > MAX_STREAM_BYTES:
                    return
                yield framed
                sent, after, spoke = sent + len(framed), event["seq"], time.monotonic()
            if sent >= MAX_STREAM_BYTES:
                return
            if time.monotonic() - spoke > HEARTBEAT_S:
                spoke = time.monotonic()
                yield HEARTBEAT
            if len(batch) < BATCH:
                await asyncio.sleep(COALESCE_S)
                await subscription.wait(min(RECHECK_S, started + MAX_STREAM_S - time.monotonic()))


# Evidence: for everybody who may view the action. The audit log's own routes need `audit`.


evidence_router = Router(tags=["evidence"])


@evidence_router.get("/actions/{action_id}/evidence", summary="The evidence pack", openapi_extra=DOWNLOAD)
def download_evidence(request: HttpRequest, action_id: str, query: Query[EvidenceQuery]) -> HttpResponseBase:
    """Every event of the action and what they name, in one file that `python -m audit.verify` checks offline."""
    action = find_action(access_of(request), action_id)
    return evidence_response(
        request, action.tenant_id, action_subject(action), principal_id_of(request), _evidence_url(action.pk)
    )


@evidence_router.post(
    "/actions/{action_id}/evidence", response={202: JobOut}, summary="Have a pack built in the background"
)
def request_evidence(request: HttpRequest, action_id: str, wanted: JobIn) -> Status[dict[str, Any]]:
    action = find_action(access_of(request), action_id)
    form, correlation_id = read_form(wanted.form), correlation_of(request)
    job = request_pack(
        action.tenant_id, action_subject(action), wanted.audience, form, principal_id_of(request), correlation_id
    )
    return Status(202, serialize_job(job, _evidence_url(action.pk)))


@evidence_router.get("/actions/{action_id}/evidence/{job_id}", response=JobOut, summary="How far a pack is")
def read_evidence_job(request: HttpRequest, action_id: str, job_id: str) -> dict[str, Any]:
    action = find_action(access_of(request), action_id)
    return serialize_job(find_job(action.tenant_id, action.pk, parse_id(job_id)), _evidence_url(action.pk))


@evidence_router.get("/actions/{action_id}/evidence/{job_id}/file", summary="Download it", openapi_extra=DOWNLOAD)
def download_evidence_file(request: HttpRequest, action_id: str, job_id: str) -> HttpResponseBase:
    action = find_action(access_of(request), action_id)
    return job_response(request, find_job(action.tenant_id, action.pk, parse_id(job_id)))


def _evidence_url(action_id: UUID) -> str:
    return f"/api/actions/{action_id}/evidence"
