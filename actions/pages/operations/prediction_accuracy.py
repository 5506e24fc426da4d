"""Impact: did actions do what their plans predicted, type by type?"""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.pages.decorators import access_of, require_member
from actions.queries.prediction_accuracy import PERIODS, USUAL_DAYS, accuracy_report
from tenants.access import Access
from tenants.models import Environment


@require_member
def prediction_accuracy_page(request: HttpRequest) -> HttpResponse:
    asked = request.GET
    return render(request, "prediction_accuracy/prediction_accuracy.html", accuracy_context(access_of(request), asked))


def accuracy_context(access: Access, asked: Any) -> dict[str, Any]:
    """What one may view, of one environment or all of them; a filter that is not known is as if it were not there."""
    visible = access.environments_where("view")
    places = list(Environment.objects.filter(tenant=access.tenant, pk__in=visible).order_by("slug"))
    chosen = next((place for place in places if place.slug == asked.get("environment")), None)
    days = next((n for n in PERIODS if str(n) == asked.get("days")), USUAL_DAYS)
    return {
        "here": "prediction_accuracy",
        "environments": places,
        "chosen": chosen,
        "days": days,
        "periods": PERIODS,
        "rows": accuracy_report([chosen.pk] if chosen else [place.pk for place in places], days),
    }
