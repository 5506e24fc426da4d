"""Request and response schemas of actions, as OpenAPI shows them. Intake checks the values."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from ninja import Field, Schema
from pydantic import ConfigDict, JsonValue

from actions.api.plan_schemas import MetricsOut, PlanOut, Progress, ProgressWithEstimate, StepOut, ZonedTime
from actions.intake.submission import Submission

LEVELS: list[JsonValue] = ["low", "medium", "high", "critical", None]


class RequestBody(Schema):
    """A request body: a field that is not known is an error, and nothing is converted from another type."""

    model_config = ConfigDict(extra="forbid")


class SubmissionIn(RequestBody):
    """A proposed action. Only types are checked here; intake checks the values, all at once, from everywhere."""

    model_config = ConfigDict(json_schema_extra={"required": ["type", "environment", "parameters", "reason"]})

    type: str = Field("", examples=["modify_files"], description="An action type; GET /api/action-types lists them.")
    environment: str = Field("", examples=["dev"], description="The slug of one of your environments.")
    parameters: dict[str, Any] = Field({}, description="What the action type's JSON Schema asks for.")
    reason: str = Field("", description="Why: approvers and auditors read it.", json_schema_extra={"minLength": 1})
    title: str = Field("", json_schema_extra={"maxLength": 200})
    target: dict[str, str] = Field({}, description="`node` and `service`, where the type asks for them.")
    checks: list[dict[str, Any]] = Field([], description="http, tcp or file checks that must hold afterwards.")
    rollback: dict[str, Any] = Field(
        {}, description="`order`: reverse or forward; `mode`: all-or-nothing or best-effort. Empty: as its type says."
    )
    watch: dict[str, Any] = Field(
        {},
        description="The watch that stops the run: `every_s`, how often checks with `during` run; `error_rate`, the "
        "share of failed attempts above which it stops; `then`: hold or rollback.",
    )
    ticket: str = Field("", json_schema_extra={"maxLength": 120})
    external_url: str = Field("", json_schema_extra={"maxLength": 500})
    security_level: str | None = Field(
        None, description="May raise the level that type and parameters give.", json_schema_extra={"enum": LEVELS}
    )
    confidence: float | None = Field(None, json_schema_extra={"minimum": 0, "maximum": 1})
    priority: int = Field(0, strict=True, json_schema_extra={"minimum": -100, "maximum": 100})
    timeout_s: int = Field(600, strict=True, json_schema_extra={"minimum": 1, "maximum": 86_400})
    not_before: ZonedTime | None = None
    accept: bool = Field(
        False, strict=True, description="Accept the dry-run diff now, where no required approval is asked for."
    )
    recovery: dict[str, Any] = Field(
        {},
        description="The handling of failed steps, where it differs from the type's: `max_attempts` 1-10, "
        "`backoff` linear or exponential, `delay_s`, `max_delay_s`, `strategies` {code: retry, fallback, skip or "
        "abort}, `fallback` {type, parameters, …}. It is part of the plan that is approved.",
    )
    mode: str = Field(
        "apply",
        description="`simulate`: it is planned, evaluated and carried through step by step, and nothing changes.",
        json_schema_extra={"enum": ["apply", "simulate"]},
    )

    def submission(self) -> Submission:
        values = self.dict()
        values["security_level"] = self.security_level or ""
        return Submission(**values)


class AcceptIn(RequestBody):
    digest: str = Field(..., max_length=64, description="Of the plan whose diff you looked at.")


class DecisionIn(RequestBody):
    approved: bool = Field(..., strict=True)
    digest: str | None = Field(None, max_length=64, description="Of the plan you looked at; a rejection needs none.")
    comment: str = Field("", max_length=4_000)


class CommentIn(RequestBody):
    comment: str = Field("", max_length=4_000)


class ReasonIn(RequestBody):
    reason: str = Field("", max_length=4_000)


class RollbackIn(ReasonIn):
    to: str = Field("", max_length=200, description="A step's key: go back to just after it. Empty: all the way.")


class RetryIn(ReasonIn):
    mode: Literal["", "apply", "simulate"] = Field(
        "", description="Empty: as it was. `apply` runs for real what was simulated."
    )


class ResumeIn(ReasonIn):
    how: Literal["", "continue", "rollback", "give_up"] = Field("", description="Empty means continue.")
    step_done: bool | None = Field(None, description="For a step in doubt: whether it took effect.")


class PrincipalOut(Schema):
    id: UUID
    username: str
    name: str
    kind: Literal["person", "agent"]
    owner: str | None = Field(..., description="The username of the person an agent answers to.")


class FilledRequiredApproval(Schema):
    role: str
    count: int
    filled: int


class PlanViewOut(Schema):
    """What the decider had been shown: `shown_at` null says that the plan never was."""

    shown_at: datetime | None
    digest: str
    changes_opened: int
    changes_total: int
    seconds: int = Field(..., description="Of reading; a silence of more than 15 minutes counts for nothing.")


class DecisionOut(Schema):
    by: PrincipalOut
    approved: bool
    role: str
    digest: str
    comment: str
    plan_view: PlanViewOut | None
    at: datetime


class ChangeRequestOut(Schema):
    """A change request. It no longer `counts` when its author may no longer decide."""

    by: PrincipalOut
    role: str
    digest: str
    comment: str
    at: datetime
    counts: bool


class SuggestedApproverOut(Schema):
    """Somebody who can fill a required approval; how they answered in the last 90 days."""

    by: PrincipalOut
    decisions: int
    median_response_s: int | None
    last_at: datetime | None


class SuggestedOut(Schema):
    role: str
    people: list[SuggestedApproverOut]


class ApprovalsOut(Schema):
    """What waits for people: `needed` required approvals, of which `have` are filled. While one of `asks` counts,
    none suffices.
    """

    kind: Literal["approval", "acceptance"] | None
    state: str | None
    digest: str | None
    needed: int
    have: int
    required_approvals: list[FilledRequiredApproval]
    decisions: list[DecisionOut]
    change_requests: list[ChangeRequestOut]
    suggested: list[SuggestedOut] = Field(
        ..., description="Who can fill the open required approvals, the likely quickest first."
    )
    expires_at: datetime | None


class ErrorOut(Schema):
    code: str
    message: str
    details: dict[str, Any]


class ResultOut(Schema):
    success: bool
    data: Any
    error: ErrorOut | None
    skipped: list[str] = Field([], description="Steps of a completed run that failed and were left out.")


class ActionRow(Schema):
    """An action as lists show it."""

    id: UUID
    title: str
    type: str
    skill_id: str | None
    environment: str
    target: dict[str, str]
    requester: PrincipalOut
    proposed_by: str
    state: str
    held_reason: str | None
    seq: int
    security_level: str
    risk_level: str
    tier: str | None = Field(..., description="The effective tier; null until preflight.")
    requires_approval: bool | None
    autonomous_eligible: bool
    confidence: float | None
    simulated: bool = Field(..., description="Whether its steps only say what they would do.")
    priority: int
    correlation_id: str
    ticket: str | None
    external_url: str | None
    created_at: datetime
    approved_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime | None
    not_before: datetime | None
    progress: Progress
    rollback_reference: str | None
    allowed: list[str]
    blocked_by: list[str]
    links: dict[str, Any]


class ActionOut(ActionRow):
    """An action with everything about it."""

    reason: str
    parameters: dict[str, Any]
    checks: list[dict[str, Any]]
    timeout_s: int
    watch: dict[str, Any]
    stop_requested_at: datetime | None
    stop_reason: str | None = Field(..., description="Why it was asked to stop: aborted, checkpoint or risk_spike.")
    rollback_to: str | None = Field(..., description="The step just after which a rollback under way ends.")
    plan: PlanOut | None
    approvals: ApprovalsOut
    verdicts: list[dict[str, Any]]
    progress: ProgressWithEstimate
    steps: list[StepOut]
    metrics: MetricsOut | None
    result: ResultOut | None


class ActionPage(Schema):
    items: list[ActionRow]
    next: str | None = Field(..., description="Send it as `after` to get what follows; null at the end.")


class ChangeOut(Schema):
    key: str
    target: str
    kind: str
    operation: str
    before: str | None
    after: str | None
    before_digest: str | None
    after_digest: str | None
    before_mode: str | None
    after_mode: str | None
    language: str
    note: str
    adds: int
    dels: int
    diff: str


class ChangePage(Schema):
    digest: str
    items: list[ChangeOut]
    next: int | None


class ActionEvent(Schema):
    seq: int
    verb: str
    outcome: str
    actor: str
    correlation_id: str
    at: str
    facts: dict[str, Any]
    private: dict[str, str] = Field(..., description="The texts that the facts commit to, as far as they are kept.")
    artifacts: list[str]
    hash: str


class ActionEvents(Schema):
    items: list[ActionEvent]
    next: int | None = Field(..., description="Send it as `after`; null where the log ends for now.")


class DryRunOut(Schema):
    plan: PlanOut
    verdict: dict[str, Any]
    changes: list[ChangeOut]
    more_changes: int


class TypeOut(Schema):
    name: str
    title: str
    description: str
    version: str
    schema_: dict[str, Any] = Field(..., alias="schema")
    security_level: str
    risk_class: str
    changes_something: bool


class TypePage(Schema):
    items: list[TypeOut]
    next: None = None


class Issue(Schema):
    severity: Literal["error", "warning"]
    message: str
    field: str


class ProblemOut(Schema):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    remedies: list[str]
    issues: list[Issue] | None = None
