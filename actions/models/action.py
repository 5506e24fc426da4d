"""
Actions, their plans, and their prediction accuracy.

Only `actions.lifecycle.commit` writes `state`, `seq` and the fields that a move may set.
"""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from actions.models.states import LIVE, TO_DECIDE, TO_EXECUTE, State
from audit.database.clock import uuid7

LEVELS = [(level, level) for level in ("low", "medium", "high", "critical")]
RISKS = [(risk, risk) for risk in ("safe", "guarded", "dangerous")]


class Action(models.Model):
    """
    One proposed change and its state.

    `seq` counts its events and guards every write; `lease` names the worker that holds it (the fencing epoch). Times
    are aware UTC, taken from the database. Every move writes a row version and an entry in nearly every index, so
    foreign keys have no own index where one below begins with the same column, or where no query needs it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="+", db_index=False)
    environment = models.ForeignKey("tenants.Environment", on_delete=models.PROTECT, related_name="+", db_index=False)
    type = models.CharField(max_length=64)
    title = models.CharField(max_length=200)
    reason = models.TextField(blank=True)
    parameters = models.JSONField(default=dict)
    target = models.JSONField(default=dict)
    checks = models.JSONField(default=list)
    rollback = models.JSONField(default=dict)
    watch = models.JSONField(default=dict)
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    ticket = models.CharField(max_length=120, blank=True)
    external_url = models.URLField(max_length=500, blank=True)
    security_level = models.CharField(max_length=8, choices=LEVELS)
    risk_class = models.CharField(max_length=9, choices=RISKS)
    confidence = models.FloatField(null=True)
    priority = models.SmallIntegerField(default=0)
    timeout_s = models.PositiveIntegerField(default=600)
    not_before = models.DateTimeField(null=True)
    turn_at = models.DateTimeField(db_default=Now(), editable=False)
    """The order within a tenant: earlier first. See `actions.controls.nodes`."""
    node = models.CharField(max_length=100, blank=True, default="", db_default="")
    """The node whose worker must run it; empty for any worker. `target` has the proposed node."""
    accepted_in_advance = models.BooleanField(default=False)
    simulated = models.BooleanField(default=False, db_default=False)
    correlation_id = models.CharField(max_length=64)
    retry_of = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="retries", db_index=False)
    undo_of = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="undos", db_index=False)
    fallback_of = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    recovery = models.JSONField(default=dict)
    breaker_key = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    state = models.CharField(max_length=17, choices=[(s.value, s.value) for s in State], default=State.QUEUED)
    seq = models.PositiveIntegerField(default=1)
    lease = models.ForeignKey("actions.Lease", null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    plan = models.ForeignKey("actions.Plan", null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    requires_approval = models.BooleanField(null=True)
    blast_score = models.PositiveSmallIntegerField(null=True)
    tier = models.CharField(max_length=8, blank=True)
    steps_total = models.PositiveIntegerField(default=0)
    steps_done = models.PositiveIntegerField(default=0)
    replans = models.PositiveSmallIntegerField(default=0)
    held_reason = models.CharField(max_length=32, blank=True)
    fallback_due = models.BooleanField(default=False)
    wake_at = models.DateTimeField(null=True)
    error = models.JSONField(null=True)
    result = models.JSONField(null=True)
    rollback_reference = models.CharField(max_length=160, blank=True)
    stop_requested_at = models.DateTimeField(null=True)
    stop_reason = models.CharField(max_length=32, blank=True)
    rollback_to = models.CharField(max_length=200, blank=True)
    expires_at = models.DateTimeField(null=True)
    approved_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    incident_seq = models.PositiveIntegerField(null=True)
    """The seq of the event that ended or held it, until incident work has processed it."""

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(name="action_state_known", condition=Q(state__in=[s.value for s in State])),
            models.CheckConstraint(name="action_held_says_why", condition=~Q(state="held") | ~Q(held_reason="")),
            models.CheckConstraint(
                name="action_confidence_is_a_share",
                condition=Q(confidence__isnull=True) | Q(confidence__gte=0, confidence__lte=1),
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["node", "tenant", "turn_at", "id"],
                name="action_to_decide",
                condition=Q(state__in=TO_DECIDE, lease__isnull=True),
            ),
            models.Index(
                fields=["node", "tenant", "turn_at", "id"],
                name="action_to_execute",
                condition=Q(state__in=TO_EXECUTE, lease__isnull=True),
            ),
            models.Index(fields=["environment"], name="action_frozen", condition=Q(state="held", held_reason="freeze")),
            models.Index(fields=["lease"], name="action_leased", condition=Q(lease__isnull=False)),
            models.Index(fields=["tenant", "state", "id"], name="action_live", condition=Q(state__in=LIVE)),
            models.Index(
                fields=["expires_at"], name="action_expiring", condition=Q(state__in=["awaiting_approval", "approved"])
            ),
            models.Index(fields=["tenant", "-id"], name="action_by_tenant"),
            models.Index(fields=["environment", "-id"], name="action_by_environment"),
            models.Index(fields=["requester", "-id"], name="action_by_requester"),
            models.Index(fields=["retry_of"], name="action_retried", condition=Q(retry_of__isnull=False)),
            models.Index(fields=["id"], name="action_without_incident", condition=Q(incident_seq__isnull=False)),
            models.Index(fields=["undo_of"], name="action_undone", condition=Q(undo_of__isnull=False)),
            models.Index(fields=["fallback_of"], name="action_fell_back", condition=Q(fallback_of__isnull=False)),
            models.Index(fields=["id"], name="action_fallback_due", condition=Q(fallback_due=True)),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.state})"


class IdempotencyKey(models.Model):
    """A submission's key: the same key and body give the same action for seven days."""

    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    principal = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64)
    action = models.ForeignKey(Action, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "principal", "key"], name="one_action_per_idempotency_key")
        ]


