"""
Draft a policy or a matrix: checked when it is saved, edited as long as it is a draft, and without effect until it is
published (`approvals.policies.publish`), which takes an action of its own. Every change leaves before and after.
"""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max

from approvals.errors import DraftMoved, NotADraft
from approvals.matrix import check_row
from approvals.models import TIERS
from approvals.people import roles_that_approve
from approvals.policies.models import MatrixDraft, Policy, PolicyVersion
from approvals.policies.rulers import By, author_of, permit, permit_in
from approvals.policies.wording import Wording, fingerprint, issue, refuse_faults, refuse_slug, wording_of
from audit.errors import Invalid, NotFound
from audit.log.canonical_json import digest_of
from audit.log.events import NewEvent, Subject, record
from tenants.models import Environment, Tenant

Rows = dict[str, list[dict[str, Any]]]


def draft(
    home: Tenant, slug: str, wording: Wording, *, by: By, everywhere: bool = False, correlation_id: str = ""
) -> PolicyVersion:
    """Draft the next version of the policy of this name, or the first one of a new policy.

    `everywhere`: a global policy, kept by `home`. Locks the policy. Event `policy.drafted`. Raises Invalid with
    issues {severity, message, field, line?, column?}, NotYoursToRule, NotFound.
    """
    actor = permit(by, home, everywhere=everywhere)
    refuse_slug(slug)
    refuse_faults(wording, None if everywhere else roles_that_approve(home.pk))
    with transaction.atomic():
        policy = _policy(home, slug, everywhere)
        last = policy.versions.aggregate(last=Max("version"))["last"] or 0
        made = PolicyVersion.objects.create(policy=policy, version=last + 1, author=author_of(by), **asdict(wording))
        _record(made, "policy.drafted", actor, None, wording, correlation_id)
    return made


def edit(version_id: UUID, wording: Wording, *, by: By, seen: str = "", correlation_id: str = "") -> PolicyVersion:
    """Reword a draft. Locks the policy. Event `policy.draft_edited`. Raises Invalid, NotADraft, NotFound.

    `seen`: the `fingerprint` of the wording that the editor started from; DraftMoved if it is another one by now.
    """
    version = _draft(version_id)
    policy = version.policy
    actor = permit(by, policy.home, everywhere=policy.is_global)
    refuse_faults(wording, None if policy.is_global else roles_that_approve(policy.home_id))
    with transaction.atomic():
        Policy.objects.select_for_update().get(pk=policy.pk)
        before = wording_of(_draft(version_id))
        if before == wording:
            return version
        if seen and seen != fingerprint(before):
            raise DraftMoved(digest=fingerprint(before))
        if not PolicyVersion.objects.filter(pk=version_id, state="draft").update(**asdict(wording)):
            raise NotADraft
        version.refresh_from_db(fields=list(asdict(wording)))
        _record(version, "policy.draft_edited", actor, before, wording, correlation_id)
    return version


def abandon(version_id: UUID, *, by: By, correlation_id: str = "") -> PolicyVersion:
    """Give a draft up, for good. Event `policy.draft_abandoned`. Raises NotADraft, NotFound."""
    version = _draft(version_id)
    actor = permit(by, version.policy.home, everywhere=version.policy.is_global)
    with transaction.atomic():
        Policy.objects.select_for_update().get(pk=version.policy_id)
        if not PolicyVersion.objects.filter(pk=version_id, state="draft").update(state="abandoned"):
            raise NotADraft
        version.state = "abandoned"
        _record(version, "policy.draft_abandoned", actor, wording_of(version), None, correlation_id)
    return version


def draft_matrix(environment: Environment, rows: Rows, *, by: By, correlation_id: str = "") -> MatrixDraft:
    """Draft the whole matrix of an environment: {tier: seats}; a tier left out denies. Event `matrix.drafted`."""
    actor = permit_in(by, environment.tenant_id, environment.pk)
    check_rows(environment, rows)
    with transaction.atomic():
        made = MatrixDraft.objects.create(
            tenant_id=environment.tenant_id, environment=environment, rows=rows, author=author_of(by)
        )
        _record_matrix(made, "matrix.drafted", actor, None, rows, correlation_id)
    return made


