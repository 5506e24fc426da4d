"""Draft a policy or a matrix: checked when saved, edited while it is a draft, without effect until it is published.

Publishing (`approvals.policies.publish`) needs an action of its own. Every change records before and after.
"""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max

from approvals.errors import DraftChanged, NotADraft
from approvals.models import TIERS, MatrixDraft, Policy, PolicyVersion
from approvals.policies.matrix import check_row
from approvals.policies.permissions import By, author_of, require_may_change_matrix, require_may_change_policies
from approvals.policies.policy_text import (
    PolicyText,
    fingerprint,
    issue,
    policy_text_of,
    require_valid_slug,
    require_valid_text,
)
from approvals.policies.subjects import matrix_subject, policy_subject
from audit.errors import Invalid, NotFound
from audit.log.canonical_json import digest_of
from audit.log.events import NewEvent, record
from tenants.models import Environment, Tenant
from tenants.roles import approving_roles_in_tenant

MatrixRows = dict[str, list[dict[str, Any]]]


def draft_policy(
    home: Tenant, slug: str, policy_text: PolicyText, *, by: By, everywhere: bool = False, correlation_id: str = ""
) -> PolicyVersion:
    """Draft the next version of the policy of this name, or the first one of a new policy.

    `everywhere`: a global policy, owned by `home`. Locks the policy. Event `policy.drafted`. Raises Invalid with
    issues {severity, message, field, line?, column?}, MayNotChangeRules, NotFound.
    """
    actor = require_may_change_policies(by, home, everywhere=everywhere)
    require_valid_slug(slug)
    require_valid_text(policy_text, None if everywhere else approving_roles_in_tenant(home.pk))
    with transaction.atomic():
        policy = _lock_policy(home, slug, everywhere)
        last = policy.versions.aggregate(last=Max("version"))["last"] or 0
        made = PolicyVersion.objects.create(
            policy=policy, version=last + 1, author=author_of(by), **asdict(policy_text)
        )
        _record(made, "policy.drafted", actor, None, policy_text, correlation_id)
    return made


def edit_policy_draft(
    version_id: UUID, policy_text: PolicyText, *, by: By, seen: str = "", correlation_id: str = ""
) -> PolicyVersion:
    """Edit a draft. Locks the policy. Event `policy.draft_edited`. Raises Invalid, NotADraft, NotFound.

    `seen`: the `fingerprint` of the text that the editor started from; DraftChanged if it changed since.
    """
    version = _get_policy_draft(version_id)
    policy = version.policy
    actor = require_may_change_policies(by, policy.home, everywhere=policy.is_global)
    require_valid_text(policy_text, None if policy.is_global else approving_roles_in_tenant(policy.home_id))
    with transaction.atomic():
        Policy.objects.select_for_update().get(pk=policy.pk)
        before = policy_text_of(_get_policy_draft(version_id))
        if before == policy_text:
            return version
        if seen and seen != fingerprint(before):
            raise DraftChanged(digest=fingerprint(before))
        if not PolicyVersion.objects.filter(pk=version_id, state="draft").update(**asdict(policy_text)):
            raise NotADraft
        version.refresh_from_db(fields=list(asdict(policy_text)))
        _record(version, "policy.draft_edited", actor, before, policy_text, correlation_id)
    return version


def abandon_policy_draft(version_id: UUID, *, by: By, correlation_id: str = "") -> PolicyVersion:
    """Abandon a draft, for good. Event `policy.draft_abandoned`. Raises NotADraft, NotFound."""
    version = _get_policy_draft(version_id)
    actor = require_may_change_policies(by, version.policy.home, everywhere=version.policy.is_global)
    with transaction.atomic():
        Policy.objects.select_for_update().get(pk=version.policy_id)
        if not PolicyVersion.objects.filter(pk=version_id, state="draft").update(state="abandoned"):
            raise NotADraft
        version.state = "abandoned"
        _record(version, "policy.draft_abandoned", actor, policy_text_of(version), None, correlation_id)
    return version


def draft_matrix(environment: Environment, rows: MatrixRows, *, by: By, correlation_id: str = "") -> MatrixDraft:
    """Draft the whole matrix of an environment: {tier: required approvals}; a tier left out is denied. Event
    `matrix.drafted`.
    """
    actor = require_may_change_matrix(by, environment.tenant_id, environment.pk)
    check_rows(environment, rows)
    with transaction.atomic():
        made = MatrixDraft.objects.create(
            tenant_id=environment.tenant_id, environment=environment, rows=rows, author=author_of(by)
        )
        _record_matrix(made, "matrix.drafted", actor, None, rows, correlation_id)
    return made


