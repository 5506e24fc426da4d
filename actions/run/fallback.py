"""What was to be proposed in place of an action that failed: proposed once that has gone back, through the gate."""

from typing import Any

from actions.intake.falling_back import submission_for
from actions.intake.submit import submit
from actions.lifecycle import Note, note
from actions.models import Action
from actions.states import State
from audit.errors import Problem
from tenants.access import access_for

BY = "system:sweep"
BATCH = 20


def propose_due() -> int:
    """Propose the fallbacks that are due, each on behalf of who proposed the first; return how many.

    Harmless when run twice: the key of the submission gives the same action again. One that is refused by now (the
    requester's role, the type, the target) leaves an event on the first action that says why. One query where none is.
    """
    due = Action.objects.filter(fallback_due=True, state__in=(State.FAILED, State.ROLLED_BACK)).order_by("pk")
    joined = due.select_related("environment__tenant", "tenant", "requester__owner", "plan")
    return sum(_propose(action) for action in list(joined[:BATCH]))


def _propose(action: Action) -> bool:
    said: dict[str, Any] = (action.plan.recovery if action.plan else {}).get("fallback") or {}
    try:
        made, _ = submit(
            access_for(action.requester, action.tenant),
            submission_for(action.environment, said, action),
            idempotency_key=f"fallback of {action.pk}",
            correlation_id=action.correlation_id,
            fallback_of=action,
        )
    except Problem as problem:
        words = " ".join([problem.detail, *(i["message"] for i in problem.extra.get("issues", []))])[:2_000]
        refused = Note("action.fallback_refused", {"code": problem.code}, {"message": words}, outcome="failed")
        note(action, refused, by=BY, sets={"fallback_due": False})
        return False
    proposed = Note("action.fallback_proposed", {"action": str(made.pk), "type": made.type})
    return note(action, proposed, by=BY, sets={"fallback_due": False})
