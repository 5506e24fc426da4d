"""From a draft of the rules to the `config_change` that would put it in force: the one way for pages and API."""

from dataclasses import dataclass
from uuid import UUID

from actions.intake.submission import Submission
from actions.intake.submit import submit
from actions.models import Action
from approvals.policies.permissions import find_matrix_draft, find_version
from audit.errors import NotFound
from tenants.access import Access


@dataclass(frozen=True)
class Proposal:
    """What could be proposed. `environment` is where it must land; empty where the proposer may say."""

    kind: str
    draft: UUID
    title: str
    environment: str = ""


def proposal_for(access: Access, kind: str, draft_id: UUID) -> Proposal:
    """`kind`: policy or retire (of a version), or matrix (of a draft). Raises NotFound, also for another tenant's."""
    if kind == "matrix":
        draft = find_matrix_draft(access, draft_id)
        return Proposal(kind, draft.pk, f"Replace the matrix of {draft.environment.slug}", draft.environment.slug)
    version = find_version(access, draft_id)
    if version.policy.home_id != access.tenant.pk:
        raise NotFound
    verb = {"policy": "Publish", "retire": "Retire"}[kind]
    return Proposal(kind, version.pk, f"{verb} {version.policy.slug} v{version.version}")


def propose_rules(
    access: Access, proposal: Proposal, *, environment: str, reason: str, ticket: str = "", correlation_id: str = ""
) -> Action:
    """Submit it, where it must land or else in `environment`. Raises what `submit` raises."""
    submission = Submission(
        type="config_change",
        environment=proposal.environment or environment,
        reason=reason,
        ticket=ticket,
        parameters={"kind": proposal.kind, "draft": str(proposal.draft)},
        title=proposal.title,
    )
    return submit(access, submission, correlation_id=correlation_id)[0]
