"""Incidents, opened when an action fails or is held: who is notified how, and the messages that were sent."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from actions.models.states import HeldReason
from audit.database.clock import uuid7

PRINCIPAL = settings.AUTH_USER_MODEL
SEVERITIES = ("low", "medium", "high", "critical")
ENDING_LABELS = {"failed": "failed", "rolled_back": "rolled back"} | {it.value: it.label for it in HeldReason}
ENDINGS = tuple(ENDING_LABELS)
"""What can open an incident: how an action ended, or why it is held."""
DEFAULT_ENDINGS = (
    "failed",
    "in_doubt",
    "rollback_failed",
    "risk_spike",
    "breaker",
    "executor_missing",
    "internal_error",
)
"""What opens an incident if a tenant has no rule."""
ALWAYS_OPENS = "quarantine"
"""No rule turns this one off: the resource stays unusable until a person acts."""


class Incident(models.Model):
    """
    One ending of one action that people must handle. Only `actions.incidents` and `actions.commands.incidents` write
    it.

    `ending_seq` is the seq of the event that ended or held the action: an action has one incident for each, and at most
    one unresolved. `ending` is one of ENDINGS, `code` the error's. The next steps are derived from `facts`. `evidence`
    is the digest of the diagnostics, empty until they are collected. The assignee must acknowledge by `due_at`;
    otherwise it is escalated (`escalated_at`).
    """

    class State(models.TextChoices):
        OPEN = "open"
        ACKNOWLEDGED = "acknowledged"
        RESOLVED = "resolved"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.PROTECT, related_name="+", db_index=False)
    environment = models.ForeignKey("tenants.Environment", models.PROTECT, related_name="+", db_index=False)
    action = models.ForeignKey("actions.Action", models.PROTECT, related_name="incidents", db_index=False)
    ending_seq = models.PositiveIntegerField()
    ending = models.CharField(max_length=32)
    code = models.CharField(max_length=120, blank=True)
    severity = models.CharField(max_length=8, choices=[(s, s) for s in SEVERITIES])
    summary = models.CharField(max_length=300)
    facts = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=State, default=State.OPEN)
    evidence = models.CharField(max_length=64, blank=True)
    gathered_at = models.DateTimeField(null=True)
    assignee = models.ForeignKey(PRINCIPAL, models.PROTECT, null=True, related_name="+", db_index=False)
    assigned_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    escalated_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    resolved_at = models.DateTimeField(null=True)
    opened_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["action", "ending_seq"], name="one_incident_per_ending"),
            models.UniqueConstraint(
                fields=["action"], condition=~Q(state="resolved"), name="one_unresolved_incident_per_action"
            ),
            models.CheckConstraint(
                name="incident_resolved_has_time",
                condition=Q(state="resolved", resolved_at__isnull=False)
                | (~Q(state="resolved") & Q(resolved_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="incident_acknowledged_has_assignee",
                condition=~Q(state="acknowledged") | Q(assignee__isnull=False),
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-id"], name="incident_by_tenant"),
            models.Index(fields=["environment", "-id"], name="incident_by_environment"),
            models.Index(fields=["tenant", "-id"], name="incident_unresolved", condition=~Q(state="resolved")),
            models.Index(fields=["assignee", "-id"], name="incident_of_assignee", condition=~Q(state="resolved")),
            models.Index(fields=["id"], name="incident_to_diagnose", condition=Q(gathered_at__isnull=True)),
            models.Index(fields=["due_at"], name="incident_due", condition=Q(state="open", escalated_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.summary} ({self.state})"

    @property
    def ending_text(self) -> str:
        return ENDING_LABELS[self.ending]


class IncidentRule(models.Model):
    """
    Which endings open an incident, and for whom: the rule of an environment, else of the whole tenant, else the
    built-in one.

    `endings` are some of ENDINGS. `to` names the assignee; for a role, all its people are notified, and the first to
    acknowledge is assigned. If nobody acknowledges within `acknowledge_within_s`, the role `escalate_to` is notified,
    once.
    """

    class To(models.TextChoices):
        REQUESTER = "requester", "the requester (for an agent: its owner)"
        PERSON = "person", "one person"
        ROLE = "role", "first of a role to acknowledge"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.CASCADE, related_name="+")
    environment = models.ForeignKey("tenants.Environment", models.CASCADE, null=True, blank=True, related_name="+")
    endings = models.JSONField(default=list, blank=True)
    to = models.CharField(max_length=9, choices=To, default=To.REQUESTER)
    person = models.ForeignKey(PRINCIPAL, models.PROTECT, null=True, blank=True, related_name="+")
    role = models.CharField(max_length=64, blank=True)
    acknowledge_within_s = models.PositiveIntegerField(default=1800)
    escalate_to = models.CharField(max_length=64, blank=True, default="admin")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment"], name="one_incident_rule_per_environment"),
            models.UniqueConstraint(
                fields=["tenant"], condition=Q(environment__isnull=True), name="one_incident_rule_per_tenant"
            ),
        ]

    def __str__(self) -> str:
        return f"incident rule of {self.environment or self.tenant}"


class Webhook(models.Model):
    """
    Where incidents are sent. `hidden` is {"url", "secret", "token"}, encrypted for this webhook alone.

    Pages show only the `host` of the address. `kind` chooses the template (`actions.incidents.messages`).
    """

    class Kind(models.TextChoices):
        GENERIC = "generic", "Interlock's own JSON, signed"
        GITHUB_DISPATCH = "github_dispatch", "GitHub: repository_dispatch"
        GITHUB_ISSUE = "github_issue", "GitHub: an issue"
        GITLAB_ISSUE = "gitlab_issue", "GitLab: an issue"
        JIRA = "jira", "Jira automation: incoming webhook"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.CASCADE, related_name="+")
    environment = models.ForeignKey("tenants.Environment", models.CASCADE, null=True, blank=True, related_name="+")
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.GENERIC)
    host = models.CharField(max_length=255, blank=True, editable=False)
    hidden = models.BinaryField(null=True)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "name"], name="one_webhook_of_a_name")]

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


class Delivery(models.Model):
    """
    One notification of an incident to one recipient, stored before it is sent, in the transaction of its cause.

    `recipient` is a webhook's or a principal's id. `body` is the exact text, so that a retry sends the same message;
    `at` distinguishes repeated events of one incident.
    """

    class State(models.TextChoices):
        DUE = "due"
        SENT = "sent"
        FAILED = "failed"
        MOOT = "moot"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    incident = models.ForeignKey(Incident, models.CASCADE, related_name="deliveries", db_index=False)
    what = models.CharField(max_length=16)
    at = models.DateTimeField()
    channel = models.CharField(max_length=8, choices=[("mail", "mail"), ("webhook", "webhook")])
    recipient = models.UUIDField()
    body = models.TextField(blank=True)
    state = models.CharField(max_length=6, choices=State, default=State.DUE)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(db_default=Now())
    claimed_until = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["incident", "what", "at", "channel", "recipient"], name="one_delivery_each")
        ]
        indexes: ClassVar = [models.Index(fields=["next_at"], name="delivery_due", condition=Q(state="due"))]

    def __str__(self) -> str:
        return f"{self.what} by {self.channel}: {self.state}"
