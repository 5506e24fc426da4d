"""From a draft of the rules to the action that would put it in force. Nothing is published here."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Status

from actions.api.caller import access_of, correlation_of
from actions.api.reads import shown
from actions.api.schemas import ActionOut, Body
from actions.intake.submission import Submission
from actions.intake.submit import submit
from approvals.errors import NotADraft
from approvals.models import PolicyVersion
from approvals.policies.rulers import find_matrix_draft, find_policy, find_version
from audit.errors import NotFound
from tenants.access import Access

router = Router(tags=["policies"])
MADE = {201: ActionOut}


class WhyIn(Body):
    reason: str = Field("", description="Why: approvers and auditors read it.", json_schema_extra={"minLength": 1})
    ticket: str = Field("", json_schema_extra={"maxLength": 120})


class ProposalIn(WhyIn):
    environment: str = Field(..., description="Where the action lands: whose approvers decide on it.")


@router.post("/policies/drafts/{uuid:draft_id}/propose", response=MADE, summary="Propose to publish a version")
def propose_version(request: HttpRequest, draft_id: UUID, body: ProposalIn) -> Status[Any]:
    """A draft, or an earlier version: 201 with the `config_change` that puts it in force once it is approved."""
    access = access_of(request)
    version = _kept_here(access, find_version(access, draft_id))
    title = f"Publish {version.policy.slug} v{version.version}"
    return _proposed(request, access, "policy", version.pk, title, body, body.environment)


@router.post("/policies/{uuid:policy_id}/retire", response=MADE, summary="Propose to retire a policy")
def propose_retirement(request: HttpRequest, policy_id: UUID, body: ProposalIn) -> Status[Any]:
    """201 with the `config_change` that takes the published version out of force once it is approved."""
    access = access_of(request)
    policy = find_policy(access, policy_id)
    version = policy.versions.select_related("policy").filter(state="published").first()
    if version is None:
        raise NotADraft(f"{policy.slug} is not in force, so there is nothing to retire.")
    title = f"Retire {policy.slug} v{version.version}"
    return _proposed(request, access, "retire", _kept_here(access, version).pk, title, body, body.environment)


@router.post("/matrix/drafts/{uuid:draft_id}/propose", response=MADE, summary="Propose to publish a matrix")
def propose_matrix(request: HttpRequest, draft_id: UUID, body: WhyIn) -> Status[Any]:
    """201 with the `config_change`, which lands in the very environment, so that its own rules judge it."""
    access = access_of(request)
    draft = find_matrix_draft(access, draft_id)
    title = f"Replace the matrix of {draft.environment.slug}"
    return _proposed(request, access, "matrix", draft.pk, title, body, draft.environment.slug)


def _kept_here(access: Access, version: PolicyVersion) -> PolicyVersion:
    if version.policy.home_id != access.tenant.pk:
        raise NotFound
    return version


def _proposed(
    request: HttpRequest, access: Access, kind: str, draft: UUID, title: str, why: WhyIn, environment: str
) -> Status[Any]:
    submission = Submission(
        type="config_change", environment=environment, parameters={"kind": kind, "draft": str(draft)},
        reason=why.reason, ticket=why.ticket, title=title,
    )  # fmt: skip
    action, _ = submit(access, submission, correlation_id=correlation_of(request))
    return Status(201, shown(request, action))
