"""Whom a tenant notifies about its requests, and each notification: written before it is sent."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.database.clock import uuid7


class NotificationRule(models.Model):
    """Whom a tenant notifies about its requests. Without a rule for an event, the built-in one applies.

    `urls` are Apprise addresses, encrypted under the tenant's key: they carry credentials.
    """

    class Event(models.TextChoices):
        OPENED = "opened", "a request opened"
        REMINDER = "reminder", "reminder while open"
        ESCALATION = "escalation", "escalation while open"
        CHANGES_REQUESTED = "changes_requested", "changes were requested"
        CLOSED = "closed", "the request closed"

    class To(models.TextChoices):
        CANDIDATES = "candidates", "everyone who can fill an open required approval"
        REQUESTER = "requester", "the requester"
        ROLE = "role", "everyone in a role"
        ADDRESSES = "addresses", "these email addresses"
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
        indexes = [models.Index(fields=["tenant", "event"], name="approvals_notification_rule")]

    def __str__(self) -> str:
        return f"{self.get_event_display()}: {self.get_to_display()}"


class Notification(models.Model):
    """One message to one recipient about one request, written before it is sent, so that nobody is notified twice.

    `about` distinguishes two of a kind (a change request's id). `recipient` is a principal's id, an email
    address or a rule's id;
    `claimed_until` keeps a second sender away; `attempts` and `next_at` space out what failed.
    """

    class State(models.TextChoices):
        DUE = "due"
        SENT = "sent"
        FAILED = "failed"
        MOOT = "moot"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    request = models.ForeignKey("approvals.Request", models.CASCADE, related_name="notifications")
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
                fields=["request", "kind", "about", "channel", "recipient"], name="approvals_notified_once"
            )
        ]
        indexes = [models.Index(fields=["next_at"], name="approvals_notification_due", condition=Q(state="due"))]
