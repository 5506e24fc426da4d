"""The rules: matrix rows, policies and their versions, drafts, weights, settings, and the epoch that counts their
changes.
"""

from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import F, Q

from approvals.blast.factors import FACTORS
from approvals.blast.score import DEFAULT_WEIGHT, MAX_WEIGHT
from audit.database.clock import uuid7

TIERS = ("low", "medium", "high", "critical")


EFFECTS = ("deny", "require", "warn", "allow_autonomous")
MODES = ("enforce", "shadow")
STATES = ("draft", "published", "retired", "abandoned")
WAS_PUBLISHED = Q(state__in=["published", "retired"])


class RuleState(models.TextChoices):
    DRAFT = "draft"
    PUBLISHED = "published"
    RETIRED = "retired"
    ABANDONED = "abandoned"


class Policy(models.Model):
    """A guard policy by name. Without a tenant it is global: it guards every tenant.

    `home` is the tenant whose people draft and approve it and whose log carries its events: its own one, and for a
    global policy the one it was first drafted in.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.PROTECT, related_name="+", null=True, blank=True)
    home = models.ForeignKey("tenants.Tenant", models.PROTECT, related_name="+")
    slug = models.SlugField(max_length=64)

    class Meta:
        verbose_name_plural = "policies"
        ordering = ["slug"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "slug"], name="approvals_policy_once", condition=Q(tenant__isnull=False)
            ),
            models.UniqueConstraint(
                fields=["slug"], name="approvals_policy_once_globally", condition=Q(tenant__isnull=True)
            ),
            models.CheckConstraint(condition=Q(tenant=None) | Q(tenant=F("home")), name="approvals_policy_home"),
        ]

    def __str__(self) -> str:
        return self.slug

    @property
    def is_global(self) -> bool:
        return self.tenant_id is None


class PolicyVersion(models.Model):
    """One version of a policy. A draft may be edited; a published one never changes (see `approvals.models.triggers`).

    `required_approvals` are {"role", "count"} and only for `require`. `published_by_action` is the action that last put
    it in force; null for one published at setup. A retired version may be published again.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    policy = models.ForeignKey(Policy, models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()
    expression = models.TextField()
    effect = models.CharField(max_length=16, choices=[(effect, effect) for effect in EFFECTS])
    required_approvals = models.JSONField(default=list, blank=True)
    message = models.CharField(max_length=500)
    overridable = models.BooleanField(default=False)
    mode = models.CharField(max_length=8, choices=[(mode, mode) for mode in MODES], default="enforce")
    state = models.CharField(max_length=9, choices=RuleState.choices, default=RuleState.DRAFT)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)
    published_by_action = models.UUIDField(null=True, blank=True)

    class Meta:
        ordering = ["policy_id", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["policy", "version"], name="approvals_version_once"),
            models.UniqueConstraint(
                fields=["policy"], name="approvals_one_published_version", condition=Q(state="published")
            ),
            models.CheckConstraint(condition=Q(version__gte=1), name="approvals_version_from_one"),
            models.CheckConstraint(condition=Q(effect__in=EFFECTS), name="approvals_version_effect"),
            models.CheckConstraint(condition=Q(mode__in=MODES), name="approvals_version_mode"),
            models.CheckConstraint(condition=Q(state__in=STATES), name="approvals_version_state"),
            models.CheckConstraint(
                condition=(Q(effect="require") & ~Q(required_approvals=[]))
                | (~Q(effect="require") & Q(required_approvals=[])),
                name="approvals_version_required_approvals",
                violation_error_message="`require` names required approvals, and nothing else does.",
            ),
            models.CheckConstraint(
                condition=(WAS_PUBLISHED & Q(published_at__isnull=False)) | (~WAS_PUBLISHED & Q(published_at=None)),
                name="approvals_version_published",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.policy} v{self.version}"


