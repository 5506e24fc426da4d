"""Attention, conversation, notices, and since when roles are held."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import audit.ids
from approvals.since import forget, keep


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0004_blast_weights"),
        ("tenants", "0003_invariants"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="decision",
            name="attention",
            field=models.JSONField(default=dict),
        ),
        migrations.CreateModel(
            name="ApprovalSettings",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="tenants.tenant",
                    ),
                ),
                (
                    "bulk_below",
                    models.CharField(
                        blank=True,
                        choices=[("medium", "medium"), ("high", "high"), ("critical", "critical")],
                        default="",
                        help_text="Several requests may be decided at once if their tier is below this one. Empty: never.",
                        max_length=8,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "approval settings",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("bulk_below__in", ["", "medium", "high", "critical"])),
                        name="approvals_bulk_below",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="GrantSince",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=11)),
                ("grant_id", models.BigIntegerField()),
                ("since", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "grant_id"), name="approvals_grant_since_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="MemberSince",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("principal_id", models.UUIDField()),
                ("group_id", models.IntegerField()),
                ("since", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("principal_id", "group_id"), name="approvals_member_since_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Ask",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("role", models.CharField(max_length=64)),
                ("digest", models.CharField(max_length=64)),
                ("comment", models.TextField(blank=True, default="")),
                ("at", models.DateTimeField()),
                ("withdrawn_at", models.DateTimeField(blank=True, null=True)),
                (
                    "principal",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="asks", to="approvals.request"
                    ),
                ),
            ],
            options={
                "ordering": ["at", "id"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("withdrawn_at", None)),
                        fields=("request", "principal"),
                        name="approvals_one_standing_ask",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Comment",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("subject_kind", models.CharField(max_length=32)),
                ("subject_id", models.UUIDField()),
                ("digest", models.CharField(max_length=64)),
                ("change", models.PositiveIntegerField(blank=True, null=True)),
                ("line", models.PositiveIntegerField(blank=True, null=True)),
                ("text", models.TextField(blank=True, default="")),
                ("at", models.DateTimeField()),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                (
                    "author",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "environment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.environment"
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="replies",
                        to="approvals.comment",
                    ),
                ),
                (
                    "resolved_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["at", "id"],
                "indexes": [models.Index(fields=["subject_id", "id"], name="approvals_comment_subject")],
            },
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=17)),
                ("about", models.CharField(blank=True, default="", max_length=36)),
                ("channel", models.CharField(max_length=7)),
                ("recipient", models.CharField(max_length=254)),
                (
                    "state",
                    models.CharField(
                        choices=[("due", "Due"), ("sent", "Sent"), ("failed", "Failed"), ("moot", "Moot")],
                        default="due",
                        max_length=6,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("next_at", models.DateTimeField()),
                ("claimed_until", models.DateTimeField(blank=True, null=True)),
                ("error", models.CharField(blank=True, default="", max_length=300)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="notices", to="approvals.request"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("state", "due")), fields=["next_at"], name="approvals_notice_due")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("request", "kind", "about", "channel", "recipient"), name="approvals_told_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="NotifyRule",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("opened", "a request opened"),
                            ("reminder", "still open: remind"),
                            ("escalation", "still open: escalate"),
                            ("changes_requested", "changes were asked for"),
                            ("settled", "it was settled"),
                        ],
                        max_length=17,
                    ),
                ),
                ("after_s", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "to",
                    models.CharField(
                        choices=[
                            ("candidates", "everybody who can fill an open seat"),
                            ("requester", "its requester"),
                            ("role", "everybody in a role"),
                            ("addresses", "these mail addresses"),
                            ("urls", "these webhooks and services (Apprise)"),
                            ("nobody", "nobody"),
                        ],
                        max_length=10,
                    ),
                ),
                ("role", models.CharField(blank=True, default="", max_length=63)),
                ("addresses", models.JSONField(blank=True, default=list)),
                ("urls", models.BinaryField(blank=True, null=True)),
                (
                    "environment",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.environment",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["tenant_id", "event", "id"],
                "indexes": [models.Index(fields=["tenant", "event"], name="approvals_notify_tenant")],
            },
        ),
        migrations.CreateModel(
            name="Viewing",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(max_length=64)),
                ("first_shown_at", models.DateTimeField()),
                ("last_shown_at", models.DateTimeField()),
                ("opened", models.JSONField(default=list)),
                ("total", models.PositiveIntegerField(default=0)),
                ("seconds", models.PositiveIntegerField(default=0)),
                (
                    "principal",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="viewings", to="approvals.request"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("request", "principal", "digest"), name="approvals_one_viewing_each"
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="request",
            name="notify_at",
            field=models.DateTimeField(blank=True, db_default=django.db.models.functions.datetime.Now(), null=True),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                condition=models.Q(("state", "open")), fields=["notify_at"], name="approvals_request_notify"
            ),
        ),
        migrations.RunPython(
            lambda apps, schema_editor: keep(schema_editor.connection),
            lambda apps, schema_editor: forget(schema_editor.connection),
        ),
    ]
