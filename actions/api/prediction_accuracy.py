"""Prediction accuracy: planned against verified."""

from typing import Any, Literal

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from actions.api.request_context import refuse_unknown_filters
from actions.queries.prediction_accuracy import accuracy_report
from audit.errors import Invalid
from tenants.access import access_of
from tenants.models import Environment

router = Router(tags=["actions"])


class AccuracyFilters(Schema):
    environment: str = Field("", description="Of this one only; otherwise of all that you may view.", max_length=63)
    days: Literal["7", "30", "90", "365"] = Field("30", description="What ended in the last so many days.")


class TierAccuracyOut(Schema):
    tier: str
    runs: int
    checked: int = Field(..., description="Runs that came to their verification.")
    mismatched: int = Field(..., description="Those of which a check did not hold.")
    percent: int | None = Field(..., description="mismatched of checked, in per cent.")


class TypeAccuracyOut(Schema):
    type: str
    runs: int
    completed: int
    rolled_back: int
    failed: int
    completed_percent: int | None
    rolled_back_percent: int | None
    failed_percent: int | None
    score: int = Field(..., description="The mean blast radius.")
    checked: int
    predicted: float | None = Field(..., description="Mean changes planned, of the runs that were verified.")
    verified: float | None = Field(..., description="Mean changes found when they were verified.")
    duration_s: float
    tiers: list[TierAccuracyOut]


class AccuracyOut(Schema):
    days: int
    environment: str | None
    items: list[TypeAccuracyOut]


@router.get(
    "/prediction-accuracy",
    response=AccuracyOut,
    summary="Prediction accuracy: planned against verified, per action type",
)
def read_prediction_accuracy(request: HttpRequest, asked: Query[AccuracyFilters]) -> dict[str, Any]:
    """Of the runs that ended in the period, in the environments that you may view; the most run type first."""
    refuse_unknown_filters(request, AccuracyFilters)
    access = access_of(request)
    visible = Environment.objects.filter(tenant=access.tenant, pk__in=access.environments_where("view"))
    places = visible.filter(slug=asked.environment) if asked.environment else visible
    ids = list(places.values_list("pk", flat=True))
    if asked.environment and not ids:
        message = f"You have no environment {asked.environment!r}."
        raise Invalid(message, issues=[{"severity": "error", "message": message, "field": "environment"}])
    days = int(asked.days)
    return {"days": days, "environment": asked.environment or None, "items": accuracy_report(ids, days)}
