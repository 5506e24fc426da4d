"""Actions in any state, made without going through the lifecycle, and actions proposed as people would."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db.models.functions import Now

from actions.intake.submission import Submission
from actions.intake.submit import submit
from actions.lifecycle.commit import action_subject
from actions.models import Action, Lease
from approvals.blast.score import LEVELS
from approvals.models import MatrixRow
from audit.log.events import NewEvent, append_events
from tenants.models import Environment
from tests.cast import Cast


def an_action(cast: Cast, state: str = "queued", **fields: Any) -> Action:
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
    entry = NewEvent(action.tenant_id, action_subject(action), "action.submitted", str(action.requester_id))
    append_events([entry], {}, action.created_at)
    return action


def with_rules(cast: Cast) -> Cast:
    """Give every environment a matrix row per tier: nobody in dev and staging, two approvers in prod."""
    for environment in (cast.dev, cast.staging, cast.prod, cast.globex_prod):
        environment.settings = {"allow_private_targets": True}
        environment.save()
        required_approvals = [{"role": "approver", "count": 2}] if environment.slug == "prod" else []
        for tier in LEVELS:
            MatrixRow.objects.create(
                tenant_id=environment.tenant_id,
                environment=environment,
                tier=tier,
                required_approvals=required_approvals,
            )
    return cast


def root_of(environment: Environment) -> Path:
    return Path(environment.root)


def a_running_lease(queue: str = "execute") -> Lease:
    return Lease.objects.create(queue=queue, worker="test:1", expires_at=Now() + timedelta(seconds=60))


def propose(cast: Cast, who: str = "operator", **fields: Any) -> Action:
    """Submit through the one way in, as a member of the cast."""
    values = {"type": "modify_files", "environment": "dev", "reason": "a test", **fields}
    return submit(cast.access(who), Submission(**values))[0]


def edit(name: str = "app.conf", content: str = "after\n", operation: str = "modify") -> dict[str, Any]:
    """Parameters of modify_files for one file."""
    change = {"path": name, "operation": operation}
    return {"changes": [change if operation == "delete" else {**change, "content": content}]}
