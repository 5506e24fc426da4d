"""Guard policies and their versions, drafts of the matrix, and the counter that says when rules changed."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from audit.database.clock import uuid7

EFFECTS = ("deny", "require", "warn", "allow_autonomous")
MODES = ("enforce", "shadow")
STATES = ("draft", "published", "retired", "abandoned")
REACHED = Q(state__in=["published", "retired"])


class State(models.TextChoices):
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
    """One wording of a policy. A draft may be edited; what was once published never changes (see `immutable.py`).

    `seats` are {"role", "count"} and only for `require`. `published_by_action` is the action that last put it in force;
    null for one published at setup. A retired version may be published again.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    policy = models.ForeignKey(Policy, models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()
    expression = models.TextField()
    effect = models.CharField(max_length=16, choices=[(effect, effect) for effect in EFFECTS])
    seats = models.JSONField(default=list, blank=True)
    message = models.CharField(max_length=500)
    overridable = models.BooleanField(default=False)
    mode = models.CharField(max_length=8, choices=[(mode, mode) for mode in MODES], default="enforce")
    state = models.CharField(max_length=9, choices=State.choices, default=State.DRAFT)
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
                condition=(Q(effect="require") & ~Q(seats=[])) | (~Q(effect="require") & Q(seats=[])),
                name="approvals_version_seats",
                violation_error_message="`require` names seats, and nothing else does.",
            ),
            models.CheckConstraint(
                condition=(REACHED & Q(published_at__isnull=False)) | (~REACHED & Q(published_at=None)),
                name="approvals_version_published",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.policy} v{self.version}"


class MatrixDraft(models.Model):
    """What the matrix of one environment would be: `rows` is {tier: seats}; a tier that is not there denies."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.CASCADE, related_name="+")
    environment = models.ForeignKey("tenants.Environment", models.CASCADE, related_name="matrix_drafts")
    rows = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.DRAFT)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)
    published_by_action = models.UUIDField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=STATES), name="approvals_matrixdraft_state"),
            models.CheckConstraint(
                condition=(REACHED & Q(published_at__isnull=False)) | (~REACHED & Q(published_at=None)),
                name="approvals_matrixdraft_published",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.environment}: matrix"


class RuleEpoch(models.Model):
    """Counts the changes of the rules of one tenant, or of the global ones (`scope` is then all zeros)."""

    scope = models.UUIDField(primary_key=True)
    n = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.scope}: {self.n}"
