"""Circuit breakers on the system page."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from actions.breakers import MOST, named, reset_breaker, seen
from actions.pages.entry import access_of, correlation_of, go, page
from tenants.access import Access


def breakers_context(access: Access) -> list[dict[str, Any]]:
    """The breakers that count failures, and whether the reader may reset each. One query."""
    return [
        {"it": b, "name": named(b), "may_reset": access.can("operate", b.environment_id)} for b in seen(access)[:MOST]
    ]


@require_POST
@page
def reset(request: HttpRequest, breaker_id: UUID) -> HttpResponse:
    reason = request.POST.get("reason", "").replace("\x00", "").strip()[:4_000]
    breaker = reset_breaker(access_of(request), breaker_id, reason, correlation_id=correlation_of(request))
    messages.success(request, f"The breaker of {named(breaker)} is closed. What waited behind it may start.")
    return go(request, "/system/")
