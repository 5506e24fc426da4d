"""What the frame around every page shows: who you are, where you are, and how much waits for you."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_POST

from actions.models import Action
from actions.pages.entry import access_of, page
from actions.pages.whose_turn import capped, needs_you
from tenants.access import Access, tenants_of


def shell(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `shell`, worked out only on pages that draw the frame (three queries)."""
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
        "may_audit": access.can("audit") or bool(access.environments_where("audit")),
        "needs_you": capped(Action.objects.filter(needs_you(access))),
    }


@require_POST
@page
def switch_tenant(request: HttpRequest) -> HttpResponse:
    """Look at another of one's own tenants from now on."""
    slug = request.POST.get("tenant", "")
    chosen = next((t for t in tenants_of(access_of(request).principal) if t.slug == slug), None)
    if chosen is None:
        messages.error(request, "You do not belong to that tenant.")
    else:
        request.session["tenant"] = chosen.slug
    return redirect("queue")
