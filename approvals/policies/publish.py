"""
Put rules in force, and out of it: one transaction each, guarded by what was in force when it was decided.

Whoever publishes says what they believe to be in force; if it is something else by now, nothing changes and RulesMoved
is raised. If what they want is in force already, nothing changes either: doing it twice is doing it once.
"""

from typing import Any
from uuid import UUID

from django.db import transaction

from approvals.errors import RulesMoved
from approvals.matrix import check_row, drop_row, set_row
from approvals.models import ApprovalRule
from approvals.policies.drafts import matrix_subject, policy_subject, said
from approvals.policies.models import MatrixDraft, Policy, PolicyVersion
from approvals.policies.store import bump
from approvals.policies.wording import text_digest, wording_of
from audit.database.clock import database_time
from audit.errors import NotFound
from audit.log.events import NewEvent, record
from tenants.models import Environment

Rows = dict[str, list[dict[str, Any]]]


def in_force(policy_id: UUID) -> int | None:
    """The number of a policy's published version, or None."""
    return PolicyVersion.objects.filter(policy=policy_id, state="published").values_list("version", flat=True).first()


def publish(
    version_id: UUID, action_id: UUID | None, by: str, *, expected: int | None, correlation_id: str = ""
) -> bool:
    """Put a draft or a retired version in force instead of version `expected` (None: instead of none)."""
    version = PolicyVersion.objects.filter(pk=version_id).first()
    if version is None:
        raise NotFound
    return swap(version.policy_id, expected, version.version, action_id, by, correlation_id=correlation_id)


def retire(version_id: UUID, action_id: UUID | None, by: str, *, correlation_id: str = "", **facts: Any) -> bool:
    """Take a published version out of force; its policy then has none."""
    version = PolicyVersion.objects.filter(pk=version_id).first()
    if version is None:
        raise NotFound
    return swap(version.policy_id, version.version, None, action_id, by, correlation_id=correlation_id, **facts)


def swap(
    policy_id: UUID,
    expected: int | None,
    wanted: int | None,
    action_id: UUID | None,
    by: str,
    *,
    text_sha256: str = "",
    correlation_id: str = "",
    private: dict[str, str] | None = None,
    **facts: Any,
) -> bool:
    """Replace the version in force; return whether that changed anything.

    `text_sha256` is that of the text of `wanted` that people approved (`wording.text_digest`); a draft that says
    something else by now stays a draft. Locks the policy, as edits of drafts do; records `policy.published` or
    `policy.retired` with before and after, and raises the epoch. Raises RulesMoved if neither `expected` nor `wanted`
    is in force, or `wanted` cannot be published; NotFound.
    """
    with transaction.atomic():
        policy = Policy.objects.select_for_update().filter(pk=policy_id).first()
        if policy is None:
            raise NotFound
        versions = {v.version: v for v in policy.versions.filter(state="published")}
        current = next(iter(versions), None)
        if current == wanted:
            return False
        if current != expected:
            raise RulesMoved(f"{policy.slug} is at {_named(current)} by now, not at {_named(expected)}.")
        before = versions[current] if current is not None else None
        if before is not None:
            _move(before, ("published",), state="retired")
        after = _put_in_force(policy, wanted, action_id, text_sha256)
        _record(policy, before, after, action_id, by, correlation_id, facts, private or {})
        bump(policy.tenant_id)
    return True


def matrix_in_force(environment_id: UUID) -> Rows:
    """The rows of an environment's matrix, {tier: seats}."""
    return dict(ApprovalRule.objects.filter(environment=environment_id).values_list("tier", "seats"))


def swap_matrix(
    environment_id: UUID,
    expected: Rows,
    wanted: Rows,
    action_id: UUID | None,
    by: str,
    *,
    draft_id: UUID | None = None,
    correlation_id: str = "",
    private: dict[str, str] | None = None,
) -> bool:
    """Replace the matrix of an environment; return whether that changed anything.

    Locks the environment, writes each row through `approvals.matrix`, and records `matrix.published` on the whole.
    `draft_id` is the draft that says so, which is then the published one. Raises RulesMoved, Invalid, NotFound.
    """
    with transaction.atomic():
        place = Environment.objects.select_for_update().filter(pk=environment_id).first()
        if place is None:
            raise NotFound
        current = matrix_in_force(environment_id)
        if current == wanted:
            return False
        if current != expected:
            raise RulesMoved(f"The matrix of {place.slug} is another one by now.")
        for tier, seats in wanted.items():
            check_row(place, tier, seats)
        for rule in ApprovalRule.objects.filter(environment=place).exclude(tier__in=wanted):
            drop_row(rule, by=by, correlation_id=correlation_id)
        for tier, seats in wanted.items():
            set_row(place, tier, seats, by=by, correlation_id=correlation_id)
        MatrixDraft.objects.filter(environment=place, state="published").update(state="retired")
        if draft_id is not None:
            ready = MatrixDraft.objects.filter(pk=draft_id, environment=place, state__in=["draft", "retired"])
            if any(draft.rows != wanted for draft in ready):
                raise RulesMoved("The draft was reworded since it was approved.")
            at = database_time()
            if not ready.update(state="published", published_at=at, published_by_action=action_id):
                raise RulesMoved("The draft was given up meanwhile.")
        facts = {"action": str(action_id) if action_id else None, "draft": str(draft_id) if draft_id else None}
        record(
            NewEvent(
                place.tenant_id,
                matrix_subject(place.pk),
                "matrix.published",
                by,
                correlation_id=correlation_id,
                facts={**facts, "before": current, "after": wanted},
                private=private or {},
            )
        )
    return True


def _put_in_force(policy: Policy, wanted: int | None, action_id: UUID | None, text_sha256: str) -> PolicyVersion | None:
    if wanted is None:
        return None
    after = policy.versions.select_related("policy__tenant").filter(version=wanted).first()
    if after is None:
        raise NotFound
    if text_sha256 and text_digest(after) != text_sha256:
        raise RulesMoved(f"Version {after.version} was reworded since it was approved.")
    at = database_time()
    _move(after, ("draft", "retired"), state="published", published_at=at, published_by_action=action_id)
    return after


def _move(version: PolicyVersion, sources: tuple[str, ...], **sets: Any) -> None:
    if not PolicyVersion.objects.filter(pk=version.pk, state__in=sources).update(**sets):
        raise RulesMoved(f"Version {version.version} was given up meanwhile.")


def _record(
    policy: Policy,
    before: PolicyVersion | None,
    after: PolicyVersion | None,
    action_id: UUID | None,
    by: str,
    correlation_id: str,
    facts: dict[str, Any],
    private: dict[str, str],
) -> None:
    verb = "policy.published" if after else "policy.retired"
    found = {
        "action": str(action_id) if action_id else None,
        "before": _kept(before),
        "after": _kept(after),
        **facts,
    }
    record(
        NewEvent(
            policy.home_id,
            policy_subject(policy),
            verb,
            by,
            correlation_id=correlation_id,
            facts=found,
            private=private,
        )
    )


def _kept(version: PolicyVersion | None) -> dict[str, Any] | None:
    return {"version": version.version, **(said(wording_of(version)) or {})} if version else None


def _named(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"
