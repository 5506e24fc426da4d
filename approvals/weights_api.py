"""The weights of the blast radius over HTTP."""

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Field, Router

from approvals.blast import MOST_WEIGHT
from approvals.blast_factors import FACTORS
from approvals.policies.schemas import RuleBody
from approvals.weights import in_force, set_weights
from audit.errors import Forbidden
from tenants.access import Access

router = Router(tags=["approvals"])


class WeightsOut(RuleBody):
    weights: dict[str, int] = Field(..., description=f"Per cent, 0 to {MOST_WEIGHT}, by factor: {', '.join(FACTORS)}.")


class WeightsIn(RuleBody):
    weights: dict[str, Annotated[int, Field(strict=True, ge=0, le=MOST_WEIGHT)]] = Field(
        ..., description=f"Per cent, 0 to {MOST_WEIGHT}, by factor; one left out stays.", examples=[{"deletions": 150}]
    )
    reason: str = Field(..., description="Why: kept with the event.", json_schema_extra={"maxLength": 500})


@router.get("/blast/weights", response=WeightsOut, summary="How much each factor of the blast radius weighs")
def read_weights(request: HttpRequest) -> dict[str, Any]:
    """Your tenant's weights in per cent; 100 unless somebody set another."""
    access: Access = request.access  # type: ignore[attr-defined]  # ninja's auth let nobody through without one
    if not access.environments_where("view") and not access.can("administer"):
        raise Forbidden("You may view no environment here.", remedies=["Ask a tenant admin for a role that may view."])
    return {"weights": in_force(access.tenant.pk)}


@router.put("/blast/weights", response=WeightsOut, summary="Change the weights of the blast radius")
def change_weights(request: HttpRequest, body: WeightsIn) -> dict[str, Any]:
    """For who administers the tenant. In force at once, for every plan that is judged from then on."""
    access: Access = request.access  # type: ignore[attr-defined]  # ninja's auth let nobody through without one
    via = getattr(request, "correlation_id", "")
    return {"weights": set_weights(access.tenant, body.weights, body.reason, by=access, correlation_id=via)}
