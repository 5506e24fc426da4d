"""What the API takes and gives about rules. Values are checked where they are drafted, by the same code everywhere."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from ninja import Field, Schema
from pydantic import ConfigDict, JsonValue

from approvals.policies.policy_text import PolicyText


class RequiredApprovalOut(Schema):
    role: str
    count: int


EFFECTS: list[JsonValue] = ["deny", "require", "warn", "allow_autonomous"]


class StrictBody(Schema):
    """A request body: a field that is not known is an error, and nothing is converted from another type."""

    model_config = ConfigDict(extra="forbid")


class RequiredApprovalIn(StrictBody):
    role: str
    count: int = Field(..., strict=True, ge=1)


class PolicyTextIn(StrictBody):
    expression: str = Field(
        ..., description="CEL over the facts of GET /api/policies/facts.", examples=["plan.deletes > 0"]
    )
    effect: str = Field(..., json_schema_extra={"enum": EFFECTS})
    message: str = Field(..., description="What people read when it applies.", json_schema_extra={"maxLength": 500})
    required_approvals: list[RequiredApprovalIn] = Field([], description="For `require`: the additional approvals.")
    overridable: bool = Field(False, strict=True)
    mode: str = Field("enforce", json_schema_extra={"enum": ["enforce", "shadow"]})

    def policy_text(self) -> PolicyText:
        required_approvals = [{"role": required.role, "count": required.count} for required in self.required_approvals]
        return PolicyText(self.expression, self.effect, self.message, required_approvals, self.overridable, self.mode)


SEEN_DIGEST = "The `digest` of the draft that you started from. 409 if someone else changed it since."


class EditIn(PolicyTextIn):
    seen: str = Field("", description=SEEN_DIGEST)


class NewPolicyIn(PolicyTextIn):
    """The first draft of a policy, or the next one of that name."""

    slug: str = Field(..., json_schema_extra={"pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 64})
    everywhere: bool = Field(False, strict=True, description="A global policy: guards every tenant.")


class ExpressionIn(StrictBody):
    expression: str


class MatrixRowsIn(StrictBody):
    rows: dict[str, list[RequiredApprovalIn]] = Field(
        ..., description="Required approvals by tier. A tier left out is denied; [] requires no approval."
    )

    def required_approvals(self) -> dict[str, list[dict[str, Any]]]:
        return {
            tier: [{"role": s.role, "count": s.count} for s in required_approvals]
            for tier, required_approvals in self.rows.items()
        }


class MatrixEditIn(MatrixRowsIn):
    seen: str = Field("", description=SEEN_DIGEST)


class NewMatrixDraftIn(MatrixRowsIn):
    environment: str


class IssueOut(Schema):
    severity: str
    message: str
    field: str
    line: int
    column: int


class CheckOut(Schema):
    ok: bool
    issues: list[IssueOut]


class FactOut(Schema):
    name: str
    kind: str
    what: str


class FactsOut(Schema):
    version: str
    items: list[FactOut]


class VersionOut(Schema):
    id: UUID
    policy_id: UUID
    slug: str
    version: int
    state: Literal["draft", "published", "retired", "abandoned"]
    expression: str
    effect: str
    required_approvals: list[RequiredApprovalOut]
    message: str
    overridable: bool
    mode: str
    author: str | None
    created_at: datetime
    published_at: datetime | None
    published_by_action: UUID | None
    digest: str = Field(..., description="Digest of the text: names what an edit starts from.")
    yaml: str


class PolicyRow(Schema):
    """A policy, its version in force, and its drafts."""

    id: UUID
    slug: str
    is_global: bool
    is_kept_here: bool = Field(..., description="Whether this tenant drafts and publishes it.")
    in_force: VersionOut | None
    drafts: list[VersionOut]


class PolicyList(Schema):
    items: list[PolicyRow]


class PolicyOut(PolicyRow):
    versions: list[VersionOut] = Field(..., description="Newest first.")


class MatrixDraftOut(Schema):
    id: UUID
    environment: str
    rows: dict[str, list[RequiredApprovalOut]]
    state: Literal["draft", "published", "retired", "abandoned"]
    author: str | None
    created_at: datetime
    published_at: datetime | None
    published_by_action: UUID | None
    digest: str = Field(..., description="Digest of the rows: names what an edit starts from.")


class MatrixDraftList(Schema):
    items: list[MatrixDraftOut]
