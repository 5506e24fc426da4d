"""Requests for approval, and what belongs to one: decisions, change requests, plan views, comments; since when roles
are held.
"""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.database.clock import uuid7

PRINCIPAL = settings.AUTH_USER_MODEL


class MemberSince(models.Model):
    """Since when a principal is in a group without a break. Written by triggers alone (`approvals.models.triggers`)."""

    principal_id = models.UUIDField()
    group_id = models.IntegerField()
    since = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["principal_id", "group_id"], name="approvals_member_since_once")]


class GrantSince(models.Model):
    """Since when a group's permission row on a tenant or environment stands. Written by triggers alone."""

    kind = models.CharField(max_length=11)
    grant_id = models.BigIntegerField()
    since = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "grant_id"], name="approvals_grant_since_once")]


class PlanView(models.Model):
    """Which plan (digest) a person was shown while the request was open, and which changes they opened (from 1).

    `seconds` adds up the time between signs of reading; longer pauses do not count.
    """

    request = models.ForeignKey("approvals.Request", models.CASCADE, related_name="plan_views")
    principal = models.ForeignKey(PRINCIPAL, models.PROTECT, related_name="+")
    digest = models.CharField(max_length=64)
    first_shown_at = models.DateTimeField()
    last_shown_at = models.DateTimeField()
    opened = models.JSONField(default=list)
    total = models.PositiveIntegerField(default=0)
    seconds = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["request", "principal", "digest"], name="approvals_one_plan_view_each")
        ]


class ChangeRequest(models.Model):
    """One person's change request. While it counts, the request cannot be approved. `comment` may be erased.

    It counts while its author may still decide: `approvals.quorum.count` checks that and sets `counts`.
    """

    counts = True

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    request = models.ForeignKey("approvals.Request", models.PROTECT, related_name="change_requests")
    principal = models.ForeignKey(PRINCIPAL, models.PROTECT, related_name="+")
    role = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    comment = models.TextField(blank=True, default="")
    at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["request", "principal"],
                condition=Q(withdrawn_at=None),
                name="approvals_one_open_change_request",
            )
        ]


class Comment(models.Model):
    """A comment on a subject, or on one change of one of its plans. `text` may be erased.

    `change` is the change's number in the plan with `digest` (null: the whole plan), `line` a line of its new text.
    A reply names its thread's first comment as `parent`; threads are resolved, replies are not.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.PROTECT, related_name="+")
    environment = models.ForeignKey("tenants.Environment", models.PROTECT, related_name="+")
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField()
    digest = models.CharField(max_length=64)
    change = models.PositiveIntegerField(null=True, blank=True)
    line = models.PositiveIntegerField(null=True, blank=True)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="replies")
    author = models.ForeignKey(PRINCIPAL, models.PROTECT, related_name="+")
    text = models.TextField(blank=True, default="")
    at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey(PRINCIPAL, models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ["at", "id"]
        indexes = [models.Index(fields=["subject_id", "id"], name="approvals_comment_subject")]


class Request(models.Model):
    """Required approvals that people fill for exactly one digest of one subject. The subject is opaque here.

    `excluded` holds the ids (strings) of everyone who can never count: the requester and their delegation chain, as
    they were when it opened. At most one request per subject is open at any time. `notify_at` is when the next
    notification is due; null for none.
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
    required_approvals = models.JSONField(default=list)
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    excluded = models.JSONField(default=list)
    state = models.CharField(max_length=9, choices=State.choices, default=State.OPEN)
    opened_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
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
                condition=Q(state="open", closed_at=None) | (~Q(state="open") & Q(closed_at__isnull=False)),
                name="approvals_request_closed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject_kind} {self.subject_id}: {self.state}"

    def is_overdue(self, now: datetime) -> bool:
        """Whether its deadline has passed, even if no sweep has recorded that yet."""
        return self.state == self.State.OPEN and self.expires_at <= now


class Decision(models.Model):
    """One person's verdict on one request. `role` is the required approval it fills; `comment` may be erased.

    `plan_view` is what they had seen of the plan by then, from `approvals.requests.view_tracking`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    request = models.ForeignKey(Request, models.PROTECT, related_name="decisions")
    principal = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    approved = models.BooleanField()
    role = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    comment = models.TextField(blank=True, default="")
    plan_view = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        ordering = ["at", "id"]
        constraints = [models.UniqueConstraint(fields=["request", "principal"], name="approvals_one_decision_each")]

    def __str__(self) -> str:
        return f"{'approved' if self.approved else 'rejected'} by {self.principal_id}"