class MatrixDraft(models.Model):
    """A draft of one environment's matrix: `rows` is {tier: required approvals}; a tier without a row is denied."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.CASCADE, related_name="+")
    environment = models.ForeignKey("tenants.Environment", models.CASCADE, related_name="matrix_drafts")
    rows = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=9, choices=RuleState.choices, default=RuleState.DRAFT)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)
    published_by_action = models.UUIDField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=STATES), name="approvals_matrixdraft_state"),
            models.CheckConstraint(
                condition=(WAS_PUBLISHED & Q(published_at__isnull=False)) | (~WAS_PUBLISHED & Q(published_at=None)),
                name="approvals_matrixdraft_published",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.environment}: matrix"


class RuleEpoch(models.Model):
    """Counts the changes to the rules of one tenant, or to the global ones (`scope` is then all zeros)."""

    scope = models.UUIDField(primary_key=True)
    n = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.scope}: {self.n}"


def _percent(what: str) -> "models.PositiveSmallIntegerField[int, int]":
    bounds = [MaxValueValidator(MAX_WEIGHT, f"At most {MAX_WEIGHT} per cent.")]
    return models.PositiveSmallIntegerField(default=DEFAULT_WEIGHT, validators=bounds, help_text=f"Per cent: {what}.")


class BlastWeights(models.Model):
    """A tenant's weights in per cent, 0 to 300, a column per factor; no row: 100 each. Set by `weights.set_weights`.

    A weight changes the score only; the rules of the effective tier (security level, dangerous, unknown cost) stay.
    """

    tenant = models.OneToOneField("tenants.Tenant", models.CASCADE, primary_key=True, related_name="blast_weights")
    environment = _percent("the environment and its risk class")
    resources_touched = _percent("how many resources it changes")
    deletions = _percent("how many resources it deletes")
    irreversibility = _percent("steps that cannot be undone, or only with loss")
    resource_risk = _percent("the most sensitive resource it changes")
    monthly_cost = _percent("the added monthly cost")
    action_type = _percent("the risk class of the type of action")
    dependents = _percent("resources that depend on those it changes")
    recent_failures = _percent("how often such actions failed recently")
    working_hours = _percent("running outside the declared working hours")

    class Meta:
        verbose_name_plural = "blast weights"
        constraints = [
            models.CheckConstraint(
                condition=Q(**{f"{name}__lte": MAX_WEIGHT for name in FACTORS}), name="approvals_weights_at_most_300"
            )
        ]

    def __str__(self) -> str:
        return f"Blast weights of {self.tenant}"

    def percents(self) -> dict[str, int]:
        """Every factor's weight, by its name."""
        return {name: getattr(self, name) for name in FACTORS}

    def unusual(self) -> dict[str, Any]:
        """The weights other than 100: what the facts of an evaluation carry."""
        return {name: percent for name, percent in self.percents().items() if percent != DEFAULT_WEIGHT}


class MatrixRow(models.Model):
    """One row of the approval matrix: in this environment, a change of this tier needs these required approvals.

    `required_approvals` is a list of {"role": name, "count": people ≥ 1}. An empty list means "no approval needed" and
    must be set on purpose: without a row, every change of that tier is denied.
    """

    class Tier(models.TextChoices):
        LOW = "low"
        MEDIUM = "medium"
        HIGH = "high"
        CRITICAL = "critical"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.CASCADE, related_name="+")
    environment = models.ForeignKey("tenants.Environment", models.CASCADE, related_name="matrix_rows")
    tier = models.CharField(max_length=8, choices=Tier.choices)
    required_approvals = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["environment_id", "tier"]
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "tier"],
                name="approvals_matrix_row_once",
                violation_error_message="This environment already has a row for this tier.",
            ),
            models.CheckConstraint(condition=Q(tier__in=TIERS), name="approvals_matrix_row_tier"),
        ]

    def __str__(self) -> str:
        return f"{self.environment}: {self.tier}"


class ApprovalSettings(models.Model):
    """A tenant's settings for decisions. `bulk_below`: bulk decisions only below this tier; empty: never."""

    tenant = models.OneToOneField("tenants.Tenant", models.CASCADE, primary_key=True, related_name="+")
    bulk_below = models.CharField(
        max_length=8,
        blank=True,
        default="",
        choices=[("medium", "medium"), ("high", "high"), ("critical", "critical")],
        help_text="Several requests may be decided at once if their tier is below this one. Empty: never.",
    )

    class Meta:
        verbose_name_plural = "approval settings"
        constraints = [
            models.CheckConstraint(
                condition=Q(bulk_below__in=["", "medium", "high", "critical"]), name="approvals_bulk_below"
            )
        ]

    def __str__(self) -> str:
        return str(self.tenant)
