"""Propose: dry-run a submission, propose an ended action again, or propose a change of policy or matrix."""

from dataclasses import asdict, dataclass
from uuid import UUID

from actions.commands.stop_resume import moved_or_wrong_state
from actions.errors import BadSubmission
from actions.intake.submission import Submission
from actions.intake.submit import build_action, check_submission, submit
from actions.lifecycle.allowed import find_action
from actions.lifecycle.context import ActionContext, load_dependency_edges, target_of
from actions.lifecycle.prediction_accuracy import find_past_runs
from actions.models import Action
from actions.models.states import ENDED
from actions.preflight.plan import PlannedAction, make_plan
from actions.types.protocol import Issue, PlanRefused
from approvals.policies.active_policies import active_policies_for
from approvals.policies.matrix import matrix_for
from approvals.policies.permissions import find_matrix_draft, find_version
from approvals.policies.weights import weights_for
from audit.database.clock import database_time
from audit.errors import NotFound
from audit.log.events import ChainHead
from tenants.access import Access
from tenants.models import Resource


def dry_run(access: Access, submission: Submission) -> PlannedAction:
    """
    Return the plan, changes and verdict that a submission would get now.

    Reads the target; ten queries at most; writes nothing. Raises what `submit` raises, and BadSubmission where the
    executor refuses to plan.
    """
    environment, executor, _ = check_submission(access, submission)
    action = build_action(access, submission, environment, executor, "")
    tenant = environment.tenant_id
    known = {(r.kind, r.name): r for r in Resource.objects.filter(environment=environment)}
    context = ActionContext(
        action=action,
        executor=executor,
        target=target_of(action),
        head=ChainHead(0, b""),
        lease=0,
        matrix=matrix_for({tenant}).get(environment.pk, {}),
        resources=known,
        edges=load_dependency_edges({tenant}) if known else {},
        past=find_past_runs(environment.pk, action.type, action.target),
        weights=weights_for({tenant}).get(tenant, {}),
        rules=active_policies_for({tenant}).get(tenant, []),
        now=database_time(),
    )
    try:
        return make_plan(context, 1)
    except PlanRefused as refused:
        issues = [Issue(i.severity, i.message, f"parameters.{i.field}".rstrip(".")) for i in refused.issues]
        raise BadSubmission(issues=[asdict(i) for i in issues]) from refused


# From a draft policy or matrix to the `config_change` that publishes it, for pages and API.


@dataclass(frozen=True)
class PolicyProposal:
    """A proposable change. `environment` is where it must land; empty where the requester chooses."""

    kind: str
    draft: UUID
    title: str
    environment: str = ""


def find_policy_proposal(access: Access, kind: str, draft_id: UUID) -> PolicyProposal:
    """`kind`: policy or retire (of a version), or matrix (of a draft). Raises NotFound, also for another tenant's."""
    if kind == "matrix":
        draft = find_matrix_draft(access, draft_id)
        return PolicyProposal(kind, draft.pk, f"Replace the matrix of {draft.environment.slug}", draft.environment.slug)
    version = find_version(access, draft_id)
    if version.policy.home_id != access.tenant.pk:
        raise NotFound
    verb = {"policy": "Publish", "retire": "Retire"}[kind]
    return PolicyProposal(kind, version.pk, f"{verb} {version.policy.slug} v{version.version}")


def propose_policy_change(
    access: Access,
    proposal: PolicyProposal,
    *,
    environment: str,
    reason: str,
    ticket: str = "",
    correlation_id: str = "",
) -> Action:
    """Submit the change, in its own environment or else in `environment`. Raises what `submit` raises."""
    submission = Submission(
        type="config_change",
        environment=proposal.environment or environment,
        reason=reason,
        ticket=ticket,
        parameters={"kind": proposal.kind, "draft": str(proposal.draft)},
        title=proposal.title,
    )
    return submit(access, submission, correlation_id=correlation_id)[0]


def retry(access: Access, action_id: UUID, reason: str, *, mode: str = "", correlation_id: str = "") -> Action:
    """
    Propose an ended action again, as a linked new action.

    `mode`: apply or simulate, else as before; with apply, a simulated action runs for real.
    """
    action = find_action(access, action_id)
    if action.state not in ENDED:
        return moved_or_wrong_state(access, [], action, "retried", "Wait until the action has ended.")
    submission = resubmission_of(action, reason or action.reason)
    submission.mode = mode or submission.mode
    correlation = correlation_id or action.correlation_id
    made, _ = submit(access, submission, correlation_id=correlation, retry_of=action, undo_of=action.undo_of)
    return made


def resubmission_of(action: Action, reason: str) -> Submission:
    """The submission that would propose an action again: the form's prefill, and what `retry` submits."""
    return Submission(
        type=action.type,
        environment=action.environment.slug,
        parameters=action.parameters,
        reason=reason,
        title=action.title,
        target=action.target,
        checks=action.checks,
        ticket=action.ticket,
        rollback=action.rollback,
        watch=action.watch,
        recovery=action.recovery,
        external_url=action.external_url,
        security_level=action.security_level,
        confidence=action.confidence,
        priority=action.priority,
        timeout_s=action.timeout_s,
        mode="simulate" if action.simulated else "apply",
    )
