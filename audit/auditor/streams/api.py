"""Export streams over HTTP: the same as /audit/streams/."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from audit.auditor.streams import commands
from audit.web import may_reach_private_networks, tenant_to_administer, tenant_to_audit

router = Router(tags=["audit"])


class StreamIn(Schema):
    """A sink for events. `from_start`: send the whole log, not only new events."""

    model_config = {"extra": "forbid"}

    name: str = Field(max_length=64)
    kind: str = Field(description="webhook, file or syslog", max_length=8)
    address: str = Field("", max_length=500, description="URL; for syslog tls://, tcp:// or udp://host:port.")
    verbs: list[str] = Field([], max_length=20, description="Verb prefixes, such as `action.`; empty for all.")
    allow_private: bool = False
    from_start: bool = False


class StreamOut(Schema):
    """A stream and its state. `position`: the first log index that is not delivered yet."""

    id: UUID
    name: str
    kind: str
    address: str
    verbs: list[str]
    state: str
    position: int
    behind: int
    abandoned: int
    failures: int
    fault: str
    sent: int
    sent_at: datetime | None
    secret: str | None = Field(None, description="A webhook's secret. Shown once, when it is created.")


class StreamsOut(Schema):
    items: list[StreamOut]


class DoneOut(Schema):
    detail: str


@router.get("/streams", response=StreamsOut, summary="List export streams")
def streams(request: HttpRequest) -> dict[str, Any]:
    """The tenant's export streams, with their lag and the number of dead-letter events."""
    return {"items": [_serialize_stream(row) for row in commands.list_statuses(tenant_to_audit(request))]}


@router.post("/streams", response={201: StreamOut}, summary="Create a stream")
def create(request: HttpRequest, body: StreamIn) -> Status[dict[str, Any]]:
    """Send events in the log's order, at least once. A webhook's secret is shown only in this answer."""
    tenant, by = tenant_to_administer(request)
    stream, secret = commands.create(
        tenant,
        commands.StreamRequest(**body.dict()),
        by,
        may_reach_private_networks=may_reach_private_networks(request),
    )
    return Status(201, _serialize_stream(commands.StreamStatus(stream, 0, 0)) | {"secret": secret or None})


@router.post("/streams/{uuidstr:stream_id}/pause", response=DoneOut, summary="Pause a stream")
def pause(request: HttpRequest, stream_id: str) -> dict[str, str]:
    tenant, by = tenant_to_administer(request)
    return {"detail": commands.pause(tenant, UUID(stream_id), by)}


@router.post("/streams/{uuidstr:stream_id}/resume", response=DoneOut, summary="Resume a stream where it stopped")
def resume(request: HttpRequest, stream_id: str) -> dict[str, str]:
    tenant, by = tenant_to_administer(request)
    return {"detail": commands.resume(tenant, UUID(stream_id), by)}


@router.post("/streams/{uuidstr:stream_id}/resend", response=DoneOut, summary="Send dead letters again")
def resend(request: HttpRequest, stream_id: str) -> dict[str, str]:
    """503 if the receiver does not accept them. Nothing is lost; try again later."""
    tenant, by = tenant_to_administer(request)
    return {"detail": commands.resend(tenant, UUID(stream_id), by)}


@router.post("/streams/{uuidstr:stream_id}/renew-secret", response=StreamOut, summary="Replace the signing secret")
def renew_secret(request: HttpRequest, stream_id: str) -> dict[str, Any]:
    """Deliveries are signed with the new secret from now on. It is shown only in this answer."""
    tenant, by = tenant_to_administer(request)
    stream, secret = commands.renew_secret(tenant, UUID(stream_id), by)
    return _serialize_stream(commands.StreamStatus(stream, 0, 0)) | {"secret": secret}


@router.delete("/streams/{uuidstr:stream_id}", response=DoneOut, summary="Remove a stream")
def remove(request: HttpRequest, stream_id: str) -> dict[str, str]:
    """Events that were sent stay at the receiver."""
    tenant, by = tenant_to_administer(request)
    return {"detail": commands.remove(tenant, UUID(stream_id), by)}


def _serialize_stream(row: commands.StreamStatus) -> dict[str, Any]:
    stream = row.stream
    names = ("id", "name", "kind", "address", "verbs", "position", "failures", "fault", "sent", "sent_at")
    return {name: getattr(stream, name) for name in names} | {
        "state": row.state,
        "behind": row.behind,
        "abandoned": row.abandoned,
    }
