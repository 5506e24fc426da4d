"""Policies and matrices as targets: read the current text, check a draft, replace it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from actions.types.protocol import Issue, PlanRefused, Target, error
from approvals.models import MatrixDraft, PolicyVersion
from approvals.policies.drafts import check_rows
from approvals.policies.permissions import environments_deciding_policies
from approvals.policies.policy_text import as_yaml, faults_of_expression, text_digest, to_yaml
from approvals.policies.publish import published_matrix, published_version, replace_matrix, replace_version
from audit.changes.document import Change
from audit.errors import Invalid, Problem
from tenants.models import Environment

BacktestReader = Callable[[str, UUID], dict[str, Any]]
"""(kind, draft) → what approvers should know of its backtest: `words` and plain values. Raises Problem without one."""
_backtest_readers: list[BacktestReader] = []


def register_backtest_reader(told: BacktestReader) -> None:
    """Say who knows about backtests."""
    _backtest_readers[:] = [told]


def require_backtest(kind: str, draft: UUID) -> dict[str, Any]:
    """The backtest of a draft. Raises PlanRefused if it has none that counts, also where nobody knows of any."""
    if not _backtest_readers:
        raise PlanRefused([error("No backtest is known for it, so it is not published.", "draft")])
    try:
        return _backtest_readers[0](kind, draft)
    except Problem as problem:
        raise PlanRefused([error(problem.detail, "draft")]) from problem


# Policies and matrices behind one interface: read, render as text, replace.


ACTOR = "system:execute"
Spec = dict[str, Any]


@dataclass(frozen=True)
class RuleChange:
    """One change of rules: `spec` is what a step keeps of it, `now` what is in force, as it stands in the spec."""

    spec: Spec
    resource: dict[str, str]
    title: str
    before: str | None
    after: str | None

    @property
    def change(self) -> Change:
        operation = "create" if self.before is None else "delete" if self.after is None else "modify"
        return Change(
            key=self.resource["name"],
            target=f"{self.resource['kind']}/{self.resource['name']}.yaml",
            kind="rules",
            operation=operation,
            before=self.before,
            after=self.after,
            before_digest=_digest(self.before),
            after_digest=_digest(self.after),
            language="yaml",
        )


def plan_change(parameters: dict[str, Any], target: Target) -> RuleChange:
    """What these parameters would change now. Raises PlanRefused."""
    draft = UUID(parameters["draft"])
    if parameters["kind"] == "matrix":
        return _matrix_draft(draft, target)
    version = PolicyVersion.objects.select_related("policy__tenant").filter(pk=draft).first()
    if version is None or version.policy.home_id != target.tenant_id:
        raise PlanRefused([error("There is no such version of a policy here.", "draft")])
    _require_landing_environment(target)
    now = published_version(version.policy_id)
    if parameters["kind"] == "retire":
        if now != version.version:
            raise PlanRefused([error(f"{version} is not in force, so it cannot be retired.", "draft")])
        return policy_change(_policy_spec(version, now, None))
    if version.state not in ("draft", "retired"):
        raise PlanRefused([error(f"{version} is {version.state}; only a draft or a retired version can be.", "draft")])
    if issues := [Issue("error", f"{version}: {f['message']}", "draft") for f in _faults(version)]:
        raise PlanRefused(issues)
    return policy_change(_policy_spec(version, now, version.version))


def _require_landing_environment(target: Target) -> None:
    """A policy guards every environment of its tenant, so the people of the most dangerous ones decide about it."""
    careful = environments_deciding_policies(target.tenant_id)
    if target.environment_id not in {place.pk for place in careful}:
        where = " or ".join(place.slug for place in careful)
        words = f"A policy guards every environment, so it is changed where most care is taken: propose it in {where}."
        raise PlanRefused([error(words, "draft")])


def policy_change(spec: Spec) -> RuleChange:
    """The change of a policy that a step keeps, told as text."""
    versions = PolicyVersion.objects.select_related("policy__tenant").filter(policy=spec["policy"])
    texts = {
        v.version: as_yaml(v) for v in versions.filter(version__in=[n for n in (spec["before"], spec["after"]) if n])
    }
    title = f"Publish {spec['slug']} v{spec['after']}" if spec["after"] else f"Retire {spec['slug']} v{spec['before']}"
    resource = {"kind": "policy", "name": spec["slug"]}
    return RuleChange(spec, resource, title, texts.get(spec["before"]), texts.get(spec["after"]))


def matrix_change(spec: Spec) -> RuleChange:
    """The change of a matrix that a step keeps, told as text."""
    resource = {"kind": "matrix", "name": spec["slug"]}
    before, after = (matrix_text(spec["slug"], spec[side]["rows"]) for side in ("before", "after"))
    return RuleChange(spec, resource, f"Replace the matrix of {spec['slug']}", before, after)


def change_from_spec(spec: Spec) -> RuleChange:
    return matrix_change(spec) if spec["kind"] == "matrix" else policy_change(spec)


def invert_spec(spec: Spec) -> Spec:
    return {**spec, "before": spec["after"], "after": spec["before"]}


def side_in_force(spec: Spec) -> str:
    """What is in force of the rules that a step changes: "before", "after", or "else"."""
    if spec["kind"] == "matrix":
        rows = published_matrix(UUID(spec["environment"]))
        return next((side for side in ("before", "after") if rows == spec[side]["rows"]), "else")
    now = published_version(UUID(spec["policy"]))
    return next((side for side in ("before", "after") if now == spec[side]), "else")


def apply_change(spec: Spec, action_id: UUID | None, key: str) -> bool:
    """Swap what the step says; return whether that changed anything. Raises what `approvals.policies.publish` does."""
    via = f"step:{key}"[:128]
    if spec["kind"] == "matrix":
        draft = UUID(spec["after"]["draft"]) if spec["after"]["draft"] else None
        before, after = spec["before"]["rows"], spec["after"]["rows"]
        return replace_matrix(
            UUID(spec["environment"]), before, after, action_id, ACTOR, draft_id=draft, correlation_id=via
        )
    text = spec.get("texts", {}).get(str(spec["after"]), "")
    return replace_version(
        UUID(spec["policy"]), spec["before"], spec["after"], action_id, ACTOR, text_sha256=text, correlation_id=via
    )


def matrix_text(slug: str, rows: dict[str, Any]) -> str:
    """A matrix as the text that reviewers compare: each tier says who is asked, that nobody is, or that it denies."""
    said = {tier: _describe_row(rows, tier) for tier in ("low", "medium", "high", "critical")}
    return to_yaml({"environment": slug, "tiers": said})


def _describe_row(rows: dict[str, Any], tier: str) -> Any:
    if tier not in rows:
        return "denied"
    return rows[tier] or "no approval"


def _matrix_draft(draft: UUID, target: Target) -> RuleChange:
    found = MatrixDraft.objects.filter(pk=draft, tenant=target.tenant_id).first()
    if found is None:
        raise PlanRefused([error("There is no such draft of a matrix here.", "draft")])
    if found.environment_id != target.environment_id:
        words = "An approval matrix is changed by an action in its own environment."
        raise PlanRefused([error(words, "draft")])
    if found.state not in ("draft", "retired"):
        raise PlanRefused([error(f"This draft is {found.state}; only a draft or a retired one can be.", "draft")])
    place = Environment.objects.get(pk=found.environment_id)
    try:
        check_rows(place, found.rows)
    except Invalid as invalid:
        raise PlanRefused([error(i["message"], "draft") for i in invalid.extra["issues"]]) from None
    now = published_matrix(place.pk)
    if now == found.rows:
        raise PlanRefused([error("This matrix is in force already.", "draft")])
    standing_draft = MatrixDraft.objects.filter(environment=place, state="published").first()
    says_so = standing_draft is not None and standing_draft.rows == now  # rows may have been recovered since
    before = {"rows": now, "draft": str(standing_draft.pk) if standing_draft and says_so else ""}
    after = {"rows": found.rows, "draft": str(found.pk)}
    spec = {"kind": "matrix", "environment": str(place.pk), "slug": place.slug, "before": before, "after": after}
    return matrix_change(spec)


def _policy_spec(version: PolicyVersion, before: int | None, after: int | None) -> Spec:
    """`texts` are the digests of what each version says: a draft may be reworded after its plan was made."""
    policy = version.policy
    spec = {"kind": "policy", "policy": str(policy.pk), "slug": policy.slug, "before": before, "after": after}
    named = policy.versions.select_related("policy__tenant").filter(version__in=[n for n in (before, after) if n])
    return {**spec, "texts": {str(v.version): text_digest(v) for v in named}}


def _faults(version: PolicyVersion) -> list[dict[str, Any]]:
    """What would keep a version from being evaluated by now: the facts may have changed since it was drafted."""
    return faults_of_expression(version.expression)


def _digest(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()
