"""The frame around every page: the reader, their tenant, and how much needs them."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from actions.models import Action
from actions.queries.action_list import capped_count, needs_attention_from
from actions.queries.inbox import inbox_condition
from actions.queries.incidents import unacknowledged
from approvals.requests.comments import COMMENTER_PERMISSIONS
from tenants.access import Access, tenants_of


def page_frame(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `shell`, worked out only on pages that draw the frame (seven queries)."""
    return {"shell": SimpleLazyObject(lambda: build_frame(request))}


def build_frame(request: HttpRequest) -> dict[str, Any]:
    access: Access | None = getattr(request, "access", None)
    if access is None:
        return {}
    who = access.principal
    return {
        "who": str(who),
        "is_agent": not access.is_person(),
        "is_staff": who.is_staff,
        "tenant": access.tenant,
        "tenants": tenants_of(who),
        "roles": ", ".join(sorted(access.roles)) or "no role",
        "may_propose": access.can("propose") or bool(access.environments_where("propose")),
        "may_talk": any(access.environments_where(permission) for permission in COMMENTER_PERMISSIONS),
        "may_audit": access.can("audit") or bool(access.environments_where("audit")),
        "approvals": capped_count(Action.objects.filter(inbox_condition(access))),
        "needs_you": capped_count(Action.objects.filter(needs_attention_from(access))),
        "incidents": capped_count(unacknowledged(access)),
    }
