"""The weights of the blast radius: read them as evaluation needs them; change them with a reason and an event."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db import transaction

from approvals.blast.factors import FACTORS
from approvals.blast.score import DEFAULT_WEIGHT, MAX_WEIGHT
from approvals.models import BlastWeights
from approvals.policies.active_policies import bump_epoch
from approvals.policies.permissions import By, require_may_change_policies
from audit.errors import Invalid
from audit.log.events import NewEvent, Subject, record
from tenants.models import Tenant

MAX_REASON = 500


def weights_for(tenant_ids: Iterable[UUID]) -> dict[UUID, dict[str, int]]:
    """{tenant id: the weights other than 100} of those that have any. One query."""
    found = BlastWeights.objects.filter(tenant_id__in=list(tenant_ids))
    return {row.tenant_id: row.unusual() for row in found}


def weights_of(tenant: Tenant) -> dict[str, int]:
    """The weights other than 100 of a tenant that was read with `blast_weights` joined; without, one query."""
    row = getattr(tenant, "blast_weights", None)
    return row.unusual() if row else {}


def current_weights(tenant_id: UUID) -> dict[str, int]:
    """Every factor's weight, by its name. One query."""
    return dict.fromkeys(FACTORS, DEFAULT_WEIGHT) | weights_for([tenant_id]).get(tenant_id, {})


def set_weights(
    tenant: Tenant, percents: Mapping[str, Any], reason: str, *, by: By, correlation_id: str = ""
) -> dict[str, int]:
    """Set some or all of a tenant's weights; return all of them. Locks the tenant; records before, after and why.

    Applies to every plan evaluated from now on, to approved ones at their start. Raises Invalid for an unknown factor,
    a bad percentage or a missing reason; MayNotChangeRules for people who do not administer the whole tenant.
    """
    actor = require_may_change_policies(by, tenant)
    check_weights(percents, reason)
    with transaction.atomic():
        Tenant.objects.select_for_update().get(pk=tenant.pk)
        row = BlastWeights.objects.filter(tenant=tenant).first() or BlastWeights(tenant=tenant)
        before = row.percents()
        after = before | dict(percents)
        if after == before:
            return after
        for name, percent in after.items():
            setattr(row, name, percent)
        row.save()
        facts = {"before": before, "after": after, "lowered": sorted(n for n in after if after[n] < before[n])}
        subject, private = Subject("blast_weights", tenant.pk), {"reason": reason.strip()}
        record(NewEvent(tenant.pk, subject, "blast_weights.changed", actor, "ok", correlation_id, facts, private))
        bump_epoch(tenant.pk)
    return after


def check_weights(percents: Mapping[str, Any], reason: str) -> None:
    """Raise Invalid, naming each bad weight, and a missing reason."""
    issues = [
        _issue(f"{name[:63]!r} is not a factor; use one of {', '.join(FACTORS)}.", name)
        for name in percents.keys() - FACTORS
    ]
    issues += [
        _issue(f"A weight is a whole percentage from 0 to {MAX_WEIGHT}.", name)
        for name in FACTORS
        if name in percents and not (type(percents[name]) is int and 0 <= percents[name] <= MAX_WEIGHT)
    ]
    if not reason.strip():
        issues.append(_issue("Give a reason: weights change the required approvals.", "reason"))
    elif len(reason) > MAX_REASON:
        issues.append(_issue(f"At most {MAX_REASON} characters.", "reason"))
    if issues:
        raise Invalid(issues[0]["message"], issues=issues)


def _issue(message: str, field: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}
