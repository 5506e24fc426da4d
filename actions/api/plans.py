"""An action's plan, its changes page by page, the logs of its steps, and the explanation of its verdict."""

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema

from actions.api.plan_schemas import LogPage
from actions.api.schemas import ChangePage
from actions.commands.review import record_view
from actions.lifecycle.allowed import find_action
from actions.models import Action, Plan
from actions.preflight.summary import as_markdown, as_yaml
from actions.queries.explain import explain
from actions.queries.run_view import Cursor, read_part
from approvals.policies.api_schemas import RequiredApprovalOut
from audit.changes.document import Change, parse_changes, text_diff
from audit.errors import Conflict, NotFound, Unavailable
from audit.log.artifacts import ArtifactMissing, read_artifact
from tenants.access import access_of

router = Router(tags=["plan"])
FORMATS = {"json": "application/json", "md": "text/markdown; charset=utf-8", "yaml": "application/yaml"}
FORMAT_BY_MEDIA_TYPE = {
    "text/markdown": "md",
    "application/yaml": "yaml",
    "text/yaml": "yaml",
    "application/x-yaml": "yaml",
}
LOG_PAGE_SIZE = 20
PLAN_CONTENT = {
    "json": {"schema": {"type": "object"}},
    "md": {"schema": {"type": "string"}},
    "yaml": {"schema": {"type": "object"}},
}


class NoPlan(Conflict):
    """This action has no plan yet."""

    code = "no_plan"


def _openapi_content(*names: str) -> dict[str, Any]:
    """What OpenAPI says about an answer that is not an object of ours."""
    content = {FORMATS[name].split(";")[0]: PLAN_CONTENT[name] for name in names}
    return {"responses": {200: {"description": "The plan", "content": content}}}


@router.get("/actions/{action_id}/plan", summary="The plan", openapi_extra=_openapi_content("json", "md", "yaml"))
def read_plan(request: HttpRequest, action_id: str, version: int = Query(0, ge=0, le=32_767)) -> HttpResponse:
    """The machine plan; as Markdown or YAML with diffs for people, where `Accept` asks for that."""
    wanted = request.get_preferred_type(["application/json", *FORMAT_BY_MEDIA_TYPE]) or ""
    return plan_response(request, action_id, FORMAT_BY_MEDIA_TYPE.get(wanted, "json"), version)


@router.get("/actions/{action_id}/plan.json", summary="The plan for machines", openapi_extra=_openapi_content("json"))
def plan_json(request: HttpRequest, action_id: str, version: int = Query(0, ge=0, le=32_767)) -> HttpResponse:
    """The machine plan: exactly the bytes that the evidence pack holds."""
    return plan_response(request, action_id, "json", version)


@router.get("/actions/{action_id}/plan.md", summary="The plan for people", openapi_extra=_openapi_content("md"))
def plan_md(request: HttpRequest, action_id: str, version: int = Query(0, ge=0, le=32_767)) -> HttpResponse:
    """The human summary in Markdown, with every diff."""
    return plan_response(request, action_id, "md", version)


@router.get(
    "/actions/{action_id}/plan.yaml", summary="The plan for people, as YAML", openapi_extra=_openapi_content("yaml")
)
def plan_yaml(request: HttpRequest, action_id: str, version: int = Query(0, ge=0, le=32_767)) -> HttpResponse:
    """The human summary in YAML."""
    return plan_response(request, action_id, "yaml", version)


def plan_response(request: HttpRequest, action_id: str, form: str, version: int) -> HttpResponse:
    access = access_of(request)
    action = find_action(access, action_id)
    found = find_plan(action, version)
    total = found.counts.get("changes", 0)
    if form == "json":
        body: bytes | str = read_document(action, found.document)
        record_view(access, action, found, total=total)
    else:
        body = {"md": as_markdown, "yaml": as_yaml}[form](action, found, load_changes(action, found))
        record_view(access, action, found, range(1, total + 1), total)
    response = HttpResponse(body, content_type=FORMATS[form])
    response["X-Plan-Digest"] = found.digest
    response["Vary"] = "Accept, Authorization, Cookie"
    return response


@router.get("/actions/{action_id}/changes", response=ChangePage, summary="What would change")
def list_changes(
    request: HttpRequest,
    action_id: str,
    after: int = Query(0, ge=0, le=2**31 - 1),
    limit: int = Query(20, ge=1, le=100),
    version: int = Query(0, ge=0, le=32_767),
) -> dict[str, Any]:
    """Before and after, masked, with a unified diff; page by page."""
    access = access_of(request)
    action = find_action(access, action_id)
    found = find_plan(action, version)
    everything = load_changes(action, found)
    shown = everything[after : after + limit]
    record_view(access, action, found, range(after + 1, after + 1 + len(shown)), len(everything))
    following = after + limit if after + limit < len(everything) else None
    return {"digest": found.digest, "items": [serialize_change(c) for c in shown], "next": following}


