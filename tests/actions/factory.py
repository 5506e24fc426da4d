"""Actions in any state, made without going through the lifecycle: only for tests of the lifecycle itself."""

from typing import Any

from django.db.models.functions import Now

# from actions.intake.submission import Submission
# from actions.intake.submit import submit
from actions.lifecycle import subject_of
from actions.models import Action, Lease
from audit.events import Entry, append

# from tenants.access import access_for


def an_action(cast: Any, state: str = "queued", **fields: Any) -> Action:
    """An action of acme/dev by the operator, with its first event."""
    defaults = {
        "tenant": cast.acme,
        "environment": cast.dev,
        "type": "modify_files",
        "title": "Change a file",
        "reason": "because",
        "requester": cast.operator,
        "security_level": "low",
        "risk_class": "guarded",
        "correlation_id": "c0ffee",
        "state": state,
        "held_reason": "operator" if state == "held" else "",
    }
    action = Action.objects.create(**{**defaults, **fields})
    action = Action.objects.get(pk=action.pk)
    entry = Entry(action.tenant_id, subject_of(action), "action.submitted", str(action.requester_id))
    append([entry], {}, action.created_at)
    return action


def a_running_lease(queue: str = "execute") -> Lease:
    from datetime import timedelta

    return Lease.objects.create(queue=queue, worker="test:1", expires_at=Now() + timedelta(seconds=60))


def propose(cast: Any, who: str = "operator", **fields: Any) -> Action:
    """Submit through the one way in, as a member of the cast."""
    principal = getattr(cast, who)
    access = access_for(principal, cast.acme)
    values = {"type": "modify_files", "environment": "dev", "reason": "a test", **fields}
    return submit(access, Submission(**values))[0]
