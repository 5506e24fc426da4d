"""Plan views: which plan was shown to whom, when, and which changes they opened; stored with their decision.

This does not prove that somebody understood the plan. It shows whether they opened it before they approved.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import transaction

from approvals.models import PlanView, Request
from audit.database.clock import database_time
from tenants.access import Access

MAX_OPENED = 10_000  # changes remembered of one plan
MAX_PAUSE_S = 900  # a longer pause between two signs of reading does not count
SAME_VIEW_S = 5  # a page that is loaded again this soon is the same view


def record_view(
    request: Request | None, access: Access, digest: str, opened: Iterable[int] = (), total: int = 0
) -> None:
    """Record that the caller was shown the plan with `digest`, and these changes of it (from 1), while it is open.

    One row per request, principal and digest. One query if there is nothing new to record.
    """
    if request is None or request.state != Request.State.OPEN:
        return
    mine = PlanView.objects.filter(request=request, principal=access.principal.pk, digest=digest)
    now, seen = database_time(), set(opened)
    known = mine.first()
    if known and seen <= set(known.opened) and (now - known.last_shown_at).total_seconds() < SAME_VIEW_S:
        return
    with transaction.atomic():
        fresh = PlanView(
            request=request,
            principal_id=access.principal.pk,
            digest=digest,
            total=total,
            first_shown_at=now,
            last_shown_at=now,
        )
        if known is None:
            PlanView.objects.bulk_create([fresh], ignore_conflicts=True)
        row = mine.select_for_update().get()
        row.seconds += _reading_s(row, now)
        row.opened = sorted(seen.union(row.opened))[:MAX_OPENED]
        row.total, row.last_shown_at = max(total, row.total), max(now, row.last_shown_at)
        row.save(update_fields=["seconds", "opened", "total", "last_shown_at"])


def plan_view_facts(request: Request, principal: UUID, now: Any) -> dict[str, Any]:
    """The facts for a decision on the request's plan: {"shown_at": time or None, "digest", "changes_opened",
    "changes_total", "seconds"}. One query.
    """
    row = PlanView.objects.filter(request=request, principal=principal, digest=request.digest).first()
    if row is None:
        return {"shown_at": None, "digest": request.digest, "changes_opened": 0, "changes_total": 0, "seconds": 0}
    return {
        "shown_at": row.first_shown_at.isoformat(),
        "digest": row.digest,
        "changes_opened": len(row.opened),
        "changes_total": row.total,
        "seconds": row.seconds + _reading_s(row, now),
    }


def describe_plan_view(plan_view: dict[str, Any]) -> str:
    """For people: "did not open the plan", "opened 3 of 12 changes, 4 min"; empty if nothing was recorded."""
    if not plan_view:
        return ""
    if not plan_view["shown_at"]:
        return "did not open the plan"
    opened, total = plan_view["changes_opened"], plan_view["changes_total"]
    changes = f"opened {opened} of {total} changes" if total else "opened the plan"
    return f"{changes}, {_describe_span(plan_view['seconds'])}"


def _reading_s(row: PlanView, now: Any) -> int:
    gap = round((now - row.last_shown_at).total_seconds())
    return gap if 0 < gap <= MAX_PAUSE_S else 0


def _describe_span(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 3_600 else f"{seconds // 3_600} h {seconds % 3_600 // 60} min"
