"""Short ways to drafts and rules in force."""

from typing import Any

from approvals.models import PolicyVersion
from approvals.policies.drafts import draft
from approvals.policies.publish import in_force, publish
from approvals.policies.wording import Wording
from tenants.models import Tenant

SETUP = "system:setup"
TWO = [{"role": "approver", "count": 2}]


def wording(**fields: Any) -> Wording:
    return Wording(**{"expression": "plan.deletes > 0", "effect": "deny", "message": "Nothing is deleted.", **fields})


def drafted(home: Tenant, slug: str = "no-deletes", *, everywhere: bool = False, **fields: Any) -> PolicyVersion:
    return draft(home, slug, wording(**fields), by=SETUP, everywhere=everywhere)


def published(home: Tenant, slug: str = "no-deletes", *, everywhere: bool = False, **fields: Any) -> PolicyVersion:
    version = drafted(home, slug, everywhere=everywhere, **fields)
    publish(version.pk, None, SETUP, expected=in_force(version.policy_id))
    version.refresh_from_db()
    return version
