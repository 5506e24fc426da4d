"""Drafts of the rules tried before they are trusted, over HTTP: on one action, and on all of a period."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status

from actions.api.caller import access_of, correlation_of, id_of, refuse_unknown
from actions.api.moments import Moment
from actions.api.schemas import Body
from actions.models.backtest import Backtest, BacktestDifference
from actions.rehearsal import backtests, gate
from actions.rehearsal.candidate import candidate_for
from actions.rehearsal.compare import KINDS, in_words
from actions.rehearsal.gate import standing_of
from actions.rehearsal.rehearse import as_dict, rehearse
from approvals.policies.api_schemas import RequiredApprovalOut
from audit.errors import NotFound

router = Router(tags=["policies"])
MOST_ROWS = 200


class RehearsalIn(Body):
    action: str = Field(..., description="The id of an action that you may view and that has a judged plan.")


class VersionRehearsalIn(RehearsalIn):
    retire: bool = Field(False, strict=True, description="Try what taking this version out of force would do.")


class PeriodIn(Body):
    """Which actions: those created from `since` until `until`. By default, of the last 30 days."""

    since: Moment | None = None
    until: Moment | None = None


class VersionPeriodIn(PeriodIn):
    retire: bool = Field(False, strict=True, description="Test what taking this version out of force would do.")


class SaidOut(Schema):
    """How an action goes: `words` say it in short."""

    outcome: Literal["deny", "require_approval", "allow"]
    tier: str
    required_approvals: list[RequiredApprovalOut]
    acceptance: bool
    words: str

    @staticmethod
    def resolve_words(said: Any) -> str:
        return in_words(said)


class ReasonOut(Schema):
    rule: str
    effect: str
    message: str


class JudgedOut(SaidOut):
    reasons: list[ReasonOut]


class AskedOut(Schema):
    policy: str
    slug: str
    version: int
    effect: str
    mode: str
    value: bool | None
    error: str
    side: Literal["today", "then", "both"]


class ReadOut(Schema):
    name: str
    value: Any
    what: str


class RehearsalOut(Schema):
    """`went`: as it was judged at the time. `today`: by the rules of now. `then`: by those with the draft."""

    kind: str
    draft: UUID
    title: str
    digest: str
    action: UUID
    now: datetime = Field(..., description="The time that the rules saw: when the plan was made.")
    went: SaidOut
    today: JudgedOut
    then: JudgedOut
    otherwise: bool
    differences: list[str]
    policies: list[AskedOut]
    read: list[ReadOut] = Field(..., description="The facts that the draft's expression names, with their values.")


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
    went: SaidOut
    today: SaidOut
    then: SaidOut


class DifferenceList(Schema):
    items: list[DifferenceOut]
    next: int | None = Field(..., description="Send it as `after` for the following ones.")


class DifferenceQuery(Schema):
    because: Literal["draft", "since"] = "draft"
    kind: str = Field("", max_length=16)
    after: int = Field(0, ge=0, le=2**62)


@router.post("/policies/drafts/{uuid:draft_id}/rehearse", response=RehearsalOut, summary="Try a draft on an action")
def rehearse_version(request: HttpRequest, draft_id: UUID, body: VersionRehearsalIn) -> dict[str, Any]:
    """What today's rules say of its plan, what they would say with the draft, and what differs. Stores nothing."""
    return as_dict(rehearse(access_of(request), _kind(body.retire), draft_id, id_of(body.action)))


@router.post("/matrix/drafts/{uuid:draft_id}/rehearse", response=RehearsalOut, summary="Try a matrix on an action")
def rehearse_matrix(request: HttpRequest, draft_id: UUID, body: RehearsalIn) -> dict[str, Any]:
    """What today's rules say of its plan, what they would say with the draft, and what differs. Stores nothing."""
    return as_dict(rehearse(access_of(request), "matrix", draft_id, id_of(body.action)))