# Plans: the immutable result of preflight, identified by its digest.


class Plan(models.Model):
    """
    What an action would change, step by step.

    `document` and `changes` are the digests of artifacts (the machine plan, the change document). `steps` repeats the
    plan's steps for the runner. Scores, verdict, facts and observations are stored beside the digest, not in it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    action = models.ForeignKey("actions.Action", on_delete=models.CASCADE, related_name="plans", db_index=False)
    version = models.PositiveSmallIntegerField()
    digest = models.CharField(max_length=64)
    document = models.CharField(max_length=64)
    changes = models.CharField(max_length=64)
    summary = models.TextField()
    steps = models.JSONField(default=list)
    rollback = models.JSONField(default=dict)
    recovery = models.JSONField(default=dict)
    counts = models.JSONField(default=dict)
    blast = models.JSONField(default=dict)
    verdict = models.JSONField(default=dict)
    facts = models.JSONField(default=dict)
    observations = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["action", "version"], name="one_plan_per_version")]

    def __str__(self) -> str:
        return f"plan v{self.version} {self.digest[:12]}"


# Prediction accuracy: one row per action that ran.


class PredictionAccuracy(models.Model):
    """
    The planned against the verified changes of one action. Written by `actions.lifecycle.prediction_accuracy`, in the
    transaction of its end.

    `predicted_*`, `score` and `tier` are the plan's; `verified_changes` and `checks` come from the verification (null:
    none ran); `standing` counts steps in effect at the end. `is_failure` excludes runs that a person stopped.
    `step_ms`: the duration of each step, in the plan's order, if they are few and all done. `ended_at` is null while a
    failed verification is rolled back.
    """

    action = models.OneToOneField(
        "actions.Action", models.CASCADE, primary_key=True, related_name="prediction_accuracy"
    )
    environment = models.ForeignKey("tenants.Environment", models.CASCADE, related_name="+", db_index=False)
    type = models.CharField(max_length=64)
    target = models.CharField(max_length=401)
    state = models.CharField(max_length=17)
    code = models.CharField(max_length=120)
    is_failure = models.BooleanField()
    tier = models.CharField(max_length=8)
    score = models.PositiveSmallIntegerField()
    predicted_changes = models.PositiveIntegerField()
    predicted_deletes = models.PositiveIntegerField()
    predicted_resources = models.PositiveIntegerField()
    steps = models.PositiveIntegerField()
    applied = models.PositiveIntegerField()
    standing = models.PositiveIntegerField()
    verified_changes = models.PositiveIntegerField(null=True)
    checks = models.PositiveIntegerField(null=True)
    checks_failed = models.PositiveIntegerField(null=True)
    duration_ms = models.BigIntegerField()
    step_ms = models.JSONField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["environment", "type", "target", "-ended_at"], name="accuracy_history"),
            models.Index(fields=["environment", "-ended_at"], name="accuracy_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.type}: {self.state}"
