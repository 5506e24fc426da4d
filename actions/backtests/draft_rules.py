"""A draft, and the rules of its tenant without and with it. Changes nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import UUID

from actions.errors import NothingToBacktest
from actions.models.backtest import KINDS
from approvals.models import MatrixDraft, PolicyVersion
from approvals.policies.active_policies import ActivePolicy, active_policies_for, active_policy_from, epoch_of
from approvals.policies.matrix import Matrix, matrix_for
from approvals.policies.permissions import (
    find_matrix_draft,
    find_version,
    require_may_change_matrix,
    require_may_change_policies,
)
from approvals.policies.policy_text import policy_text_of
from approvals.policies.subjects import matrix_subject, policy_subject
from approvals.policies.weights import weights_for
from audit.errors import NotFound
from audit.log.canonical_json import digest_of
from audit.log.events import Subject
from tenants.access import Access
from tenants.models import Environment

OPEN = ("draft", "retired")


@dataclass(frozen=True)
class RuleSet:
    """The rules of a tenant: guard policies in order, each environment's matrix by its id, blast weights."""

    policies: list[ActivePolicy]
    matrix: dict[str, Matrix] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)

    def over(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """A plan's facts with the matrix and weights of these rules instead of its own."""
        place = facts.get("environment")
        known = str(place.get("id", "")) if isinstance(place, Mapping) else ""
        return {**facts, "matrix": self.matrix.get(known, {}), "weights": self.weights}

    def as_dict(self) -> dict[str, Any]:
        policies = [{**asdict(r), "policy_id": str(r.policy_id)} for r in self.policies]
        return {"policies": policies, "matrix": self.matrix, "weights": self.weights}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "RuleSet":
        policies = [ActivePolicy(**{**r, "policy_id": UUID(r["policy_id"])}) for r in kept["policies"]]
        return cls(policies, kept["matrix"], kept["weights"])


@dataclass(frozen=True)
class DraftRules:
    """
    A draft and its effect on the rules. `rule` is its guard policy; none for a matrix.

    `environment` is the only one that a matrix affects; none for a policy, which applies to all. `digest` is of the
    exact wording, and changes with every edit. `epoch` counts the changes of rules until `today`.
    """

    kind: str
    draft: UUID
    title: str
    subject: Subject
    tenant_id: UUID
    today: RuleSet
    then: RuleSet
    digest: str
    epoch: int
    rule: ActivePolicy | None = None
    environment: Environment | None = None
    is_global: bool = False


def load_draft(access: Access, kind: str, draft_id: UUID) -> DraftRules:
    """
    `kind`: policy or retire (of a version), or matrix (of a draft). For people who may draft it.

    Raises NotFound, also for another tenant's; MayNotChangeRules; NothingToBacktest if it is in force or abandoned.
    """
    if kind not in KINDS:
        raise NotFound
    return _of_matrix(access, draft_id) if kind == "matrix" else _of_policy(access, kind, draft_id)


def digest_for(kind: str, draft: PolicyVersion | MatrixDraft) -> str:
    """SHA-256 of a draft's wording and effect."""
    if isinstance(draft, MatrixDraft):
        return digest_of({"kind": kind, "environment": str(draft.environment_id), "rows": draft.rows})
    policy_text = asdict(policy_text_of(draft))
    return digest_of(
        {"kind": kind, "policy": str(draft.policy_id), "version": draft.version, "policy_text": policy_text}
    )


def digest_now(kind: str, draft_id: UUID) -> str:
    """The digest of a draft's current wording; empty if there is none."""
    kept = MatrixDraft if kind == "matrix" else PolicyVersion
    draft: PolicyVersion | MatrixDraft | None = kept.objects.filter(pk=draft_id).first()
    return digest_for(kind, draft) if draft is not None else ""


def _of_policy(access: Access, kind: str, draft_id: UUID) -> DraftRules:
    version = find_version(access, draft_id)
    policy = version.policy
    if policy.home_id != access.tenant.pk:
        raise NotFound
    require_may_change_policies(access, policy.home, everywhere=policy.is_global)
    wanted = OPEN if kind == "policy" else ("published",)
    if version.state not in wanted:
        raise NothingToBacktest(f"{version} is {version.state}, so there is nothing to evaluate: {_REASON[kind]}")
    rule, now = active_policy_from(version), _rules_now(policy.home_id)
    others = [r for r in now.policies if r.policy_id != policy.pk]
    then = [*others, rule] if kind == "policy" else others
    verb = "Publish" if kind == "policy" else "Retire"
    return DraftRules(
        kind,
        version.pk,
        f"{verb} {policy.slug} v{version.version}",
        policy_subject(policy),
        policy.home_id,
        now,
        replace(now, policies=sorted(then, key=lambda r: (not r.is_global, r.slug))),
        digest_for(kind, version),
        epoch_of(policy.home_id),
        rule,
        is_global=policy.is_global,
    )


def _of_matrix(access: Access, draft_id: UUID) -> DraftRules:
    draft = find_matrix_draft(access, draft_id)
    require_may_change_matrix(access, draft.tenant_id, draft.environment_id)
    if draft.state not in OPEN:
        raise NothingToBacktest(f"This draft is {draft.state}, so there is nothing to evaluate: {_REASON['matrix']}")
    now = _rules_now(draft.tenant_id)
    then = replace(now, matrix={**now.matrix, str(draft.environment_id): draft.rows})
    return DraftRules(
        "matrix",
        draft.pk,
        f"Replace the matrix of {draft.environment.slug}",
        matrix_subject(draft.environment_id),
        draft.tenant_id,
        now,
        then,
        digest_for("matrix", draft),
        epoch_of(draft.tenant_id),
        environment=draft.environment,
    )


_REASON = {
    "policy": "draft the next version.",
    "retire": "only a version in force can be retired.",
    "matrix": "draft another one.",
}


def _rules_now(tenant_id: UUID) -> RuleSet:
    matrix = {str(place): rows for place, rows in matrix_for([tenant_id]).items()}
    return RuleSet(
        active_policies_for([tenant_id])[tenant_id], matrix, dict(weights_for([tenant_id]).get(tenant_id, {}))
    )
