"""Short ways to drafts and rules in force."""

from datetime import timedelta
from typing import Any, TypeVar

from actions.backtests.draft_rules import digest_for
from actions.models import Backtest
from approvals.models import MatrixDraft, PolicyVersion
from approvals.policies.active_policies import epoch_of
from approvals.policies.drafts import draft_policy
from approvals.policies.policy_text import PolicyText
from approvals.policies.publish import publish, published_version
from audit.database.clock import database_time
from tenants.models import Tenant

SETUP = "system:setup"
TWO = [{"role": "approver", "count": 2}]


D = TypeVar("D", PolicyVersion, MatrixDraft)


def policy_text(**fields: Any) -> PolicyText:
    return PolicyText(
        **{"expression": "plan.deletes > 0", "effect": "deny", "message": "Nothing is deleted.", **fields}
    )


def drafted(home: Tenant, slug: str = "no-deletes", *, everywhere: bool = False, **fields: Any) -> PolicyVersion:
    return draft_policy(home, slug, policy_text(**fields), by=SETUP, everywhere=everywhere)


def published(home: Tenant, slug: str = "no-deletes", *, everywhere: bool = False, **fields: Any) -> PolicyVersion:
    version = drafted(home, slug, everywhere=everywhere, **fields)
    publish(version.pk, None, SETUP, expected=published_version(version.policy_id))
    version.refresh_from_db()
    return version


def backtested(draft: D, kind: str = "") -> D:
    """Say that what a draft says now was backtested just now; `kind`: policy or matrix, by what it is, or retire."""
    draft.refresh_from_db()
    is_matrix = isinstance(draft, MatrixDraft)
    tenant_id = draft.tenant_id if is_matrix else draft.policy.home_id
    subject = draft.environment_id if is_matrix else draft.policy_id
    kind, now = kind or ("matrix" if is_matrix else "policy"), database_time()
    Backtest.objects.create(
        tenant_id=tenant_id,
        environment_id=draft.environment_id if is_matrix else None,
        kind=kind,
        draft=draft.pk,
        subject=subject,
        title=str(draft),
        digest=digest_for(kind, draft),
        epoch=epoch_of(tenant_id),
        basis={},
        since=now - timedelta(days=30),
        until=now,
        state="finished",
        total=1234,
        done=1234,
        counts={"draft": {"denied": 3}},
        finished_at=now,
    )
    return draft
