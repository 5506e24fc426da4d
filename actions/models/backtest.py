"""Backtests of draft rules, and the actions whose verdict would differ."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.database.clock import uuid7

KINDS = ("policy", "retire", "matrix")
"""Kinds of drafts: publish a policy version, retire one, replace the matrix of an environment."""
UNDER_WAY = ("queued", "running")


class Backtest(models.Model):
    """
    One draft, in exactly one wording (`digest`), over the evaluated actions of a period, `since` ≤ created < `until`.

    `basis` holds the compared rules: those at its start, and those with the draft. `cursor` is the last evaluated
    action; it moves together with `done`, `counts` and the differences, by the worker that holds the `claim`. Times are
    aware UTC, taken from the database.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        FINISHED = "finished"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")
    environment = models.ForeignKey("tenants.Environment", on_delete=models.CASCADE, null=True, related_name="+")
    kind = models.CharField(max_length=6, choices=[(kind, kind) for kind in KINDS])
    draft = models.UUIDField()
    subject = models.UUIDField()
    title = models.CharField(max_length=200)
    digest = models.CharField(max_length=64)
    epoch = models.BigIntegerField()
    basis = models.JSONField()
    since = models.DateTimeField()
    until = models.DateTimeField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    state = models.CharField(max_length=9, choices=State, default=State.QUEUED)
    total = models.PositiveIntegerField(null=True)
    done = models.PositiveIntegerField(default=0)
    cursor = models.UUIDField(null=True)
    counts = models.JSONField(default=dict)
    patience = models.JSONField(default=dict)
    claim = models.UUIDField(null=True)
    claimed_until = models.DateTimeField(null=True)
    touched_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "draft"], name="one_backtest_of_a_draft_at_a_time", condition=Q(state__in=UNDER_WAY)
            ),
            models.CheckConstraint(
                name="backtest_finished_says_when", condition=~Q(state="finished") | Q(finished_at__isnull=False)
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["kind", "draft", "-id"], name="backtest_by_draft"),
            models.Index(fields=["touched_at"], name="backtest_under_way", condition=Q(state__in=UNDER_WAY)),
        ]

    def __str__(self) -> str:
        return f"backtest of {self.title} ({self.state})"

    @property
    def otherwise(self) -> int:
        """How many verdicts would differ because of the draft, so far."""
        return sum(self.counts.get("draft", {}).values())

    @property
    def is_under_way(self) -> bool:
        return self.state in UNDER_WAY


class BacktestDifference(models.Model):
    """
    One action whose verdict would differ: `because` of the draft, or (`since`) of rules that changed since its
    evaluation.

    `went`, `today` and `then` are {"outcome", "tier", "required_approvals", "acceptance"}: of its stored verdict, by
    the rules at the start of the backtest, and by those with the draft. `kind` says what changes
    (`actions.backtests.evaluate.KINDS`).
    """

    class Because(models.TextChoices):
        DRAFT = "draft"
        SINCE = "since"

    backtest = models.ForeignKey(Backtest, on_delete=models.CASCADE, related_name="differences")
    action = models.ForeignKey("actions.Action", on_delete=models.CASCADE, related_name="+")
    environment = models.ForeignKey("tenants.Environment", on_delete=models.CASCADE, related_name="+")
    because = models.CharField(max_length=5, choices=Because)
    kind = models.CharField(max_length=16)
    state = models.CharField(max_length=17)
    went = models.JSONField()
    today = models.JSONField()
    then = models.JSONField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["backtest", "action"], name="one_difference_per_action")
        ]
        indexes: ClassVar = [models.Index(fields=["backtest", "because", "id"], name="difference_in_order")]
