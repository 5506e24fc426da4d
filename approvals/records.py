"""The records around a request: since when roles are held, what was shown to whom, what was said, who was told."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.database.clock import uuid7

PRINCIPAL = settings.AUTH_USER_MODEL


class MemberSince(models.Model):
    """Since when a principal is in a group without a break. Written by triggers alone (`approvals.since`)."""

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


class Viewing(models.Model):
    """Which digest was shown to whom while it was asked for, and which of its changes they opened (from 1).

    `seconds` adds up the time between signs of reading; a longer silence counts for nothing.
    """

    request = models.ForeignKey("approvals.Request", models.CASCADE, related_name="viewings")
    principal = models.ForeignKey(PRINCIPAL, models.PROTECT, related_name="+")
    digest = models.CharField(max_length=64)
    first_shown_at = models.DateTimeField()
    last_shown_at = models.DateTimeField()
    opened = models.JSONField(default=list)
    total = models.PositiveIntegerField(default=0)
    seconds = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["request", "principal", "digest"], name="approvals_one_viewing_each")
        ]


class Ask(models.Model):
    """One person's wish for changes. While it counts, the request cannot be approved. `comment` may be erased.

    It counts while its author may still decide: `approvals.asks` finds that out and sets `counts`.
    """

    counts = True

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    request = models.ForeignKey("approvals.Request", models.PROTECT, related_name="asks")
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
                fields=["request", "principal"], condition=Q(withdrawn_at=None), name="approvals_one_standing_ask"
            )
        ]


class Comment(models.Model):
    """What somebody said about a subject, or one change of one of its plans. `text` may be erased.

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


class NotifyRule(models.Model):
    """Whom a tenant tells about its requests. Where it has no rule for an event, the built-in one applies.

    `urls` are Apprise addresses, encrypted under the tenant's key: they carry credentials.
    """

    class Event(models.TextChoices):
        OPENED = "opened", "a request opened"
        REMINDER = "reminder", "still open: remind"
        ESCALATION = "escalation", "still open: escalate"
        CHANGES_REQUESTED = "changes_requested", "changes were asked for"
        SETTLED = "settled", "it was settled"

    class To(models.TextChoices):
        CANDIDATES = "candidates", "everybody who can fill an open seat"
        REQUESTER = "requester", "its requester"
        ROLE = "role", "everybody in a role"
        ADDRESSES = "addresses", "these mail addresses"
        URLS = "urls", "these webhooks and services (Apprise)"
        NOBODY = "nobody", "nobody"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.CASCADE, related_name="+")
    environment = models.ForeignKey("tenants.Environment", models.CASCADE, null=True, blank=True, related_name="+")
    event = models.CharField(max_length=17, choices=Event.choices)
    after_s = models.PositiveIntegerField(null=True, blank=True)
    to = models.CharField(max_length=10, choices=To.choices)
    role = models.CharField(max_length=63, blank=True, default="")
    addresses = models.JSONField(default=list, blank=True)
    urls = models.BinaryField(null=True, blank=True)

    class Meta:
        ordering = ["tenant_id", "event", "id"]
        indexes = [models.Index(fields=["tenant", "event"], name="approvals_notify_tenant")]

    def __str__(self) -> str:
        return f"{self.get_event_display()}: {self.get_to_display()}"


class Notice(models.Model):
    """One message to one recipient about one request, written before it is sent, so that nobody is told twice.

    `about` tells two of a kind apart (an ask's id). `recipient` is a principal's id, a mail address or a rule's id;
    `claimed_until` keeps a second sender away; `attempts` and `next_at` space out what failed.
    """

    class State(models.TextChoices):
        DUE = "due"
        SENT = "sent"
        FAILED = "failed"
        MOOT = "moot"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    request = models.ForeignKey("approvals.Request", models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=17)
    about = models.CharField(max_length=36, blank=True, default="")
    channel = models.CharField(max_length=7)
    recipient = models.CharField(max_length=254)
    state = models.CharField(max_length=6, choices=State.choices, default=State.DUE)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["request", "kind", "about", "channel", "recipient"], name="approvals_told_once"
            )
        ]
        indexes = [models.Index(fields=["next_at"], name="approvals_notice_due", condition=Q(state="due"))]


class ApprovalSettings(models.Model):
    """What a tenant chose about deciding. `bulk_below`: several at once only below this tier; empty: never."""

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
