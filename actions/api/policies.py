"""Drafts of policies and matrix rows: create, evaluate, backtest, propose. Nothing is published here."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status

from actions.api.plan_schemas import ZonedTime
from actions.api.request_context import action_response, parse_id, refuse_unknown_filters
from actions.api.schemas import ActionOut, RequestBody
from actions.backtests import start
from actions.backtests.draft_rules import load_draft
from actions.backtests.evaluate import KINDS, backtest_action, describe_verdict, to_dict
from actions.backtests.start import backtest_status
from actions.commands.propose import find_policy_proposal, propose_policy_change
from actions.models.backtest import Backtest, BacktestDifference
from approvals.errors import NotInForce
from approvals.policies.api_schemas import RequiredApprovalOut
from approvals.policies.permissions import find_policy
from audit.errors import NotFound
from audit.web import correlation_of
from tenants.access import access_of

router = Router(tags=["policies"])
RETURNS_NEW_ACTION = {201: ActionOut}


class ProposalReasonIn(RequestBody):
    reason: str = Field("", description="Why: approvers and auditors read it.", json_schema_extra={"minLength": 1})
    ticket: str = Field("", json_schema_extra={"maxLength": 120})


class ProposalIn(ProposalReasonIn):
    environment: str = Field(..., description="Where the action lands: whose approvers decide on it.")


@router.post(
    "/policies/drafts/{uuid:draft_id}/propose", response=RETURNS_NEW_ACTION, summary="Propose to publish a version"
)
def propose_version(request: HttpRequest, draft_id: UUID, body: ProposalIn) -> Status[Any]:
    """A draft, or an earlier version: 201 with the `config_change` that puts it in force once it is approved."""
    return _propose(request, "policy", draft_id, body, body.environment)


@router.post("/policies/{uuid:policy_id}/retire", response=RETURNS_NEW_ACTION, summary="Propose to retire a policy")
def propose_retirement(request: HttpRequest, policy_id: UUID, body: ProposalIn) -> Status[Any]:
    """201 with the `config_change` that takes the published version out of force once it is approved."""
    policy = find_policy(access_of(request), policy_id)
    version = policy.versions.filter(state="published").first()
    if version is None:
        raise NotInForce(f"{policy.slug} is not in force, so there is nothing to retire.")
    return _propose(request, "retire", version.pk, body, body.environment)


@router.post(
    "/matrix/drafts/{uuid:draft_id}/propose", response=RETURNS_NEW_ACTION, summary="Propose to publish a matrix"
)
def propose_matrix(request: HttpRequest, draft_id: UUID, body: ProposalReasonIn) -> Status[Any]:
    """201 with the `config_change`, which runs in that environment, so its own rules evaluate it."""
    return _propose(request, "matrix", draft_id, body, "")


def _propose(request: HttpRequest, kind: str, draft: UUID, why: ProposalReasonIn, environment: str) -> Status[Any]:
    access = access_of(request)
    proposal = find_policy_proposal(access, kind, draft)
    made = propose_policy_change(
        access,
        proposal,
        environment=environment,
        reason=why.reason,
        ticket=why.ticket,
        correlation_id=correlation_of(request),
    )
    return Status(201, action_response(request, made))


# Evaluate a draft on one action; backtest it over a period.


backtests_router = Router(tags=["policies"])
MAX_ROWS = 200


class EvaluateIn(RequestBody):
    action: str = Field(..., description="The id of an action that you may view and that has an evaluated plan.")


class EvaluateVersionIn(EvaluateIn):
    retire: bool = Field(False, strict=True, description="Try what taking this version out of force would do.")


class PeriodIn(RequestBody):
    """Which actions: those created from `since` until `until`. By default, of the last 30 days."""

    since: ZonedTime | None = None
    until: ZonedTime | None = None


class VersionPeriodIn(PeriodIn):
    retire: bool = Field(False, strict=True, description="Test what taking this version out of force would do.")


class VerdictOut(Schema):
    """How an action goes: `words` say it in short."""

    outcome: Literal["deny", "require_approval", "allow"]
    tier: str
    required_approvals: list[RequiredApprovalOut]
    acceptance: bool
    words: str

    @staticmethod
    def resolve_words(said: Any) -> str:
        return describe_verdict(said)


class VerdictReasonOut(Schema):
    rule: str
    effect: str
    message: str


class VerdictWithReasonsOut(VerdictOut):
    reasons: list[VerdictReasonOut]


class EvaluatedPolicyOut(Schema):
    policy: str
    slug: str
    version: int
    effect: str
    mode: str
    value: bool | None
    error: str
    side: Literal["today", "then", "both"]


class FactReadOut(Schema):
    name: str
    value: Any
    what: str


class DraftEvaluationOut(Schema):
    """`went`: the verdict at the time. `today`: by the rules in force. `then`: by the rules with the draft."""

    kind: str
    draft: UUID
    title: str
    digest: str
    action: UUID
    now: datetime = Field(..., description="The time that the rules saw: when the plan was made.")
    went: VerdictOut
    today: VerdictWithReasonsOut
    then: VerdictWithReasonsOut
    otherwise: bool
    differences: list[str]
    policies: list[EvaluatedPolicyOut]
    read: list[FactReadOut] = Field(..., description="The facts that the draft's expression names, with their values.")


class BacktestOut(Schema):
    id: UUID
    kind: Literal["policy", "retire", "matrix"]
    draft: UUID
    title: str
    digest: str
    state: Literal["queued", "running", "finished", "cancelled"]
    since: datetime
    until: datetime
    total: int | None = Field(..., description="How many actions it looks at; null until they were counted.")
    done: int
    otherwise: int = Field(..., description="How many of them would have gone otherwise because of the draft.")
    counts: dict[str, Any] = Field(
        ...,
        description="`draft`: by kind of difference; `since`: those that go otherwise already, by rules that changed "
        "since; `applies`, `does_not_apply`, `errs`: what the draft's expression came to; `unjudged`: without facts.",
    )
    kept: int = Field(..., description="How many differences are listed at most, each because of which.")
    counts_for_publishing: bool = Field(..., description="Whether this draft may be proposed now, by its backtests.")
    words: str = Field(..., description="Whether it may, in words.")
    created_at: datetime | None
    finished_at: datetime | None


class DifferenceOut(Schema):
    id: int
    action: UUID
    title: str
    environment: str
    state: str
    kind: str
    words: str
    went: VerdictOut
    today: VerdictOut
    then: VerdictOut


class DifferenceList(Schema):
    items: list[DifferenceOut]
    next: int | None = Field(..., description="Send it as `after` for the following ones.")


class DifferenceQuery(Schema):
    because: Literal["draft", "since"] = "draft"
    kind: str = Field("", max_length=16)
    after: int = Field(0, ge=0, le=2**62)


@backtests_router.post(
    "/policies/drafts/{uuid:draft_id}/evaluate", response=DraftEvaluationOut, summary="Try a draft on an action"
)
def evaluate_version(request: HttpRequest, draft_id: UUID, body: EvaluateVersionIn) -> dict[str, Any]:
    """What today's rules say of its plan, what they would say with the draft, and what differs. Stores nothing."""
    return to_dict(backtest_action(access_of(request), _draft_kind(body.retire), draft_id, parse_id(body.action)))


