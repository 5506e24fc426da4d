"""Deciding several requests at once: only where the tenant allows it, and only below the tier that it set."""

from uuid import UUID

from approvals.models import TIERS
from approvals.records import ApprovalSettings
from audit.errors import Conflict

MOST = 100  # requests in one go


class NotInBulk(Conflict):
    """This cannot be decided together with others. Open it, and decide it by itself."""

    code = "not_in_bulk"


def bulk_below(tenant_id: UUID) -> str:
    """The tier below which a tenant lets people decide several at once; empty for never. One query."""
    return ApprovalSettings.objects.filter(tenant=tenant_id).values_list("bulk_below", flat=True).first() or ""


def may_bulk(below: str, tier: str) -> bool:
    """Whether a change of this tier may be decided together with others. Pure."""
    return bool(below) and tier in TIERS and TIERS.index(tier) < TIERS.index(below)


def refuse_unless_bulk(below: str, tier: str) -> None:
    """Raise NotInBulk, in words, where a change of this tier has to be decided by itself."""
    if not below:
        why = "This tenant lets nobody decide several at once."
        raise NotInBulk(
            why, remedies=["Decide it by itself.", "A tenant admin can set up to which tier it is allowed."]
        )
    if not may_bulk(below, tier):
        why = f"Its tier is {tier or 'not known'}; here only tiers below {below} may be decided together with others."
        raise NotInBulk(why, remedies=["Open it, and decide it by itself."])
