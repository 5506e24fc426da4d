import django.db.models.deletion as deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

import audit.ids

TENANT, PLACE, PERSON = "tenants.tenant", "tenants.environment", settings.AUTH_USER_MODEL
SEVERITIES = [(s, s) for s in ("low", "medium", "high", "critical")]
UNRESOLVED = ~Q(state="resolved")
KINDS = [
    ("generic", "Interlock's own JSON, signed"),
    ("github_dispatch", "GitHub: repository_dispatch"),
    ("github_issue", "GitHub: an issue"),
    ("gitlab_issue", "GitLab: an issue"),
    ("jira", "Jira automation: incoming webhook"),
]
WHOM = [
    ("requester", "whoever proposed the action (an agent's owner)"),
    ("person", "one person"),
    ("role", "whoever takes it of a role"),
]
HAND_OVER_WHAT_IS_HELD = "UPDATE actions_action SET handoff_seq = seq WHERE state = 'held'"
"""What people are waited for at the time of the upgrade gets its ticket, too; what failed before is history."""


def key(to, on_delete=deletion.PROTECT, **more):
    return models.ForeignKey(to=to, on_delete=on_delete, **{"related_name": "+", "db_index": False, **more})


def owned(to, **more):
    return models.ForeignKey(to=to, on_delete=deletion.CASCADE, related_name="+", **more)


def own_id():
    return ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False))


TICKET = [
    own_id(),
    ("tenant", key(TENANT)),
    ("environment", key(PLACE)),
    ("action", key("actions.action", related_name="tickets")),
    ("ending_seq", models.PositiveIntegerField()),
    ("ending", models.CharField(max_length=32)),
    ("code", models.CharField(max_length=120, blank=True)),
    ("severity", models.CharField(max_length=8, choices=SEVERITIES)),
    ("summary", models.CharField(max_length=300)),
    ("facts", models.JSONField(default=dict)),
    (
        "state",
        models.CharField(
            max_length=12,
            choices=[("open", "Open"), ("acknowledged", "Acknowledged"), ("resolved", "Resolved")],
            default="open",
        ),
    ),
    ("evidence", models.CharField(max_length=64, blank=True)),
    ("gathered_at", models.DateTimeField(null=True)),
    ("assignee", key(PERSON, null=True)),
    *((name, models.DateTimeField(null=True))
      for name in ("assigned_at", "due_at", "escalated_at", "acknowledged_at", "resolved_at")),
    ("opened_at", models.DateTimeField(db_default=Now(), editable=False)),
]  # fmt: skip
RULE = [
    own_id(),
    ("tenant", owned(TENANT)),
    ("environment", owned(PLACE, null=True, blank=True)),
    ("endings", models.JSONField(default=list, blank=True)),
    ("to", models.CharField(max_length=9, choices=WHOM, default="requester")),
    ("person", key(PERSON, null=True, blank=True, db_index=True)),
    ("role", models.CharField(max_length=64, blank=True)),
    ("acknowledge_within_s", models.PositiveIntegerField(default=1800)),
    ("escalate_to", models.CharField(max_length=64, blank=True, default="admin")),
]
WEBHOOK = [
    own_id(),
    ("tenant", owned(TENANT)),
    ("environment", owned(PLACE, null=True, blank=True)),
    ("name", models.CharField(max_length=80)),
    ("kind", models.CharField(max_length=16, choices=KINDS, default="generic")),
    ("host", models.CharField(max_length=255, blank=True, editable=False)),
    ("hidden", models.BinaryField(null=True)),
    ("enabled", models.BooleanField(default=True)),
    ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
]
DELIVERY = [
    own_id(),
    ("ticket", key("actions.ticket", deletion.CASCADE, related_name="deliveries")),
    ("what", models.CharField(max_length=16)),
    ("at", models.DateTimeField()),
    ("channel", models.CharField(max_length=8, choices=[("mail", "mail"), ("webhook", "webhook")])),
    ("recipient", models.UUIDField()),
    ("body", models.TextField(blank=True)),
    (
        "state",
        models.CharField(
            max_length=6,
            choices=[("due", "Due"), ("sent", "Sent"), ("failed", "Failed"), ("moot", "Moot")],
            default="due",
        ),
    ),
    ("attempts", models.PositiveSmallIntegerField(default=0)),
    ("next_at", models.DateTimeField(db_default=Now())),
    ("claimed_until", models.DateTimeField(null=True)),
    ("sent_at", models.DateTimeField(null=True)),
    ("error", models.CharField(max_length=300, blank=True)),
]
CONSTRAINTS = {
    "ticket": [
        models.UniqueConstraint(fields=["action", "ending_seq"], name="one_ticket_per_ending"),
        models.UniqueConstraint(fields=["action"], condition=UNRESOLVED, name="one_unresolved_ticket_per_action"),
        models.CheckConstraint(
            name="ticket_resolved_says_when",
            condition=Q(state="resolved", resolved_at__isnull=False) | (UNRESOLVED & Q(resolved_at__isnull=True)),
        ),
        models.CheckConstraint(
            name="ticket_acknowledged_by_somebody", condition=~Q(state="acknowledged") | Q(assignee__isnull=False)
        ),
    ],
    "handoffrule": [
        models.UniqueConstraint(fields=["environment"], name="one_handoff_rule_per_environment"),
        models.UniqueConstraint(
            fields=["tenant"], condition=Q(environment__isnull=True), name="one_handoff_rule_per_tenant"
        ),
    ],
    "webhook": [models.UniqueConstraint(fields=["tenant", "name"], name="one_webhook_of_a_name")],
    "delivery": [
        models.UniqueConstraint(fields=["ticket", "what", "at", "channel", "recipient"], name="one_delivery_each")
    ],
}
INDEXES = {
    "action": [models.Index(fields=["id"], name="action_to_hand_over", condition=Q(handoff_seq__isnull=False))],
    "ticket": [
        models.Index(fields=["tenant", "-id"], name="ticket_by_tenant"),
        models.Index(fields=["environment", "-id"], name="ticket_by_environment"),
        models.Index(fields=["tenant", "-id"], name="ticket_unresolved", condition=UNRESOLVED),
        models.Index(fields=["assignee", "-id"], name="ticket_of_assignee", condition=UNRESOLVED),
        models.Index(fields=["id"], name="ticket_to_gather", condition=Q(gathered_at__isnull=True)),
        models.Index(fields=["due_at"], name="ticket_due", condition=Q(state="open", escalated_at__isnull=True)),
    ],
    "delivery": [models.Index(fields=["next_at"], name="delivery_due", condition=Q(state="due"))],
}


class Migration(migrations.Migration):
    dependencies = [
        ("actions", "0010_step_metrics"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.AddField("action", "handoff_seq", models.PositiveIntegerField(null=True)),
        migrations.CreateModel(name="Ticket", fields=TICKET),
        migrations.CreateModel(name="HandoffRule", fields=RULE),
        migrations.CreateModel(name="Webhook", fields=WEBHOOK),
        migrations.CreateModel(name="Delivery", fields=DELIVERY),
        *(migrations.AddConstraint(model, one) for model, found in CONSTRAINTS.items() for one in found),
        *(migrations.AddIndex(model, one) for model, found in INDEXES.items() for one in found),
        migrations.RunSQL(HAND_OVER_WHAT_IS_HELD, migrations.RunSQL.noop),
    ]
