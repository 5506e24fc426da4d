"""Rules over HTTP: read policies, draft them and the matrix, check an expression. Publishing takes an action."""

from typing import Any
from uuid import UUID

from django.db.models import Prefetch
from django.http import HttpRequest
from ninja import Router, Status

from approvals.errors import NotYoursToRule
from approvals.policies import drafts
from approvals.policies.models import MatrixDraft, Policy, PolicyVersion
from approvals.policies.rulers import find_matrix_draft, find_policy, find_version, may_read, readable
from approvals.policies.schema import FACTS, VERSION
from approvals.policies.schemas import (
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
    VersionOut,
    WordingIn,
)
from approvals.policies.wording import as_yaml, faults_of_expression, fingerprint, issue, wording_of
from audit.errors import Invalid
from audit.log.canonical_json import digest_of
from tenants.access import Access
from tenants.models import Environment

router = Router(tags=["policies"])
MOST_MATRIX_DRAFTS = 200


@router.get("/policies", response=PolicyList, summary="Guard policies")
def list_policies(request: HttpRequest) -> dict[str, Any]:
    """Your tenant's policies and the global ones, by name; each with what is in force and with its drafts."""
    access = _access(request)
    ordered = Policy.objects.filter(readable(access)).select_related("tenant").order_by("slug", "id")
    open_versions = PolicyVersion.objects.filter(state__in=["draft", "published"]).select_related("author")
    found = ordered.prefetch_related(Prefetch("versions", open_versions, to_attr="shown"))
    rows = [_row(access, policy, policy.shown) for policy in found]
    return {"items": [row for row in rows if row["is_kept_here"] or row["in_force"]]}


@router.post("/policies", response={201: VersionOut}, summary="Draft a policy")
def draft_policy(request: HttpRequest, body: NewPolicyIn) -> Status[Any]:
    """Checked now, in force once published. Faults of the expression name their line and column."""
    access = _access(request)
    made = drafts.draft(
        access.tenant, body.slug, body.wording(), by=access, everywhere=body.everywhere, correlation_id=_via(request)
    )
    return Status(201, _version(made, access))


@router.get("/policies/facts", response=FactsOut, summary="What a policy may read")
def read_facts(request: HttpRequest) -> dict[str, Any]:
    items = [{"name": name, "kind": fact.kind, "what": fact.what} for name, fact in FACTS.items()]
    return {"version": VERSION, "items": items}


@router.post("/policies/check", response=CheckOut, summary="Check an expression")
def check_expression(request: HttpRequest, body: ExpressionIn) -> dict[str, Any]:
    """Every fault with its line and column, without storing anything."""
    if not _access(request).environments_where("administer"):
        raise NotYoursToRule
    issues = faults_of_expression(body.expression)
    return {"ok": not issues, "issues": issues}


@router.get("/policies/{uuid:policy_id}", response=PolicyOut, summary="One policy with its history")
def read_policy(request: HttpRequest, policy_id: UUID) -> dict[str, Any]:
    access = _access(request)
    policy = find_policy(access, policy_id)
    versions = list(policy.versions.select_related("author").order_by("-version"))
    for version in versions:
        version.policy = policy
    return {
        **_row(access, policy, versions),
        "versions": [_version(version, access) for version in versions if may_read(access, version)],
    }


@router.post("/policies/{uuid:policy_id}/drafts", response={201: VersionOut}, summary="Draft the next version")
def draft_version(request: HttpRequest, policy_id: UUID, body: WordingIn) -> Status[Any]:
    access = _access(request)
    policy = find_policy(access, policy_id)
    made = drafts.draft(
        policy.home, policy.slug, body.wording(), by=access, everywhere=policy.is_global, correlation_id=_via(request)
    )
    return Status(201, _version(made, access))


@router.put("/policies/drafts/{uuid:draft_id}", response=VersionOut, summary="Reword a draft")
def edit_draft(request: HttpRequest, draft_id: UUID, body: EditIn) -> dict[str, Any]:
    """`seen` keeps you from writing over what somebody else changed meanwhile."""
    access = _access(request)
    find_version(access, draft_id)
    return _version(
        drafts.edit(draft_id, body.wording(), by=access, seen=body.seen, correlation_id=_via(request)), access
    )


