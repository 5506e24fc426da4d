import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import audit.database.clock
from approvals.models import triggers


def protect(apps, schema_editor):
    triggers.install_version_triggers(schema_editor.connection)
    triggers.install_role_tenure_triggers(schema_editor.connection)


def unprotect(apps, schema_editor):
    triggers.remove_role_tenure_triggers(schema_editor.connection)
    triggers.remove_version_triggers(schema_editor.connection)


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("tenants", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="RuleEpoch",
            fields=[
                ("scope", models.UUIDField(primary_key=True, serialize=False)),
                ("n", models.BigIntegerField(default=0)),
            ],
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
            name="BlastWeights",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="blast_weights",
                        serialize=False,
                        to="tenants.tenant",
                    ),
                ),
                (
                    "environment",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Per cent: the environment and its risk class.",
                        validators=[django.core.validators.MaxValueValidator(300, "At most 300 per cent.")],
                    ),
                ),
                (
                    "resources_touched",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Per cent: how many resources it changes.",
                        validators=[django.core.validators.MaxValueValidator(300, "At most 300 per cent.")],
                    ),
                ),
                (
                    "deletions",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Per cent: how many resources it deletes.",
                        validators=[django.core.validators.MaxValueValidator(300, "At most 300 per cent.")],
                    ),
                ),
                (
                    "irreversibility",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Per cent: steps that cannot be undone, or only with loss.",
                        validators=[django.core.validators.MaxValueValidator(300, "At most 300 per cent.")],
                    ),
                ),
                (
                    "resource_risk",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Per cent: the most sensitive resource it changes.",
                        validators=[django.core.validators.MaxValueValidator(300, "At most 300 per cent.")],
                    ),
                ),
                (
                    "monthly_cost",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Per cent: the added monthly cost.",
                        validators=[django.core.validators.MaxValueValidator(300, "At most 300 per cent.")],
                    ),
                ),
                (
                    "action_type",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Per cent: the risk class of the type of action.",
                        validators=[django.core.validators.MaxValueValidator(300, "At most 300 per cent.")],
                    ),
                ),
                (
                    "dependents",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Per cent: resources that depend on those it changes.",
                        validators=[django.core.validators.MaxValueValidator(300, "At most 300 per cent.")],
                    ),
                ),
                (
                    "recent_failures",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Per cent: how often such actions failed recently.",
                        validators=[django.core.validators.MaxValueValidator(300, "At most 300 per cent.")],
                    ),
                ),
                (
                    "working_hours",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Per cent: running outside the declared working hours.",
                        validators=[django.core.validators.MaxValueValidator(300, "At most 300 per cent.")],
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "blast weights",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("action_type__lte", 300),
                            ("deletions__lte", 300),
                            ("dependents__lte", 300),
                            ("environment__lte", 300),
                            ("irreversibility__lte", 300),
                            ("monthly_cost__lte", 300),
                            ("recent_failures__lte", 300),
                            ("resource_risk__lte", 300),
                            ("resources_touched__lte", 300),
                            ("working_hours__lte", 300),
                        ),
                        name="approvals_weights_at_most_300",
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
            name="Policy",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("slug", models.SlugField(max_length=64)),
                (
                    "home",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "policies",
                "ordering": ["slug"],
            },
        ),
        migrations.CreateModel(
            name="PolicyVersion",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("version", models.PositiveIntegerField()),
                ("expression", models.TextField()),
                (
                    "effect",
                    models.CharField(
                        choices=[
                            ("deny", "deny"),
                            ("require", "require"),
                            ("warn", "warn"),
                            ("allow_autonomous", "allow_autonomous"),
                        ],
                        max_length=16,
                    ),
                ),
                ("required_approvals", models.JSONField(blank=True, default=list)),
                ("message", models.CharField(max_length=500)),
                ("overridable", models.BooleanField(default=False)),
                (
                    "mode",
                    models.CharField(
                        choices=[("enforce", "enforce"), ("shadow", "shadow")], default="enforce", max_length=8
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("published", "Published"),
                            ("retired", "Retired"),
                            ("abandoned", "Abandoned"),
                        ],
                        default="draft",
                        max_length=9,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("published_at", models.DateTimeField(blank=True, null=True)),
                ("published_by_action", models.UUIDField(blank=True, null=True)),
                (
                    "author",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "policy",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="versions", to="approvals.policy"
                    ),
                ),
            ],
            options={
                "ordering": ["policy_id", "-version"],
            },
        ),
        migrations.CreateModel(
            name="Request",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("subject_kind", models.CharField(max_length=32)),
                ("subject_id", models.UUIDField()),
                (
                    "kind",
                    models.CharField(
                        choices=[("approval", "Approval"), ("acceptance", "Acceptance")],
                        default="approval",
                        max_length=10,
                    ),
                ),
                ("digest", models.CharField(max_length=64)),
                ("required_approvals", models.JSONField(default=list)),
                ("excluded", models.JSONField(default=list)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("approved", "Approved"),
                            ("rejected", "Rejected"),
                            ("expired", "Expired"),
                            ("void", "Void"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="open",
                        max_length=9,
                    ),
                ),
                ("opened_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "notify_at",
                    models.DateTimeField(blank=True, db_default=django.db.models.functions.datetime.Now(), null=True),
                ),
                (
                    "environment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.environment"
                    ),
                ),
                (
                    "requester",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="PlanView",
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
                        on_delete=django.db.models.deletion.CASCADE, related_name="plan_views", to="approvals.request"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Notification",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
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
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="notifications",
                        to="approvals.request",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Decision",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("approved", models.BooleanField()),
                ("role", models.CharField(max_length=64)),
                ("digest", models.CharField(max_length=64)),
                ("comment", models.TextField(blank=True, default="")),
                ("plan_view", models.JSONField(default=dict)),
                ("at", models.DateTimeField()),
                (
                    "principal",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="decisions", to="approvals.request"
                    ),
                ),
            ],
            options={
                "ordering": ["at", "id"],
            },
        ),
        migrations.CreateModel(
            name="ChangeRequest",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
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
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="change_requests",
                        to="approvals.request",
                    ),
                ),
            ],
            options={
                "ordering": ["at", "id"],
            },
        ),
        migrations.CreateModel(
            name="Comment",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
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
            name="MatrixDraft",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("rows", models.JSONField(blank=True, default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("published", "Published"),
                            ("retired", "Retired"),
                            ("abandoned", "Abandoned"),
                        ],
                        default="draft",
                        max_length=9,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("published_at", models.DateTimeField(blank=True, null=True)),
                ("published_by_action", models.UUIDField(blank=True, null=True)),
                (
                    "author",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "environment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="matrix_drafts",
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
                "ordering": ["-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ("draft", "published", "retired", "abandoned"))),
                        name="approvals_matrixdraft_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ["published", "retired"]), ("published_at__isnull", False)),
                            models.Q(
                                models.Q(("state__in", ["published", "retired"]), _negated=True), ("published_at", None)
                            ),
                            _connector="OR",
                        ),
                        name="approvals_matrixdraft_published",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="MatrixRow",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "tier",
                    models.CharField(
                        choices=[("low", "Low"), ("medium", "Medium"), ("high", "High"), ("critical", "Critical")],
                        max_length=8,
                    ),
                ),
                ("required_approvals", models.JSONField(blank=True, default=list)),
                (
                    "environment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="matrix_rows",
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
                "ordering": ["environment_id", "tier"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("environment", "tier"),
                        name="approvals_matrix_row_once",
                        violation_error_message="This environment already has a row for this tier.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("tier__in", ("low", "medium", "high", "critical"))),
                        name="approvals_matrix_row_tier",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="NotificationRule",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("opened", "a request opened"),
                            ("reminder", "reminder while open"),
                            ("escalation", "escalation while open"),
                            ("changes_requested", "changes were requested"),
                            ("closed", "the request closed"),
                        ],
                        max_length=17,
                    ),
                ),
                ("after_s", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "to",
                    models.CharField(
                        choices=[
                            ("candidates", "everyone who can fill an open required approval"),
                            ("requester", "the requester"),
                            ("role", "everyone in a role"),
                            ("addresses", "these email addresses"),
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
                "indexes": [models.Index(fields=["tenant", "event"], name="approvals_notification_rule")],
            },
        ),
        migrations.AddConstraint(
            model_name="policy",
            constraint=models.UniqueConstraint(
                condition=models.Q(("tenant__isnull", False)), fields=("tenant", "slug"), name="approvals_policy_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="policy",
            constraint=models.UniqueConstraint(
                condition=models.Q(("tenant__isnull", True)), fields=("slug",), name="approvals_policy_once_globally"
            ),
        ),
        migrations.AddConstraint(
            model_name="policy",
            constraint=models.CheckConstraint(
                condition=models.Q(("tenant", None), ("tenant", models.F("home")), _connector="OR"),
                name="approvals_policy_home",
            ),
        ),
        migrations.AddConstraint(
            model_name="policyversion",
            constraint=models.UniqueConstraint(fields=("policy", "version"), name="approvals_version_once"),
        ),
        migrations.AddConstraint(
            model_name="policyversion",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "published")), fields=("policy",), name="approvals_one_published_version"
            ),
        ),
        migrations.AddConstraint(
            model_name="policyversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("version__gte", 1)), name="approvals_version_from_one"
            ),
        ),
        migrations.AddConstraint(
            model_name="policyversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("effect__in", ("deny", "require", "warn", "allow_autonomous"))),
                name="approvals_version_effect",
            ),
        ),
        migrations.AddConstraint(
            model_name="policyversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("mode__in", ("enforce", "shadow"))), name="approvals_version_mode"
            ),
        ),
        migrations.AddConstraint(
            model_name="policyversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ("draft", "published", "retired", "abandoned"))),
                name="approvals_version_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="policyversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("effect", "require"), models.Q(("required_approvals", []), _negated=True)),
                    models.Q(models.Q(("effect", "require"), _negated=True), ("required_approvals", [])),
                    _connector="OR",
                ),
                name="approvals_version_required_approvals",
                violation_error_message="`require` names required approvals, and nothing else does.",
            ),
        ),
        migrations.AddConstraint(
            model_name="policyversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["published", "retired"]), ("published_at__isnull", False)),
                    models.Q(models.Q(("state__in", ["published", "retired"]), _negated=True), ("published_at", None)),
                    _connector="OR",
                ),
                name="approvals_version_published",
            ),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                condition=models.Q(("state", "open")), fields=["notify_at"], name="approvals_request_notify"
            ),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(fields=["subject_id", "opened_at"], name="approvals_request_subject"),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                condition=models.Q(("state", "open")), fields=["expires_at"], name="approvals_request_due"
            ),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                condition=models.Q(("state", "open")), fields=["environment", "id"], name="approvals_request_waiting"
            ),
        ),
        migrations.AddConstraint(
            model_name="request",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "open")), fields=("subject_id",), name="approvals_one_open_request"
            ),
        ),
        migrations.AddConstraint(
            model_name="request",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["open", "approved", "rejected", "expired", "void", "cancelled"])),
                name="approvals_request_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="request",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["approval", "acceptance"])), name="approvals_request_kind"
            ),
        ),
        migrations.AddConstraint(
            model_name="request",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at", None), ("state", "open")),
                    models.Q(models.Q(("state", "open"), _negated=True), ("closed_at__isnull", False)),
                    _connector="OR",
                ),
                name="approvals_request_closed",
            ),
        ),
        migrations.AddConstraint(
            model_name="planview",
            constraint=models.UniqueConstraint(
                fields=("request", "principal", "digest"), name="approvals_one_plan_view_each"
            ),
        ),
        migrations.AddIndex(
            model_name="notification",
            index=models.Index(
                condition=models.Q(("state", "due")), fields=["next_at"], name="approvals_notification_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="notification",
            constraint=models.UniqueConstraint(
                fields=("request", "kind", "about", "channel", "recipient"), name="approvals_notified_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="decision",
            constraint=models.UniqueConstraint(fields=("request", "principal"), name="approvals_one_decision_each"),
        ),
        migrations.AddConstraint(
            model_name="changerequest",
            constraint=models.UniqueConstraint(
                condition=models.Q(("withdrawn_at", None)),
                fields=("request", "principal"),
                name="approvals_one_open_change_request",
            ),
        ),
        migrations.RunPython(protect, unprotect),
    ]
