"""What a settled request means for its action; heard synchronously, inside the deciding transaction."""

from typing import Any

from django.conf import settings

from actions.lifecycle import advance
from approvals.models import Request

MEANING = {"approved": "approve", "rejected": "reject"}


def on_settled(sender: Any, *, request: Request, outcome: str, by: str, **kwargs: Any) -> None:
    """Approve or reject the action of a request that just settled. Locks the action row, after the request's."""
    if request.subject_kind != "action" or outcome not in MEANING:
        return
    verb = MEANING[outcome]
    ttl_s = settings.INTERLOCK.approval_ttl_s if verb == "approve" else None
    facts = {"request": str(request.pk), "digest": request.digest}
    moved = advance([request.subject_id], verb, by=by, facts=facts, ttl_s=ttl_s)
    if not moved:
        raise RuntimeError(f"request {request.pk} settled, but its action was not waiting for it")
