"""What may happen, and who said so: the matrix, what waits for people, and their decisions."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from approvals.policies.models import MatrixDraft, Policy, PolicyVersion, RuleEpoch
from approvals.records import ApprovalSettings, Ask, Comment, GrantSince, MemberSince, Notice, NotifyRule, Viewing
from approvals.weighing import BlastWeights
from audit.database.clock import uuid7

__all__ = [
    "TIERS",
    "ApprovalRule",
    "ApprovalSettings",
    "Ask",
    "BlastWeights",
    "Comment",
    "Decision",
    "GrantSince",
    "MatrixDraft",
    "MemberSince",
    "Notice",
    "NotifyRule",
    "Policy",
    "PolicyVersion",
    "Request",
    "RuleEpoch",
    "Viewing",
]
TIERS = ("low", "medium", "high", "critical")


class ApprovalRule(models.Model):
    """One row of the threshold matrix: in this environment, a change of this tier needs these seats filled.

    `seats` is a list of {"role": name, "count": people ≥ 1}. An empty list means "nobody is asked" and must be written
    on purpose: where no row exists, every change of that tier is denied.
    """

    class Tier(models.TextChoices):
        LOW = "low"
        MEDIUM = "medium"
        HIGH = "high"
        CRITICAL = "critical"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.CASCADE, related_name="+")
    environment = models.ForeignKey("tenants.Environment", models.CASCADE, related_name="approval_rules")
    tier = models.CharField(max_length=8, choices=Tier.choices)
    seats = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["environment_id", "tier"]
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "tier"],
                name="approvals_rule_once",
                violation_error_message="This environment already has a row for this tier.",
            ),
            models.CheckConstraint(condition=Q(tier__in=TIERS), name="approvals_rule_tier"),
        ]

    def __str__(self) -> str:
        return f"{self.environment}: {self.tier}"


class Request(models.Model):
    """What waits for people: seats to fill for exactly one digest of one subject. The subject is opaque here.

    `excluded` holds the ids (strings) of everyone who can never count: the requester and their delegation chain, as
    they were when it opened. At most one request per subject is open at any time. `notify_at` is when somebody is to
    be told about it next; null when nobody is.
    """

    class Kind(models.TextChoices):
        APPROVAL = "approval"
        ACCEPTANCE = "acceptance"

    class State(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXPIRED = "expired"
        VOID = "void"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.PROTECT, related_name="+")
    environment = models.ForeignKey("tenants.Environment", models.PROTECT, related_name="+")
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField()
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.APPROVAL)
    digest = models.CharField(max_length=64)
    seats = models.JSONField(default=list)
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    excluded = models.JSONField(default=list)
    state = models.CharField(max_length=9, choices=State.choices, default=State.OPEN)
    opened_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)
    notify_at = models.DateTimeField(null=True, blank=True, db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["notify_at"], name="approvals_request_notify", condition=Q(state="open")),
            models.Index(fields=["subject_id", "opened_at"], name="approvals_request_subject"),
            models.Index(fields=["expires_at"], name="approvals_request_due", condition=Q(state="open")),
            models.Index(fields=["environment", "id"], name="approvals_request_waiting", condition=Q(state="open")),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["subject_id"], condition=Q(state="open"), name="approvals_one_open_request"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["open", "approved", "rejected", "expired", "void", "cancelled"]),
                name="approvals_request_state",
            ),
            models.CheckConstraint(condition=Q(kind__in=["approval", "acceptance"]), name="approvals_request_kind"),
            models.CheckConstraint(
                condition=Q(state="open", settled_at=None) | (~Q(state="open") & Q(settled_at__isnull=False)),
                name="approvals_request_settled",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject_kind} {self.subject_id}: {self.state}"

    def is_overdue(self, now: datetime) -> bool:
        """Whether its time is up, though no sweep may have written that down yet."""
        return self.state == self.State.OPEN and self.expires_at <= now


class Decision(models.Model):
    """One person's verdict on one request. `role` is the seat it fills; `comment` may be erased.

    `attention` is what they had been shown of the plan by then, as `approvals.attention` words it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    request = models.ForeignKey(Request, models.PROTECT, related_name="decisions")
    principal = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    approved = models.BooleanField()
    role = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    comment = models.TextField(blank=True, default="")
    attention = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        ordering = ["at", "id"]
        constraints = [models.UniqueConstraint(fields=["request", "principal"], name="approvals_one_decision_each")]

    def __str__(self) -> str:
        return f"{'approved' if self.approved else 'rejected'} by {self.principal_id}"
