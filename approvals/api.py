"""The rules over HTTP: approval matrix, blast-radius weights, policies and their drafts. Publishing needs an action."""

from typing import Annotated, Any, Literal
from uuid import UUID

from django.db.models import Prefetch
from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from approvals.blast.factors import FACTORS
from approvals.blast.score import MAX_WEIGHT
from approvals.errors import MayNotChangeRules
from approvals.models import MatrixDraft, Policy, PolicyVersion
from approvals.policies import drafts
from approvals.policies.api_schemas import (
    CheckOut,
    EditIn,
    ExpressionIn,
    FactsOut,
    MatrixDraftList,
    MatrixDraftOut,
    MatrixEditIn,
    NewMatrixDraftIn,
    NewPolicyIn,
    PolicyList,
    PolicyOut,
    PolicyTextIn,
    RequiredApprovalOut,
    StrictBody,
    VersionOut,
)
from approvals.policies.fact_schema import FACTS, FACTS_VERSION
from approvals.policies.matrix import matrix_table
from approvals.policies.permissions import find_matrix_draft, find_policy, find_version, may_read, readable_policies
from approvals.policies.policy_text import as_yaml, faults_of_expression, fingerprint, issue, policy_text_of
from approvals.policies.weights import current_weights, set_weights
from audit.errors import Forbidden, Invalid
from audit.log.canonical_json import digest_of
from audit.web import correlation_of
from tenants.access import Access, access_of
from tenants.models import Environment

matrix_router = Router(tags=["approvals"])


class MatrixCellOut(Schema):
    """`effect`: `deny` (no row), `require_approval`, `allow` (a row without required approvals)."""

    tier: Literal["low", "medium", "high", "critical"]
    effect: Literal["deny", "require_approval", "allow"]
    required_approvals: list[RequiredApprovalOut]
    words: str


class MatrixRowOut(Schema):
    environment: str
    environment_id: UUID
    risk_class: str
    cells: list[MatrixCellOut]


class MatrixOut(Schema):
    items: list[MatrixRowOut]


@matrix_router.get(
    "/matrix", response=MatrixOut, summary="The approval matrix: environment × tier → required approvals"
)
def read_matrix(request: HttpRequest) -> dict[str, Any]:
    """The environments that you may view, each with all four tiers. Where no row exists, every change is denied."""
    access = access_of(request)
    visible = access.environments_where("view")
    if not visible:
        raise Forbidden("You may view no environment here.", remedies=["Ask a tenant admin for a role that may view."])
    environments = Environment.objects.filter(tenant=access.tenant, pk__in=visible).order_by("slug")
    return {"items": [_serialize_matrix_row(row["environment"], row["cells"]) for row in matrix_table(environments)]}


def _serialize_matrix_row(environment: Environment, cells: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "environment": environment.slug,
        "environment_id": environment.pk,
        "risk_class": environment.risk_class,
        "cells": cells,
    }


weights_router = Router(tags=["approvals"])


class WeightsOut(StrictBody):
    weights: dict[str, int] = Field(..., description=f"Per cent, 0 to {MAX_WEIGHT}, by factor: {', '.join(FACTORS)}.")


class WeightsIn(StrictBody):
    weights: dict[str, Annotated[int, Field(strict=True, ge=0, le=MAX_WEIGHT)]] = Field(
        ..., description=f"Per cent, 0 to {MAX_WEIGHT}, by factor; one left out stays.", examples=[{"deletions": 150}]
    )
    reason: str = Field(
        ..., description="Why the weights change. Stored with the event.", json_schema_extra={"maxLength": 500}
    )


@weights_router.get("/blast/weights", response=WeightsOut, summary="The weights of the blast radius")
def read_weights(request: HttpRequest) -> dict[str, Any]:
    """Your tenant's weights in per cent; the default is 100."""
    access = access_of(request)
    if not access.environments_where("view") and not access.can("administer"):
        raise Forbidden("You may view no environment here.", remedies=["Ask a tenant admin for a role that may view."])
    return {"weights": current_weights(access.tenant.pk)}