@router.post("/policies/drafts/{uuid:draft_id}/abandon", response=VersionOut, summary="Give a draft up")
def abandon_draft(request: HttpRequest, draft_id: UUID) -> dict[str, Any]:
    access = _access(request)
    find_version(access, draft_id)
    return _version(drafts.abandon(draft_id, by=access, correlation_id=_via(request)), access)


@router.get("/matrix/drafts", response=MatrixDraftList, summary="Drafts of the matrix")
def list_matrix_drafts(request: HttpRequest) -> dict[str, Any]:
    """Newest first, of the environments that you may view."""
    access = _access(request)
    seen = MatrixDraft.objects.filter(tenant=access.tenant, environment__in=access.environments_where("view"))
    found = seen.select_related("environment", "author").order_by("-id")[:MOST_MATRIX_DRAFTS]
    return {"items": [_matrix_draft(draft) for draft in found]}


@router.post("/matrix/drafts", response={201: MatrixDraftOut}, summary="Draft the matrix of an environment")
def draft_matrix(request: HttpRequest, body: NewMatrixDraftIn) -> Status[Any]:
    """The whole matrix of one environment: a tier left out denies."""
    access = _access(request)
    place = Environment.objects.filter(tenant=access.tenant, slug=body.environment).first()
    if place is None or not access.can("view", place.pk):
        raise Invalid(issues=[issue(f"You have no environment {body.environment[:63]!r}.", "environment")])
    made = drafts.draft_matrix(place, body.seats(), by=access, correlation_id=_via(request))
    return Status(201, _matrix_draft(made))


@router.put("/matrix/drafts/{uuid:draft_id}", response=MatrixDraftOut, summary="Change a draft of the matrix")
def edit_matrix_draft(request: HttpRequest, draft_id: UUID, body: MatrixEditIn) -> dict[str, Any]:
    access = _access(request)
    find_matrix_draft(access, draft_id)
    edited = drafts.edit_matrix(draft_id, body.seats(), by=access, seen=body.seen, correlation_id=_via(request))
    return _matrix_draft(edited)


@router.post("/matrix/drafts/{uuid:draft_id}/abandon", response=MatrixDraftOut, summary="Give a matrix draft up")
def abandon_matrix_draft(request: HttpRequest, draft_id: UUID) -> dict[str, Any]:
    access = _access(request)
    find_matrix_draft(access, draft_id)
    return _matrix_draft(drafts.abandon_matrix(draft_id, by=access, correlation_id=_via(request)))


def _row(access: Access, policy: Policy, versions: list[PolicyVersion]) -> dict[str, Any]:
    for version in versions:
        version.policy = policy
    shown = [version for version in versions if may_read(access, version)]
    in_force = next((version for version in shown if version.state == "published"), None)
    return {
        "id": policy.pk,
        "slug": policy.slug,
        "is_global": policy.is_global,
        "is_kept_here": policy.home_id == access.tenant.pk,
        "in_force": _version(in_force, access) if in_force else None,
        "drafts": [_version(version, access) for version in shown if version.state == "draft"],
    }


def _version(version: PolicyVersion, access: Access) -> dict[str, Any]:
    """A version; who wrote a global one, and by which action it came, is told at its home only."""
    fields = (
        "id",
        "policy_id",
        "version",
        "state",
        "expression",
        "effect",
        "seats",
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
    said = {"slug": version.policy.slug, "author": author, "digest": fingerprint(wording_of(version))}
    return {**shown, **said, "yaml": as_yaml(version)}


def _matrix_draft(draft: MatrixDraft) -> dict[str, Any]:
    fields = ("id", "rows", "state", "created_at", "published_at", "published_by_action")
    shown = {name: getattr(draft, name) for name in fields}
    author = draft.author.username if draft.author else None
    return {**shown, "environment": draft.environment.slug, "author": author, "digest": digest_of(draft.rows)}


def _access(request: HttpRequest) -> Access:
    access: Access = request.access  # type: ignore[attr-defined]  # ninja's auth let nobody through without one
    return access


def _via(request: HttpRequest) -> str:
    return getattr(request, "correlation_id", "")
