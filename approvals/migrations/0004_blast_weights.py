"""Weights of the blast radius per tenant."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

FACTORS = {
    "environment": "where it lands, and how risky that place is",
    "resources_touched": "how many things it changes",
    "deletions": "how many things it deletes",
    "irreversibility": "steps that cannot be undone, or only with loss",
    "resource_risk": "the most sensitive thing it changes",
    "monthly_cost": "what it adds to the monthly cost",
    "action_type": "the risk class of the type of action",
    "dependents": "what depends on the things it changes",
    "recent_failures": "how often such actions failed lately",
    "working_hours": "running outside the declared hours",
}


def percent(what):
    bounds = [django.core.validators.MaxValueValidator(300, "At most 300 per cent.")]
    return models.PositiveSmallIntegerField(default=100, help_text=f"Per cent: {what}.", validators=bounds)


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial"), ("approvals", "0003_versions_kept")]
    operations = [
        migrations.CreateModel(
            name="BlastWeights",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="blast_weights",
                        serialize=False,
                        to="tenants.tenant",
                    ),
                ),
                *[(name, percent(what)) for name, what in FACTORS.items()],
            ],
            options={
                "verbose_name_plural": "blast weights",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(**{f"{name}__lte": 300 for name in FACTORS}),
                        name="approvals_weights_at_most_300",
                    )
                ],
            },
        ),
    ]