def edit_matrix(draft_id: UUID, rows: Rows, *, by: By, seen: str = "", correlation_id: str = "") -> MatrixDraft:
    """Change a draft of a matrix. Event `matrix.draft_edited`. Raises Invalid, NotADraft, NotFound.

    `seen`: `digest_of` the rows that the editor started from; DraftMoved if they are others by now.
    """
    found = _matrix_draft(draft_id)
    actor = permit_in(by, found.tenant_id, found.environment_id)
    check_rows(found.environment, rows)
    with transaction.atomic():
        Environment.objects.select_for_update().get(pk=found.environment_id)
        before = _matrix_draft(draft_id).rows
        if before != rows:
            if seen and seen != digest_of(before):
                raise DraftMoved(digest=digest_of(before))
            if not MatrixDraft.objects.filter(pk=draft_id, state="draft").update(rows=rows):
                raise NotADraft
            found.rows = rows
            _record_matrix(found, "matrix.draft_edited", actor, before, rows, correlation_id)
    return found


def abandon_matrix(draft_id: UUID, *, by: By, correlation_id: str = "") -> MatrixDraft:
    """Give a draft of a matrix up, for good. Event `matrix.draft_abandoned`. Raises NotADraft, NotFound."""
    found = _matrix_draft(draft_id)
    actor = permit_in(by, found.tenant_id, found.environment_id)
    with transaction.atomic():
        if not MatrixDraft.objects.filter(pk=draft_id, state="draft").update(state="abandoned"):
            raise NotADraft
        found.state = "abandoned"
        _record_matrix(found, "matrix.draft_abandoned", actor, found.rows, None, correlation_id)
    return found


def check_rows(environment: Environment, rows: Any) -> None:
    """Raise Invalid unless `rows` is {tier: seats} whose seats can be filled in the environment."""
    if not isinstance(rows, dict):
        raise Invalid(issues=[issue("Rows are seats by tier.", "rows")])
    for tier, seats in rows.items():
        if tier not in TIERS:
            message = f"{str(tier)[:40]} is no tier; one of {', '.join(TIERS)}."
            raise Invalid(message, issues=[issue(message, "rows")])
        try:
            check_row(environment, tier, seats)
        except Invalid as invalid:
            found = [{**each, "field": f"rows.{tier}"} for each in invalid.extra["issues"]]
            raise Invalid(invalid.detail, issues=found) from None


def said(wording: Wording | None) -> dict[str, Any] | None:
    """A wording as an event's facts; its message, which is free text, goes beside them."""
    return None if wording is None else {k: v for k, v in asdict(wording).items() if k != "message"}


def policy_subject(policy: Policy) -> Subject:
    return Subject("policy", policy.pk, policy.slug, f"/rules/policies/{policy.pk}/")


def matrix_subject(environment_id: UUID) -> Subject:
    """An environment's matrix as a whole; its rows are subjects of their own."""
    return Subject("matrix", environment_id)


def _policy(home: Tenant, slug: str, everywhere: bool) -> Policy:
    """The policy of this name, locked, made if it is new. A global name belongs to the tenant that took it first."""
    tenant = None if everywhere else home
    try:
        with transaction.atomic():
            policy, _ = Policy.objects.get_or_create(tenant=tenant, slug=slug, defaults={"home": home})
    except IntegrityError:  # another draft took the name between look and insert
        policy = Policy.objects.get(tenant=tenant, slug=slug)
    if policy.home_id != home.pk:
        message = "A global policy of this name is kept by another tenant."
        raise Invalid(message, issues=[issue(message, "slug")])
    return Policy.objects.select_for_update().get(pk=policy.pk)


def _draft(version_id: UUID) -> PolicyVersion:
    joined = PolicyVersion.objects.select_related("policy__home", "policy__tenant", "author")
    version = joined.filter(pk=version_id).first()
    if version is None:
        raise NotFound
    return version


def _matrix_draft(draft_id: UUID) -> MatrixDraft:
    found = MatrixDraft.objects.select_related("environment", "author").filter(pk=draft_id).first()
    if found is None:
        raise NotFound
    return found


def _record(
    version: PolicyVersion, verb: str, actor: str, before: Wording | None, after: Wording | None, correlation_id: str
) -> None:
    policy, facts = version.policy, {"version": version.version, "before": said(before), "after": said(after)}
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
    found: MatrixDraft, verb: str, actor: str, before: Rows | None, after: Rows | None, correlation_id: str
) -> None:
    facts = {"draft": str(found.pk), "environment": str(found.environment_id), "before": before, "after": after}
    subject = matrix_subject(found.environment_id)
    record(NewEvent(found.tenant_id, subject, verb, actor, correlation_id=correlation_id, facts=facts))
