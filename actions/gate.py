"""What a settled or reopened request means for its action; heard synchronously, inside the deciding transaction."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from actions.lifecycle import advance
from actions.models import Action
from approvals.errors import AlreadyStarted
from approvals.models import Request

MEANING = {"approved": "approve", "rejected": "reject"}


def on_settled(sender: Any, *, request: Request, outcome: str, by: str, at: datetime, **kwargs: Any) -> None:
    """Approve or reject the action of a request that just settled. Locks the action row, after the request's."""
    if request.subject_kind != "action" or outcome not in MEANING:
        return
    verb = MEANING[outcome]
    ttl_s = approval_life_s(request.subject_id, at) if verb == "approve" else None
    facts = {"request": str(request.pk), "digest": request.digest}
    moved = advance([request.subject_id], verb, by=by, facts=facts, ttl_s=ttl_s)
    if not moved:
        raise RuntimeError(f"request {request.pk} settled, but its action was not waiting for it")


def on_reopened(sender: Any, *, request: Request, by: str, correlation_id: str, ttl_s: int, **kwargs: Any) -> None:
    """Take an approved action back to its people. Raises AlreadyBegun if it is no longer waiting to start."""
    if request.subject_kind != "action":
        return
    facts = {
        "request": str(request.pk),
        "digest": request.digest,
        "because": "withdrawn",
        "required_approvals": request.required_approvals,
    }
    if not advance([request.subject_id], "reopen", by=by, facts=facts, ttl_s=ttl_s):
        raise AlreadyStarted(remedies=["Abort the run instead, if it is still going on."])


def approval_life_s(action_id: UUID, at: datetime) -> int:
    """How long an approval may be used: its usual life, counted from when the action may begin."""
    not_before = Action.objects.filter(pk=action_id).values_list("not_before", flat=True).first()
    wait_s = max(0, (not_before - at).total_seconds()) if not_before else 0
    return int(wait_s) + int(settings.INTERLOCK.approval_ttl_s)
