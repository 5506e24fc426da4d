"""The approvals inbox, and deciding several actions at once."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest, QueryDict
from ninja import Field, Query, Router, Schema

from actions.api.request_context import refuse_unknown_filters
from actions.api.schemas import PrincipalOut, RequestBody
from actions.commands.review import decide_many
from actions.queries.action_detail import serialize_principal
from actions.queries.inbox import Filters, InboxEntry, fetch_entries
from audit.web import correlation_of
from tenants.access import access_of

router = Router(tags=["approvals"])


class InboxFilters(Schema):
    tab: Literal["waiting", "asked", "decided"] = Field("waiting", description="For you; by you; decided by you.")
    environment: str = Field("", max_length=63, description="A slug.")
    tier: Literal["", "low", "medium", "high", "critical"] = ""
    q: str = Field("", max_length=200)
    after: str = Field("", max_length=500, description="The `next` of the page before.")


class YourDecision(Schema):
    approved: bool
    role: str
    at: datetime


class InboxRow(Schema):
    """One request; `bulk` says whether it may be decided together with others."""

    id: UUID
    title: str
    state: str
    environment: str
    tier: str
    requester: PrincipalOut
    digest: str
    changes: int
    required_approvals: list[dict[str, Any]]
    your_role: str
    approved_by: list[str]
    changes_requested: bool
    bulk: bool
    opened_at: datetime
    expires_at: datetime | None
    decision: YourDecision | None


class InboxPage(Schema):
    items: list[InboxRow]
    next: str | None = Field(..., description="Send it as `after` to get what follows; null at the end.")


class BulkItem(RequestBody):
    id: str = Field(..., max_length=64)
    digest: str = Field(..., max_length=64, description="Of the plan you looked at.")


class BulkIn(RequestBody):
    approved: bool = Field(..., strict=True)
    comment: str = Field("", max_length=4_000)
    items: list[BulkItem] = Field(..., min_length=1, max_length=100)


class BulkResult(Schema):
    id: str
    ok: bool
    state: str | None
    code: str | None
    detail: str | None
    remedies: list[str]


class BulkOut(Schema):
    results: list[BulkResult]


@router.get("/approvals", response=InboxPage, summary="The approvals inbox")
def read_inbox(request: HttpRequest, asked: Query[InboxFilters]) -> dict[str, Any]:
    """What awaits your decision, soonest expiry first; what you asked others for; what you decided in 30 days."""
    refuse_unknown_filters(request, InboxFilters)
    query = QueryDict(mutable=True)
    query.update({name: getattr(asked, name) for name in ("environment", "tier", "q")})
    entries, cursor, _ = fetch_entries(access_of(request), Filters.read(query, asked.tab), asked.after)
    return {"items": [_serialize_entry(entry) for entry in entries], "next": cursor or None}


@router.post("/approvals/bulk", response=BulkOut, summary="Decide several at once")
def decide_in_bulk(request: HttpRequest, body: BulkIn) -> dict[str, Any]:
    """Each is decided by itself, with its own event, and has its own result. Only below the tier your tenant set."""
    results = decide_many(
        access_of(request),
        [(it.id, it.digest) for it in body.items],
        approved=body.approved,
        comment=body.comment,
        correlation_id=correlation_of(request),
    )
    return {
        "results": [
            {
                "id": r.sent,
                "ok": r.problem is None,
                "state": r.action.state if r.action else None,
                "code": r.problem.code if r.problem else None,
                "detail": r.problem.detail if r.problem else None,
                "remedies": r.problem.remedies if r.problem else [],
            }
            for r in results
        ]
    }


def _serialize_entry(entry: InboxEntry) -> dict[str, Any]:
    row, action = entry.row, entry.row.action
    made = entry.decision
    return {
        "id": action.pk,
        "title": action.title,
        "state": action.state,
        "environment": action.environment.slug,
        "tier": action.tier,
        "requester": serialize_principal(action.requester),
        "digest": entry.digest,
        "changes": entry.changes,
        "required_approvals": row.request.required_approvals if row.request else [],
        "your_role": row.your_role,
        "approved_by": row.filled,
        "changes_requested": row.has_changes_requested,
        "bulk": entry.pick,
        "opened_at": entry.age,
        "expires_at": action.expires_at,
        "decision": {"approved": made.approved, "role": made.role, "at": made.at} if made else None,
    }