@backtests_router.post(
    "/matrix/drafts/{uuid:draft_id}/evaluate", response=DraftEvaluationOut, summary="Try a matrix on an action"
)
def evaluate_matrix(request: HttpRequest, draft_id: UUID, body: EvaluateIn) -> dict[str, Any]:
    """What today's rules say of its plan, what they would say with the draft, and what differs. Stores nothing."""
    return to_dict(backtest_action(access_of(request), "matrix", draft_id, parse_id(body.action)))


@backtests_router.post(
    "/policies/drafts/{uuid:draft_id}/backtest", response={202: BacktestOut}, summary="Backtest a draft"
)
def backtest_version(request: HttpRequest, draft_id: UUID, body: VersionPeriodIn) -> Status[Any]:
    """Begin: 202. It goes on by itself; look with GET. A draft is published only after a backtest of its wording."""
    return _start_backtest(request, _draft_kind(body.retire), draft_id, body)


@backtests_router.post(
    "/matrix/drafts/{uuid:draft_id}/backtest", response={202: BacktestOut}, summary="Backtest a matrix"
)
def backtest_matrix(request: HttpRequest, draft_id: UUID, body: PeriodIn) -> Status[Any]:
    """Begin: 202. It looks at the actions of the matrix's environment, and goes on by itself; look with GET."""
    return _start_backtest(request, "matrix", draft_id, body)