@weights_router.put("/blast/weights", response=WeightsOut, summary="Change the weights of the blast radius")
def change_weights(request: HttpRequest, body: WeightsIn) -> dict[str, Any]:
    """For admins of the tenant. Applies at once to every plan that is evaluated from then on."""
    access = access_of(request)
    via = getattr(request, "correlation_id", "")
    return {"weights": set_weights(access.tenant, body.weights, body.reason, by=access, correlation_id=via)}


policies_router = Router(tags=["policies"])
MAX_MATRIX_DRAFTS = 200


@policies_router.get("/policies", response=PolicyList, summary="Guard policies")
def list_policies(request: HttpRequest) -> dict[str, Any]:
    """Your tenant's policies and the global ones, by name; each with its version in force and its drafts."""
    access = access_of(request)
    ordered = Policy.objects.filter(readable_policies(access)).select_related("tenant").order_by("slug", "id")
    open_versions = PolicyVersion.objects.filter(state__in=["draft", "published"]).select_related("author")
    found = ordered.prefetch_related(Prefetch("versions", open_versions, to_attr="shown"))
    rows = [_serialize_policy(access, policy, policy.shown) for policy in found]
    return {"items": [row for row in rows if row["is_kept_here"] or row["in_force"]]}


@policies_router.post("/policies", response={201: VersionOut}, summary="Draft a policy")
def draft_policy(request: HttpRequest, body: NewPolicyIn) -> Status[Any]:
    """The policy is checked now and in force once published. Faults of the expression name their line and column."""
    access = access_of(request)
    made = drafts.draft_policy(
        access.tenant,
        body.slug,
        body.policy_text(),
        by=access,
        everywhere=body.everywhere,
        correlation_id=correlation_of(request),
    )
    return Status(201, _serialize_version(made, access))


@policies_router.get("/policies/facts", response=FactsOut, summary="The facts that a policy may read")
def read_facts(request: HttpRequest) -> dict[str, Any]:
    items = [{"name": name, "kind": fact.kind, "what": fact.what} for name, fact in FACTS.items()]
    return {"version": FACTS_VERSION, "items": items}


@policies_router.post("/policies/check", response=CheckOut, summary="Check an expression")
def check_expression(request: HttpRequest, body: ExpressionIn) -> dict[str, Any]:
    """Every fault with its line and column, without storing anything."""
    if not access_of(request).environments_where("administer"):
        raise MayNotChangeRules
    issues = faults_of_expression(body.expression)
    return {"ok": not issues, "issues": issues}


@policies_router.get("/policies/{uuid:policy_id}", response=PolicyOut, summary="One policy with its history")
def read_policy(request: HttpRequest, policy_id: UUID) -> dict[str, Any]:
    access = access_of(request)
    policy = find_policy(access, policy_id)
    versions = list(policy.versions.select_related("author").order_by("-version"))
    for version in versions:
        version.policy = policy
    return {
        **_serialize_policy(access, policy, versions),
        "versions": [_serialize_version(version, access) for version in versions if may_read(access, version)],
    }


@policies_router.post("/policies/{uuid:policy_id}/drafts", response={201: VersionOut}, summary="Draft the next version")
def draft_version(request: HttpRequest, policy_id: UUID, body: PolicyTextIn) -> Status[Any]:
    access = access_of(request)
    policy = find_policy(access, policy_id)
    made = drafts.draft_policy(
        policy.home,
        policy.slug,
        body.policy_text(),
        by=access,
        everywhere=policy.is_global,
        correlation_id=correlation_of(request),
    )
    return Status(201, _serialize_version(made, access))


@policies_router.put("/policies/drafts/{uuid:draft_id}", response=VersionOut, summary="Edit a draft")
def edit_draft(request: HttpRequest, draft_id: UUID, body: EditIn) -> dict[str, Any]:
    """`seen` keeps you from overwriting a change of someone else."""
    access = access_of(request)
    find_version(access, draft_id)
    return _serialize_version(
        drafts.edit_policy_draft(
            draft_id, body.policy_text(), by=access, seen=body.seen, correlation_id=correlation_of(request)
        ),
        access,
    )


@policies_router.post("/policies/drafts/{uuid:draft_id}/abandon", response=VersionOut, summary="Abandon a draft")
def abandon_draft(request: HttpRequest, draft_id: UUID) -> dict[str, Any]:
    access = access_of(request)
    find_version(access, draft_id)
    return _serialize_version(
        drafts.abandon_policy_draft(draft_id, by=access, correlation_id=correlation_of(request)), access
    )