@router.post("/policies/drafts/{uuid:draft_id}/backtest", response={202: BacktestOut}, summary="Backtest a draft")
def backtest_version(request: HttpRequest, draft_id: UUID, body: VersionPeriodIn) -> Status[Any]:
    """Begin: 202. It goes on by itself; look with GET. A draft is published only after a backtest of its wording."""
    return _started(request, _kind(body.retire), draft_id, body)


@router.post("/matrix/drafts/{uuid:draft_id}/backtest", response={202: BacktestOut}, summary="Backtest a matrix")
def backtest_matrix(request: HttpRequest, draft_id: UUID, body: PeriodIn) -> Status[Any]:
    """Begin: 202. It looks at the actions of the matrix's environment, and goes on by itself; look with GET."""
    return _started(request, "matrix", draft_id, body)


@router.get("/policies/drafts/{uuid:draft_id}/backtest", response=BacktestOut, summary="A draft's last backtest")
def read_version_backtest(request: HttpRequest, draft_id: UUID, retire: bool = False) -> dict[str, Any]:
    return _latest(request, _kind(retire), draft_id)


@router.get("/matrix/drafts/{uuid:draft_id}/backtest", response=BacktestOut, summary="A matrix's last backtest")
def read_matrix_backtest(request: HttpRequest, draft_id: UUID) -> dict[str, Any]:
    return _latest(request, "matrix", draft_id)


@router.get("/backtests/{uuid:backtest_id}", response=BacktestOut, summary="One backtest")
def read_backtest(request: HttpRequest, backtest_id: UUID) -> dict[str, Any]:
    return _shown(backtests.find_backtest(access_of(request), backtest_id))


@router.get("/backtests/{uuid:backtest_id}/differences", response=DifferenceList, summary="What would go otherwise")
def list_differences(request: HttpRequest, backtest_id: UUID, asked: Query[DifferenceQuery]) -> dict[str, Any]:
    """In order, 200 at a time; of the environments that you may view. It may still be under way."""
    refuse_unknown(request, DifferenceQuery)
    access = access_of(request)
    found = backtests.find_backtest(access, backtest_id)
    rows = backtests.differences_of(access, found, asked.because, after=asked.after, kind=asked.kind)
    shown = list(rows[: MOST_ROWS + 1])
    more = len(shown) > MOST_ROWS
    return {"items": [_difference(d) for d in shown[:MOST_ROWS]], "next": shown[MOST_ROWS - 1].pk if more else None}


@router.post("/backtests/{uuid:backtest_id}/cancel", response=BacktestOut, summary="Cancel a backtest")
def cancel_backtest(request: HttpRequest, backtest_id: UUID) -> dict[str, Any]:
    """Stop it for good. What it found so far stays to be looked at, but does not count for publishing."""
    done = backtests.cancel(access_of(request), backtest_id, correlation_id=correlation_of(request))
    return _shown(done)


def _kind(retire: bool) -> str:
    return "retire" if retire else "policy"


def _started(request: HttpRequest, kind: str, draft_id: UUID, body: PeriodIn) -> Status[Any]:
    made = backtests.start(
        access_of(request), kind, draft_id, since=body.since, until=body.until, correlation_id=correlation_of(request)
    )
    return Status(202, _shown(Backtest.objects.get(pk=made.pk)))


def _latest(request: HttpRequest, kind: str, draft_id: UUID) -> dict[str, Any]:
    candidate_for(access_of(request), kind, draft_id)
    found = gate.latest(kind, draft_id)
    if found is None:
        raise NotFound("This draft was not backtested yet.")
    return _shown(found)


def _shown(it: Backtest) -> dict[str, Any]:
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
    standing = standing_of(it.kind, it.draft)
    return {
        **{name: getattr(it, name) for name in fields},
        "otherwise": it.otherwise,
        "kept": backtests.MOST_DIFFERENCES,
        "counts_for_publishing": standing.may,
        "words": standing.words,
    }


def _difference(it: BacktestDifference) -> dict[str, Any]:
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
