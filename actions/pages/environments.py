"""An environment: is it held, what does it hold, and how many may run there?"""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from actions.pages.entry import access_of, correlation_of, go, page
from actions.scheduling import switch
from actions.scheduling.places import caps_seen, state_of


@page
def environment(request: HttpRequest, slug: str) -> HttpResponse:
    access = access_of(request)
    place = switch.find_place(access, slug)
    may = access.can("operate", place.pk) or access.can("administer", place.pk)
    context = {"here": "system", "place": place, "standing": state_of(place), "may_switch": may}
    return render(request, "system/environment.html", context | {"caps": caps_seen(access, place)})


@require_POST
@page
def hold(request: HttpRequest, slug: str) -> HttpResponse:
    thrown = switch.throw(access_of(request), slug, _reason(request), correlation_id=correlation_of(request))
    messages.warning(request, f"{thrown.environment.name} is held. Nothing starts; what runs stops at its checkpoint.")
    return go(request, f"/environments/{slug}/")


@require_POST
@page
def release(request: HttpRequest, slug: str) -> HttpResponse:
    resumed = switch.lift(access_of(request), slug, _reason(request), correlation_id=correlation_of(request))
    messages.success(request, f"Released. {resumed} held action{'' if resumed == 1 else 's'} went on.")
    return go(request, f"/environments/{slug}/")


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").replace("\x00", "").strip()[:4_000]