def edit_matrix_draft(
    draft_id: UUID, rows: MatrixRows, *, by: By, seen: str = "", correlation_id: str = ""
) -> MatrixDraft:
    """Change a draft of a matrix. Event `matrix.draft_edited`. Raises Invalid, NotADraft, NotFound.

    `seen`: `digest_of` the rows that the editor started from; DraftChanged if they changed since.
    """
    found = _get_matrix_draft(draft_id)
    actor = require_may_change_matrix(by, found.tenant_id, found.environment_id)
    check_rows(found.environment, rows)
    with transaction.atomic():
        Environment.objects.select_for_update().get(pk=found.environment_id)
        before = _get_matrix_draft(draft_id).rows
        if before != rows:
            if seen and seen != digest_of(before):
                raise DraftChanged(digest=digest_of(before))
            if not MatrixDraft.objects.filter(pk=draft_id, state="draft").update(rows=rows):
                raise NotADraft
            found.rows = rows
            _record_matrix(found, "matrix.draft_edited", actor, before, rows, correlation_id)
    return found


def abandon_matrix_draft(draft_id: UUID, *, by: By, correlation_id: str = "") -> MatrixDraft:
    """Abandon a draft of a matrix, for good. Event `matrix.draft_abandoned`. Raises NotADraft, NotFound."""
    found = _get_matrix_draft(draft_id)
    actor = require_may_change_matrix(by, found.tenant_id, found.environment_id)
    with transaction.atomic():
        if not MatrixDraft.objects.filter(pk=draft_id, state="draft").update(state="abandoned"):
            raise NotADraft
        found.state = "abandoned"
        _record_matrix(found, "matrix.draft_abandoned", actor, found.rows, None, correlation_id)
    return found


def check_rows(environment: Environment, rows: Any) -> None:
    """Raise Invalid unless `rows` is {tier: required approvals} whose required approvals can be filled in the
    environment.
    """
    if not isinstance(rows, dict):
        raise Invalid(issues=[issue("Rows must be required approvals by tier.", "rows")])
    for tier, required_approvals in rows.items():
        if tier not in TIERS:
            message = f"{str(tier)[:40]} is not a tier; use one of {', '.join(TIERS)}."
            raise Invalid(message, issues=[issue(message, "rows")])
        try:
            check_row(environment, tier, required_approvals)
        except Invalid as invalid:
            found = [{**each, "field": f"rows.{tier}"} for each in invalid.extra["issues"]]
            raise Invalid(invalid.detail, issues=found) from None


def policy_text_facts(policy_text: PolicyText | None) -> dict[str, Any] | None:
    """A policy's text as an event's facts; its message, which is free text, is stored as private."""
    return None if policy_text is None else {k: v for k, v in asdict(policy_text).items() if k != "message"}


def _lock_policy(home: Tenant, slug: str, everywhere: bool) -> Policy:
    """The policy of this name, locked, made if it is new. A global name belongs to the tenant that took it first."""
    tenant = None if everywhere else home
    try:
        with transaction.atomic():
            policy, _ = Policy.objects.get_or_create(tenant=tenant, slug=slug, defaults={"home": home})
    except IntegrityError:  # another draft took the name between look and insert
        policy = Policy.objects.get(tenant=tenant, slug=slug)
    if policy.home_id != home.pk:
        message = "A global policy of this name belongs to another tenant."
        raise Invalid(message, issues=[issue(message, "slug")])
    return Policy.objects.select_for_update().get(pk=policy.pk)


def _get_policy_draft(version_id: UUID) -> PolicyVersion:
    joined = PolicyVersion.objects.select_related("policy__home", "policy__tenant", "author")
    version = joined.filter(pk=version_id).first()
    if version is None:
        raise NotFound
    return version


def _get_matrix_draft(draft_id: UUID) -> MatrixDraft:
    found = MatrixDraft.objects.select_related("environment", "author").filter(pk=draft_id).first()
    if found is None:
        raise NotFound
    return found


def _record(
    version: PolicyVersion,
    verb: str,
    actor: str,
    before: PolicyText | None,
    after: PolicyText | None,
    correlation_id: str,
) -> None:
    policy, facts = (
        version.policy,
        {"version": version.version, "before": policy_text_facts(before), "after": policy_text_facts(after)},
    )
    latest = after or before
    private = {"message": latest.message} if latest else {}
    record(
        NewEvent(
            policy.home_id,
            policy_subject(policy),
            verb,
            actor,
            correlation_id=correlation_id,
            facts=facts,
            private=private,
        )
    )


def _record_matrix(
    found: MatrixDraft, verb: str, actor: str, before: MatrixRows | None, after: MatrixRows | None, correlation_id: str
) -> None:
    facts = {"draft": str(found.pk), "environment": str(found.environment_id), "before": before, "after": after}
    subject = matrix_subject(found.environment_id)
    record(NewEvent(found.tenant_id, subject, verb, actor, correlation_id=correlation_id, facts=facts))