@backtests_router.get(
    "/policies/drafts/{uuid:draft_id}/backtest", response=BacktestOut, summary="A draft's last backtest"
)
def read_version_backtest(request: HttpRequest, draft_id: UUID, retire: bool = False) -> dict[str, Any]:
    return _latest_backtest(request, _draft_kind(retire), draft_id)


@backtests_router.get(
    "/matrix/drafts/{uuid:draft_id}/backtest", response=BacktestOut, summary="A matrix's last backtest"
)
def read_matrix_backtest(request: HttpRequest, draft_id: UUID) -> dict[str, Any]:
    return _latest_backtest(request, "matrix", draft_id)


@backtests_router.get("/backtests/{uuid:backtest_id}", response=BacktestOut, summary="One backtest")
def read_backtest(request: HttpRequest, backtest_id: UUID) -> dict[str, Any]:
    return _serialize_backtest(start.find_backtest(access_of(request), backtest_id))


@backtests_router.get(
    "/backtests/{uuid:backtest_id}/differences", response=DifferenceList, summary="What would go otherwise"
)
def list_differences(request: HttpRequest, backtest_id: UUID, asked: Query[DifferenceQuery]) -> dict[str, Any]:
    """In order, 200 at a time; of the environments that you may view. It may still be under way."""
    refuse_unknown_filters(request, DifferenceQuery)
    access = access_of(request)
    found = start.find_backtest(access, backtest_id)
    rows = start.differences_of(access, found, asked.because, after=asked.after, kind=asked.kind)
    shown = list(rows[: MAX_ROWS + 1])
    more = len(shown) > MAX_ROWS
    return {
        "items": [_serialize_difference(d) for d in shown[:MAX_ROWS]],
        "next": shown[MAX_ROWS - 1].pk if more else None,
    }


@backtests_router.post("/backtests/{uuid:backtest_id}/cancel", response=BacktestOut, summary="Cancel a backtest")
def cancel_backtest(request: HttpRequest, backtest_id: UUID) -> dict[str, Any]:
    """Stop it for good. What it found so far stays to be looked at, but does not count for publishing."""
    done = start.cancel_backtest(access_of(request), backtest_id, correlation_id=correlation_of(request))
    return _serialize_backtest(done)


def _draft_kind(retire: bool) -> str:
    return "retire" if retire else "policy"


def _start_backtest(request: HttpRequest, kind: str, draft_id: UUID, body: PeriodIn) -> Status[Any]:
    made = start.start_backtest(
        access_of(request), kind, draft_id, since=body.since, until=body.until, correlation_id=correlation_of(request)
    )
    return Status(202, _serialize_backtest(Backtest.objects.get(pk=made.pk)))


def _latest_backtest(request: HttpRequest, kind: str, draft_id: UUID) -> dict[str, Any]:
    load_draft(access_of(request), kind, draft_id)
    found = start.latest_backtest(kind, draft_id)
    if found is None:
        raise NotFound("This draft was not backtested yet.")
    return _serialize_backtest(found)


def _serialize_backtest(it: Backtest) -> dict[str, Any]:
    fields = (
        "id",
        "kind",
        "draft",
        "title",
        "digest",
        "state",
        "since",
        "until",
        "total",
        "done",
        "counts",
        "created_at",
        "finished_at",
    )
    standing = backtest_status(it.kind, it.draft)
    return {
        **{name: getattr(it, name) for name in fields},
        "otherwise": it.otherwise,
        "kept": start.MAX_DIFFERENCES,
        "counts_for_publishing": standing.may,
        "words": standing.words,
    }


def _serialize_difference(it: BacktestDifference) -> dict[str, Any]:
    return {
        "id": it.pk,
        "action": it.action_id,
        "title": it.action.title,
        "environment": it.environment.slug,
        "state": it.state,
        "kind": it.kind,
        "words": KINDS.get(it.kind, it.kind),
        "went": it.went,
        "today": it.today,
        "then": it.then,
    }