@policies_router.get("/matrix/drafts", response=MatrixDraftList, summary="Drafts of the matrix")
def list_matrix_drafts(request: HttpRequest) -> dict[str, Any]:
    """Newest first, of the environments that you may view."""
    access = access_of(request)
    seen = MatrixDraft.objects.filter(tenant=access.tenant, environment__in=access.environments_where("view"))
    found = seen.select_related("environment", "author").order_by("-id")[:MAX_MATRIX_DRAFTS]
    return {"items": [_serialize_matrix_draft(draft) for draft in found]}


@policies_router.post("/matrix/drafts", response={201: MatrixDraftOut}, summary="Draft the matrix of an environment")
def draft_matrix(request: HttpRequest, body: NewMatrixDraftIn) -> Status[Any]:
    """The whole matrix of one environment. A tier left out is denied."""
    access = access_of(request)
    environment = Environment.objects.filter(tenant=access.tenant, slug=body.environment).first()
    if environment is None or not access.can("view", environment.pk):
        raise Invalid(issues=[issue(f"You have no environment {body.environment[:63]!r}.", "environment")])
    made = drafts.draft_matrix(
        environment, body.required_approvals(), by=access, correlation_id=correlation_of(request)
    )
    return Status(201, _serialize_matrix_draft(made))


@policies_router.put("/matrix/drafts/{uuid:draft_id}", response=MatrixDraftOut, summary="Change a draft of the matrix")
def edit_matrix_draft(request: HttpRequest, draft_id: UUID, body: MatrixEditIn) -> dict[str, Any]:
    access = access_of(request)
    find_matrix_draft(access, draft_id)
    edited = drafts.edit_matrix_draft(
        draft_id, body.required_approvals(), by=access, seen=body.seen, correlation_id=correlation_of(request)
    )
    return _serialize_matrix_draft(edited)


@policies_router.post(
    "/matrix/drafts/{uuid:draft_id}/abandon", response=MatrixDraftOut, summary="Abandon a draft of the matrix"
)
def abandon_matrix_draft(request: HttpRequest, draft_id: UUID) -> dict[str, Any]:
    access = access_of(request)
    find_matrix_draft(access, draft_id)
    return _serialize_matrix_draft(
        drafts.abandon_matrix_draft(draft_id, by=access, correlation_id=correlation_of(request))
    )


def _serialize_policy(access: Access, policy: Policy, versions: list[PolicyVersion]) -> dict[str, Any]:
    for version in versions:
        version.policy = policy
    shown = [version for version in versions if may_read(access, version)]
    in_force = next((version for version in shown if version.state == "published"), None)
    return {
        "id": policy.pk,
        "slug": policy.slug,
        "is_global": policy.is_global,
        "is_kept_here": policy.home_id == access.tenant.pk,
        "in_force": _serialize_version(in_force, access) if in_force else None,
        "drafts": [_serialize_version(version, access) for version in shown if version.state == "draft"],
    }


def _serialize_version(version: PolicyVersion, access: Access) -> dict[str, Any]:
    """A version. The author and the publishing action of a global one are shown in its home tenant only."""
    fields = (
        "id",
        "policy_id",
        "version",
        "state",
        "expression",
        "effect",
        "required_approvals",
        "message",
        "overridable",
        "mode",
        "created_at",
        "published_at",
        "published_by_action",
    )
    shown = {name: getattr(version, name) for name in fields}
    is_home = version.policy.home_id == access.tenant.pk
    author = version.author.username if version.author and is_home else None
    if not is_home:
        shown["published_by_action"] = None
    joined = {"slug": version.policy.slug, "author": author, "digest": fingerprint(policy_text_of(version))}
    return {**shown, **joined, "yaml": as_yaml(version)}


def _serialize_matrix_draft(draft: MatrixDraft) -> dict[str, Any]:
    fields = ("id", "rows", "state", "created_at", "published_at", "published_by_action")
    shown = {name: getattr(draft, name) for name in fields}
    author = draft.author.username if draft.author else None
    return {**shown, "environment": draft.environment.slug, "author": author, "digest": digest_of(draft.rows)}