@router.get("/actions/{action_id}/log", response=LogPage, summary="What the steps wrote")
def read_log(
    request: HttpRequest,
    action_id: str,
    step: str = Query("", max_length=200),
    after: str = Query("", max_length=400, description="The `next` or `cursor` of an earlier answer."),
    limit: int = Query(LOG_PAGE_SIZE, ge=1, le=100),
) -> dict[str, Any]:
    """
    The log of every attempt, in order; `step` narrows it to one.

    Of a running attempt what it has written until about a second ago, as `live`; the item that ends it has the rest.
    """
    action = find_action(access_of(request), action_id)
    part = read_part(action, Cursor.read(after), step=step.replace("\x00", ""), most=limit, only_logs=True)
    items = [
        {"step": e.step, "attempt": e.attempt, "kind": e.kind, "at": e.at, "text": "\n".join(e.log)}
        for e in part.entries
        if e.log
    ]
    return {"items": items, "next": str(part.cursor) if part.more else None, "cursor": str(part.cursor)}


def find_plan(action: Action, version: int = 0) -> Plan:
    """The current plan, or an earlier version. Raises NoPlan, NotFound."""
    if version:
        earlier = Plan.objects.filter(action=action, version=version).first()
        if earlier is None:
            raise NotFound(f"This action has no plan of version {version}.")
        return earlier
    if action.plan is None:
        words = str(action.state).replace("_", " ")
        raise NoPlan(
            f"This action has no plan; it is {words}.",
            remedies=["Wait for preflight: GET the action with ?wait_s=25, then look again."],
        )
    return action.plan


def read_document(action: Action, digest: str) -> bytes:
    try:
        return read_artifact(action.tenant_id, digest)
    except ArtifactMissing as error:
        raise Unavailable(f"The log names an artifact that is gone: {error}. Tell an auditor.") from error


def load_changes(action: Action, found: Plan) -> list[Change]:
    return parse_changes(read_document(action, found.changes))


def serialize_change(change: Change) -> dict[str, Any]:
    return {**vars(change), "diff": text_diff(change)}


# Explain: the same text as the page.


explain_router = Router(tags=["plan"])


class TierRaiseOut(Schema):
    rule: str
    message: str


class FactorOut(Schema):
    name: str
    label: str
    why: str
    points: int
    max: int


class TierLoweringOut(Schema):
    what: str
    score: int
    tier: str


class BlastOut(Schema):
    score: int
    tier: str
    factors: list[FactorOut] = Field(..., description="Most points first.")
    lower: list[TierLoweringOut] = Field(..., description="What would lower the tier.")


class PolicyResultOut(Schema):
    """One policy that was asked. `applies`: it was true, and had its own effect."""

    id: str | None
    slug: str
    version: int
    effect: str
    mode: Literal["enforce", "shadow"]
    required_approvals: list[RequiredApprovalOut]
    result: Literal["true", "false", "error"]
    error: str
    applies: bool
    denies: bool
    words: str
    message: str
    expression: str
    is_global: bool
    overridable: bool
    is_in_force: bool = Field(..., description="Whether this very version is in force now.")


class ApproverOut(Schema):
    name: str
    at: datetime


class WhyRequiredApprovalOut(RequiredApprovalOut):
    because: str
    by: list[ApproverOut]
    open: int


class EvaluationTimeOut(Schema):
    seq: int = Field(..., description="Of the event on the action that says so.")
    at: datetime
    when: Literal["preflight", "start", "checkpoint"]
    what: str
    by: str
    facts_sha256: str | None


class EvaluatedPlanOut(Schema):
    version: int
    digest: str
    at: datetime


class EvaluatedFactOut(Schema):
    name: str
    kind: str
    what: str
    value: Any


class ExplanationOut(Schema):
    """The evaluation of an action, as stored when it was evaluated."""

    sentence: str
    next: str = Field(..., description="The next step; empty if none is needed.")
    outcome: Literal["deny", "require_approval", "allow"] | None
    tier: str | None
    raises: list[TierRaiseOut] = Field(..., description="The reasons for the tier, in order.")
    blast: BlastOut | None
    policies: list[PolicyResultOut] = Field(..., description="In the order of evaluation.")
    required_approvals: list[WhyRequiredApprovalOut]
    acceptance: bool
    moments: list[EvaluationTimeOut] = Field(..., description="The evaluations, in order.")
    plan: EvaluatedPlanOut | None
    facts_sha256: str | None
    facts: list[EvaluatedFactOut] = Field(..., description="The facts that policies read, by name.")


@explain_router.get("/actions/{action_id}/explain", response=ExplanationOut, summary="Explain the verdict")
def explain_action(request: HttpRequest, action_id: str) -> dict[str, Any]:
    """The verdict in one sentence, what raised the tier, each factor, policy and required approval, and when it was
    evaluated.
    """
    return explain(find_action(access_of(request), action_id))
