"""From a draft of the rules to the action that would put it in force. Nothing is published here."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Status

from actions.api.caller import access_of, correlation_of
from actions.api.reads import shown
from actions.api.schemas import ActionOut, Body
from actions.intake.rules import proposal_for, propose_rules
from approvals.errors import NotInForce
from approvals.policies.permissions import find_policy

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
    return _proposed(request, "policy", draft_id, body, body.environment)


@router.post("/policies/{uuid:policy_id}/retire", response=MADE, summary="Propose to retire a policy")
def propose_retirement(request: HttpRequest, policy_id: UUID, body: ProposalIn) -> Status[Any]:
    """201 with the `config_change` that takes the published version out of force once it is approved."""
    policy = find_policy(access_of(request), policy_id)
    version = policy.versions.filter(state="published").first()
    if version is None:
        raise NotInForce(f"{policy.slug} is not in force, so there is nothing to retire.")
    return _proposed(request, "retire", version.pk, body, body.environment)


@router.post("/matrix/drafts/{uuid:draft_id}/propose", response=MADE, summary="Propose to publish a matrix")
def propose_matrix(request: HttpRequest, draft_id: UUID, body: WhyIn) -> Status[Any]:
    """201 with the `config_change`, which lands in the very environment, so that its own rules judge it."""
    return _proposed(request, "matrix", draft_id, body, "")


def _proposed(request: HttpRequest, kind: str, draft: UUID, why: WhyIn, environment: str) -> Status[Any]:
    access = access_of(request)
    proposal = proposal_for(access, kind, draft)
    made = propose_rules(
        access,
        proposal,
        environment=environment,
        reason=why.reason,
        ticket=why.ticket,
        correlation_id=correlation_of(request),
    )
    return Status(201, shown(request, made))
