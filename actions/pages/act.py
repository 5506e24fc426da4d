"""The other verbs, one form each: withdraw, abort, settle what is held, roll back, retry."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from actions import verbs
from actions.intake.submission import MODES
from actions.pages.entry import access_of, address_of, correlation_of, go, page
from actions.pages.way_back import roll_back_to


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").replace("\x00", "").strip()[:4_000]


@require_POST
@page
def cancel(request: HttpRequest, action_id: UUID) -> HttpResponse:
    action = verbs.cancel(access_of(request), action_id, _reason(request), correlation_id=correlation_of(request))
    messages.success(request, "Withdrawn. Nothing was changed.")
    return go(request, address_of(action))


@require_POST
@page
def resume(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Settle a held action: go on, undo, or give up; for a step in doubt with the person's word on it."""
    found = {"yes": True, "no": False}.get(request.POST.get("step_done", ""))
    how = request.POST.get("how", "")
    via = correlation_of(request)
    action = verbs.resume(access_of(request), action_id, _reason(request), how=how, step_done=found, correlation_id=via)
    return go(request, f"/actions/{action.pk}/run/")


@require_POST
@page
def rollback(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Undo: of a completed action by a new one that goes through the gate, of a failed or held one at once.

    With a checkpoint, back to just after that step.
    """
    if request.POST.get("to"):
        return roll_back_to(request, action_id)
    action, new = verbs.rollback(
        access_of(request), action_id, _reason(request), correlation_id=correlation_of(request)
    )
    if new:
        messages.success(request, "This is the action that undoes it. It goes through the gate like any other.")
    return go(request, address_of(action))


@require_POST
@page
def retry(request: HttpRequest, action_id: UUID) -> HttpResponse:
    mode = request.POST.get("mode", "") if request.POST.get("mode") in MODES else ""
    via = correlation_of(request)
    action = verbs.retry(access_of(request), action_id, _reason(request), mode=mode, correlation_id=via)
    messages.success(request, "Proposed again. It is planned and judged afresh.")
    return go(request, address_of(action))
