"""Publish and retire rules: one transaction each, guarded by the rules that were in force when it was decided.

The caller names the rules that it expects to be in force; if they changed since, nothing changes and RulesChanged is
raised. If the new ones are in force already, nothing changes either. `retire_now` and `set_row_now` recover from a
lock-out, for operators of the machine: without approval, and with an event.
"""

from typing import Any
from uuid import UUID

from django.db import transaction

from approvals.errors import RulesChanged
from approvals.models import MatrixDraft, MatrixRow, Policy, PolicyVersion
from approvals.policies.active_policies import bump_epoch
from approvals.policies.drafts import policy_text_facts
from approvals.policies.matrix import check_row, remove_row, set_row
from approvals.policies.policy_text import policy_text_of, text_digest
from approvals.policies.subjects import matrix_subject, policy_subject
from audit.database.clock import database_time
from audit.errors import NotFound
from audit.log.events import NewEvent, record
from tenants.models import Environment

MatrixRows = dict[str, list[dict[str, Any]]]


def published_version(policy_id: UUID) -> int | None:
    """The number of a policy's published version, or None."""
    return PolicyVersion.objects.filter(policy=policy_id, state="published").values_list("version", flat=True).first()


def publish(
    version_id: UUID, action_id: UUID | None, by: str, *, expected: int | None, correlation_id: str = ""
) -> bool:
    """Publish a draft or a retired version in place of version `expected` (None: no version is in force)."""
    version = PolicyVersion.objects.filter(pk=version_id).first()
    if version is None:
        raise NotFound
    return replace_version(version.policy_id, expected, version.version, action_id, by, correlation_id=correlation_id)


def retire(version_id: UUID, action_id: UUID | None, by: str, *, correlation_id: str = "", **facts: Any) -> bool:
    """Retire a published version; its policy then has none in force."""
    version = PolicyVersion.objects.filter(pk=version_id).first()
    if version is None:
        raise NotFound
    return replace_version(
        version.policy_id, version.version, None, action_id, by, correlation_id=correlation_id, **facts
    )


def replace_version(
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

    `text_sha256` is that of the text of `wanted` that people approved (`policy_text.text_digest`); a draft that
    changed since stays a draft. Locks the policy, as edits of drafts do; records `policy.published` or
    `policy.retired` with before and after, and raises the epoch. Raises RulesChanged if neither `expected` nor `wanted`
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
            raise RulesChanged(
                f"{policy.slug} is now at {_describe_version(current)}, not at {_describe_version(expected)}."
            )
        before = versions[current] if current is not None else None
        if before is not None:
            _change_state(before, ("published",), state="retired")
        after = _publish_version(policy, wanted, action_id, text_sha256)
        _record(policy, before, after, action_id, by, correlation_id, facts, private or {})
        bump_epoch(policy.tenant_id)
    return True


def published_matrix(environment_id: UUID) -> MatrixRows:
    """The rows of an environment's matrix, {tier: required approvals}."""
    return dict(MatrixRow.objects.filter(environment=environment_id).values_list("tier", "required_approvals"))


def replace_matrix(
    environment_id: UUID,
    expected: MatrixRows,
    wanted: MatrixRows,
    action_id: UUID | None,
    by: str,
    *,
    draft_id: UUID | None = None,
    correlation_id: str = "",
    private: dict[str, str] | None = None,
) -> bool:
    """Replace the matrix of an environment; return whether that changed anything.

    Locks the environment, writes each row through `approvals.policies.matrix`, and records `matrix.published` on the
    whole matrix. `draft_id` is its draft, which is then published. Raises RulesChanged, Invalid, NotFound.
    """
    with transaction.atomic():
        environment = Environment.objects.select_for_update().filter(pk=environment_id).first()
        if environment is None:
            raise NotFound
        current = published_matrix(environment_id)
        if current == wanted:
            return False
        if current != expected:
            raise RulesChanged(f"The matrix of {environment.slug} changed since.")
        for tier, required_approvals in wanted.items():
            check_row(environment, tier, required_approvals)
        for rule in MatrixRow.objects.filter(environment=environment).exclude(tier__in=wanted):
            remove_row(rule, by=by, correlation_id=correlation_id)
        for tier, required_approvals in wanted.items():
            set_row(environment, tier, required_approvals, by=by, correlation_id=correlation_id)
        MatrixDraft.objects.filter(environment=environment, state="published").update(state="retired")
        if draft_id is not None:
            _publish_matrix_draft(environment, draft_id, wanted, action_id)
        facts = {"action": str(action_id) if action_id else None, "draft": str(draft_id) if draft_id else None}
        record(
            NewEvent(
                environment.tenant_id,
                matrix_subject(environment.pk),
                "matrix.published",
                by,
                correlation_id=correlation_id,
                facts={**facts, "before": current, "after": wanted},
                private=private or {},
            )
        )
    return True


def _publish_matrix_draft(environment: Environment, draft_id: UUID, wanted: MatrixRows, action_id: UUID | None) -> None:
    ready = MatrixDraft.objects.filter(pk=draft_id, environment=environment, state__in=["draft", "retired"])
    if any(draft.rows != wanted for draft in ready):
        raise RulesChanged("The draft changed after it was approved.")
    at = database_time()
    if not ready.update(state="published", published_at=at, published_by_action=action_id):
        raise RulesChanged("The draft was abandoned.")


def _publish_version(
    policy: Policy, wanted: int | None, action_id: UUID | None, text_sha256: str
) -> PolicyVersion | None:
    if wanted is None:
        return None
    after = policy.versions.select_related("policy__tenant").filter(version=wanted).first()
    if after is None:
        raise NotFound
    if text_sha256 and text_digest(after) != text_sha256:
        raise RulesChanged(f"Version {after.version} changed after it was approved.")
    at = database_time()
    _change_state(after, ("draft", "retired"), state="published", published_at=at, published_by_action=action_id)
    return after


def _change_state(version: PolicyVersion, sources: tuple[str, ...], **sets: Any) -> None:
    if not PolicyVersion.objects.filter(pk=version.pk, state__in=sources).update(**sets):
        raise RulesChanged(f"Version {version.version} was abandoned.")


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
        "before": _version_facts(before),
        "after": _version_facts(after),
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


def _version_facts(version: PolicyVersion | None) -> dict[str, Any] | None:
    return {"version": version.version, **(policy_text_facts(policy_text_of(version)) or {})} if version else None


def _describe_version(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"


# Recovery from a lock-out, for operators of the machine: without approval, with an event.


RECOVERY_ACTOR = "system:recover"


def retire_now(policy: Policy, reason: str) -> int | None:
    """Retire the version in force; return its number, None if there was none.

    Event `policy.retired` with the fact `recovered` and the reason.
    """
    version = published_version(policy.pk)
    if version is None or not replace_version(
        policy.pk, version, None, None, RECOVERY_ACTOR, private={"reason": reason}, recovered=True
    ):
        return None
    return version


def set_row_now(
    environment: Environment, tier: str, required_approvals: list[dict[str, Any]], reason: str
) -> MatrixRow:
    """Write one row of the matrix. The row's own event, and `matrix.recovered` with the reason. Raises Invalid."""
    with transaction.atomic():
        row = set_row(environment, tier, required_approvals, by=RECOVERY_ACTOR)
        record(
            NewEvent(
                environment.tenant_id,
                matrix_subject(environment.pk),
                "matrix.recovered",
                RECOVERY_ACTOR,
                facts={"tier": tier, "required_approvals": required_approvals, "row": str(row.pk)},
                private={"reason": reason},
            )
        )
    return row
