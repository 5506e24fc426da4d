"""Open and close requests for many subjects at once. Every closing is one guarded UPDATE … RETURNING.

Notifications of a closing are stored with it: six statements more, however many are closed. A transaction that also
changes the subjects closes their requests first: the lock order everywhere is request, subject.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from approvals.models import Request
from approvals.notifications.enqueue import enqueue_closed
from approvals.verdict import Verdict
from audit.log.events import Subject
from tenants.models import Principal

REQUEST_COLUMNS = (
    "id",
    "tenant_id",
    "environment_id",
    "subject_kind",
    "subject_id",
    "kind",
    "digest",
    "required_approvals",
    "requester_id",
    "excluded",
    "state",
    "opened_at",
    "expires_at",
    "closed_at",
)


class Closed(NamedTuple):
    """A request just closed without a decision, for the caller that changes its subject in the same transaction."""

    request_id: UUID
    tenant_id: UUID
    subject_kind: str
    subject_id: UUID
    kind: str


def draft_request(
    *,
    tenant_id: UUID,
    environment_id: UUID,
    subject: Subject,
    digest: str,
    verdict: Verdict,
    requester: Principal | UUID,
    excluded: Iterable[UUID | str],
    at: datetime,
    ttl_s: float,
) -> Request:
    """An unsaved, open request for what the verdict requires. Raises ValueError if it requires nothing.

    `excluded` is the requester's delegation chain; the requester is added. Insert with
    `request.save(force_insert=True)`, or many with `insert_rows(Request, REQUEST_COLUMNS, [request_row(r) for r in
    requests])`, after voiding the subjects' open ones.
    """
    if verdict.outcome != "require_approval" or not (verdict.required_approvals or verdict.acceptance):
        raise ValueError(f"A verdict of {verdict.outcome} needs no request.")
    requester_id = requester if isinstance(requester, UUID) else requester.id
    return Request(
        tenant_id=tenant_id,
        environment_id=environment_id,
        subject_kind=subject.kind,
        subject_id=subject.id,
        digest=digest,
        kind=Request.Kind.APPROVAL if verdict.required_approvals else Request.Kind.ACCEPTANCE,
        required_approvals=verdict.required_approvals,
        requester_id=requester_id,
        excluded=sorted({str(requester_id), *map(str, excluded)}),
        state=Request.State.OPEN,
        opened_at=at,
        expires_at=at + timedelta(seconds=ttl_s),
    )


def request_row(request: Request) -> tuple[Any, ...]:
    """The values of REQUEST_COLUMNS, as `audit.database.statements.insert_rows` takes them."""
    return tuple(
        str(value) if name in ("kind", "state") else value
        for name in REQUEST_COLUMNS
        for value in [getattr(request, name)]
    )


def void_open(subject_ids: Iterable[UUID]) -> list[Closed]:
    """Void the open requests of these subjects: their plan changed."""
    return _close(Request.State.VOID, f"state = 'open' AND subject_id {_in_ids()}", [_ids(subject_ids)])


def cancel_open(subject_ids: Iterable[UUID]) -> list[Closed]:
    """Cancel the open requests of these subjects: they were withdrawn."""
    return _close(Request.State.CANCELLED, f"state = 'open' AND subject_id {_in_ids()}", [_ids(subject_ids)])


def expire_due(limit: int) -> list[Closed]:
    """Expire up to `limit` open requests past their deadline by the database's clock, the longest overdue first.

    Skips those that are being decided at this moment; a later sweep finds them.
    """
    due = (
        f"SELECT id FROM approvals_request WHERE state = 'open' AND expires_at <= {_now()} ORDER BY expires_at LIMIT %s"
    )
    among = f"= ANY(ARRAY({due} FOR UPDATE SKIP LOCKED))" if connection.vendor == "postgresql" else f"IN ({due})"
    return _close(Request.State.EXPIRED, f"state = 'open' AND id {among}", [limit])


def _close(state: Request.State, where: str, parameters: list[Any]) -> list[Closed]:
    statement = f"""UPDATE approvals_request SET state = %s, closed_at = {_now()} WHERE {where}
                    RETURNING id, tenant_id, subject_kind, subject_id, kind"""
    with connection.cursor() as cursor:
        cursor.execute(statement, [state.value, *parameters])
        closed = [Closed(_uuid(row[0]), _uuid(row[1]), row[2], _uuid(row[3]), row[4]) for row in cursor.fetchall()]
    approvals = [each.request_id for each in closed if each.kind == Request.Kind.APPROVAL]
    if approvals:
        enqueue_closed(approvals)
    return closed


def _now() -> str:
    """The database's clock in SQL. SQLite stores times as text: they compare only in the format that Django writes."""
    if connection.vendor == "postgresql":
        return "statement_timestamp()"
    return "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')"


def _in_ids() -> str:
    return "= ANY(%s)" if connection.vendor == "postgresql" else "IN (SELECT value FROM json_each(%s))"


def _ids(ids: Iterable[UUID]) -> list[UUID] | str:
    return list(ids) if connection.vendor == "postgresql" else json.dumps([subject_id.hex for subject_id in ids])


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)
