"""What the frame around every page shows: who you are, where you are, and how much waits for you."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from actions.handoff.reading import waiting_for
from actions.models import Action
from actions.pages.inbox import waiting_count
from actions.pages.whose_turn import capped, needs_you
from approvals.requests.comments import COMMENTER_PERMISSIONS
from tenants.access import Access, tenants_of


def shell(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `shell`, worked out only on pages that draw the frame (seven queries)."""
    return {"shell": SimpleLazyObject(lambda: frame(request))}


def frame(request: HttpRequest) -> dict[str, Any]:
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
        "approvals": capped(Action.objects.filter(waiting_count(access))),
        "needs_you": capped(Action.objects.filter(needs_you(access))),
        "tickets": capped(waiting_for(access)),
    }
