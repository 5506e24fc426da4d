"""The way out of a lock-out, for whoever has the machine: no gate, no approval, and an event that says so."""

from typing import Any

from django.db import transaction

from approvals.matrix import set_row
from approvals.models import ApprovalRule
from approvals.policies.drafts import matrix_subject
from approvals.policies.models import Policy
from approvals.policies.publish import in_force, swap
from audit.log.events import NewEvent, record
from tenants.models import Environment

BY = "system:recover"


def retire_now(policy: Policy, reason: str) -> int | None:
    """Take whatever is in force of a policy out of force; return its version, None if nothing was.

    Event `policy.retired` with the fact `recovered` and the reason.
    """
    version = in_force(policy.pk)
    if version is None or not swap(policy.pk, version, None, None, BY, private={"reason": reason}, recovered=True):
        return None
    return version


def set_row_now(place: Environment, tier: str, seats: list[dict[str, Any]], reason: str) -> ApprovalRule:
    """Write one row of the matrix. The row's own event, and `matrix.recovered` with the reason. Raises Invalid."""
    with transaction.atomic():
        row = set_row(place, tier, seats, by=BY)
        record(
            NewEvent(
                place.tenant_id,
                matrix_subject(place.pk),
                "matrix.recovered",
                BY,
                facts={"tier": tier, "seats": seats, "row": str(row.pk)},
                private={"reason": reason},
            )
        )
    return row
