"""How much a tenant lets each factor of the blast radius weigh."""

from typing import Any

from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q

from approvals.blast import MOST_WEIGHT, USUAL
from approvals.blast_factors import FACTORS


def _percent(what: str) -> "models.PositiveSmallIntegerField[int, int]":
    bounds = [MaxValueValidator(MOST_WEIGHT, f"At most {MOST_WEIGHT} per cent.")]
    return models.PositiveSmallIntegerField(default=USUAL, validators=bounds, help_text=f"Per cent: {what}.")


class BlastWeights(models.Model):
    """A tenant's weights in per cent, 0 to 300, a column per factor; no row: 100 each. Set by `weights.set_weights`.

    A weight moves the score only; the judge's own floors (security level, dangerous, unknown cost) stay.
    """

    tenant = models.OneToOneField("tenants.Tenant", models.CASCADE, primary_key=True, related_name="blast_weights")
    environment = _percent("where it lands, and how risky that place is")
    resources_touched = _percent("how many things it changes")
    deletions = _percent("how many things it deletes")
    irreversibility = _percent("steps that cannot be undone, or only with loss")
    resource_risk = _percent("the most sensitive thing it changes")
    monthly_cost = _percent("what it adds to the monthly cost")
    action_type = _percent("the risk class of the type of action")
    dependents = _percent("what depends on the things it changes")
    recent_failures = _percent("how often such actions failed lately")
    working_hours = _percent("running outside the declared hours")

    class Meta:
        verbose_name_plural = "blast weights"
        constraints = [
            models.CheckConstraint(
                condition=Q(**{f"{name}__lte": MOST_WEIGHT for name in FACTORS}), name="approvals_weights_at_most_300"
            )
        ]

    def __str__(self) -> str:
        return f"Blast weights of {self.tenant}"

    def percents(self) -> dict[str, int]:
        """Every factor's weight, by its name."""
        return {name: getattr(self, name) for name in FACTORS}

    def unusual(self) -> dict[str, Any]:
        """The weights other than 100: what the facts of a judgement carry."""
        return {name: percent for name, percent in self.percents().items() if percent != USUAL}
