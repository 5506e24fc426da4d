"""A dry run before anything is proposed: the same admission, plan and judgement as the gate, and nothing stored."""

from dataclasses import asdict

from actions.case import Case, target_of
from actions.errors import BadSubmission
from actions.impact import past_like
from actions.intake.submission import Submission
from actions.intake.submit import action_of, admit
from actions.preflight.planning import Rehearsal, rehearse
from actions.surroundings import edges_in
from actions.types.protocol import Issue, PlanRefused
from approvals.policies.active_policies import active_policies_for
from approvals.policies.matrix import matrix_for
from approvals.policies.weights import weights_for
from audit.database.clock import database_time
from audit.log.events import ChainHead
from tenants.access import Access
from tenants.models import Resource


def preview(access: Access, submission: Submission) -> Rehearsal:
    """
    Return the plan, changes and verdict that a submission would get now.

    Reads the target; ten queries at most; writes nothing. Raises what `submit` raises, and BadSubmission where the
    executor refuses to plan.
    """
    environment, executor, _ = admit(access, submission)
    action = action_of(access, submission, environment, executor, "")
    tenant = environment.tenant_id
    known = {(r.kind, r.name): r for r in Resource.objects.filter(environment=environment)}
    case = Case(
        action=action,
        executor=executor,
        target=target_of(action),
        head=ChainHead(0, b""),
        lease=0,
        matrix=matrix_for({tenant}).get(environment.pk, {}),
        resources=known,
        edges=edges_in({tenant}) if known else {},
        past=past_like(environment.pk, action.type, action.target),
        weights=weights_for({tenant}).get(tenant, {}),
        rules=active_policies_for({tenant}).get(tenant, []),
        now=database_time(),
    )
    try:
        return rehearse(case, 1)
    except PlanRefused as refused:
        issues = [Issue(i.severity, i.message, f"parameters.{i.field}".rstrip(".")) for i in refused.issues]
        raise BadSubmission(issues=[asdict(i) for i in issues]) from refused
