"""Why an action was judged as it was, for programs: what the page says, with the same words."""

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Field, Router, Schema

from actions.api.caller import access_of
from actions.verbs import find
from actions.why import why
from approvals.policies.api_schemas import RequiredApprovalOut

router = Router(tags=["plan"])


class RaiseOut(Schema):
    rule: str
    message: str


class FactorOut(Schema):
    name: str
    label: str
    why: str
    points: int
    max: int


class LowerOut(Schema):
    what: str
    score: int
    tier: str


class BlastOut(Schema):
    score: int
    tier: str
    factors: list[FactorOut] = Field(..., description="Most points first.")
    lower: list[LowerOut] = Field(..., description="What would lower the tier.")


class RulingOut(Schema):
    """One policy that was asked. `applies`: it was true, and had its own effect."""

    id: str | None
    slug: str
    version: int
    effect: str
    mode: Literal["enforce", "shadow"]
    required_approvals: list[RequiredApprovalOut]
    ruling: Literal["true", "false", "error"]
    error: str
    applies: bool
    denies: bool
    words: str
    message: str
    expression: str
    is_global: bool
    overridable: bool
    is_in_force: bool = Field(..., description="Whether this very version is in force now.")


class FilledOut(Schema):
    name: str
    at: datetime


class WhyRequiredApprovalOut(RequiredApprovalOut):
    because: str
    by: list[FilledOut]
    open: int


class MomentOut(Schema):
    seq: int = Field(..., description="Of the event on the action that says so.")
    at: datetime
    when: Literal["preflight", "start", "checkpoint"]
    what: str
    by: str
    facts_sha256: str | None


class JudgedPlanOut(Schema):
    version: int
    digest: str
    at: datetime


class JudgedFactOut(Schema):
    name: str
    kind: str
    what: str
    value: Any


class WhyOut(Schema):
    """The judgement of an action: read from what was stored when it was judged."""

    sentence: str
    next: str = Field(..., description="What can be done now; empty where nothing needs doing.")
    outcome: Literal["deny", "require_approval", "allow"] | None
    tier: str | None
    raises: list[RaiseOut] = Field(..., description="What made the tier, in order.")
    blast: BlastOut | None
    policies: list[RulingOut] = Field(..., description="In the order of evaluation.")
    required_approvals: list[WhyRequiredApprovalOut]
    acceptance: bool
    moments: list[MomentOut] = Field(..., description="When it was judged, in order.")
    plan: JudgedPlanOut | None
    facts_sha256: str | None
    facts: list[JudgedFactOut] = Field(..., description="What policies read, by the names they read it by.")


@router.get("/actions/{action_id}/why", response=WhyOut, summary="Why it was judged so")
def read_why(request: HttpRequest, action_id: str) -> dict[str, Any]:
    """The verdict in one sentence, what raised the tier, each factor, policy and required approval, and when it was
    judged.
    """
    return why(find(access_of(request), action_id))
