"""Impact: did actions do what their plans predicted, type by type?"""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.impact_report import PERIODS, USUAL_DAYS, report
from actions.pages.entry import access_of, page
from tenants.access import Access
from tenants.models import Environment


@page
def impact(request: HttpRequest) -> HttpResponse:
    asked = request.GET
    return render(request, "impact/impact.html", impact_context(access_of(request), asked))


def impact_context(access: Access, asked: Any) -> dict[str, Any]:
    """What one may view, of one environment or all of them; a filter that is not known is as if it were not there."""
    visible = access.environments_where("view")
    places = list(Environment.objects.filter(tenant=access.tenant, pk__in=visible).order_by("slug"))
    chosen = next((place for place in places if place.slug == asked.get("environment")), None)
    days = next((n for n in PERIODS if str(n) == asked.get("days")), USUAL_DAYS)
    return {
        "here": "impact",
        "environments": places,
        "chosen": chosen,
        "days": days,
        "periods": PERIODS,
        "rows": report([chosen.pk] if chosen else [place.pk for place in places], days),
    }
