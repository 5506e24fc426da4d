import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import actions.models.states
import audit.database.clock


class Migration(migrations.Migration):
    initial = True

    dependencies = [("tenants", "0001_initial"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="Action",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("type", models.CharField(max_length=64)),
                ("title", models.CharField(max_length=200)),
                ("reason", models.TextField(blank=True)),
                ("parameters", models.JSONField(default=dict)),
                ("target", models.JSONField(default=dict)),
                ("checks", models.JSONField(default=list)),
                ("rollback", models.JSONField(default=dict)),
                ("watch", models.JSONField(default=dict)),
                ("ticket", models.CharField(blank=True, max_length=120)),
                ("external_url", models.URLField(blank=True, max_length=500)),
                (
                    "security_level",
                    models.CharField(
                        choices=[("low", "low"), ("medium", "medium"), ("high", "high"), ("critical", "critical")],
                        max_length=8,
                    ),
                ),
                (
                    "risk_class",
                    models.CharField(
                        choices=[("safe", "safe"), ("guarded", "guarded"), ("dangerous", "dangerous")], max_length=9
                    ),
                ),
                ("confidence", models.FloatField(null=True)),
                ("priority", models.SmallIntegerField(default=0)),
                ("timeout_s", models.PositiveIntegerField(default=600)),
                ("not_before", models.DateTimeField(null=True)),
                ("turn_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("node", models.CharField(blank=True, db_default="", default="", max_length=100)),
                ("accepted_in_advance", models.BooleanField(default=False)),
                ("simulated", models.BooleanField(db_default=False, default=False)),
                ("correlation_id", models.CharField(max_length=64)),
                ("recovery", models.JSONField(default=dict)),
                ("breaker_key", models.CharField(blank=True, default="", max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "queued"),
                            ("preflight", "preflight"),
                            ("denied", "denied"),
                            ("awaiting_approval", "awaiting_approval"),
                            ("approved", "approved"),
                            ("rejected", "rejected"),
                            ("expired", "expired"),
                            ("cancelled", "cancelled"),
                            ("in_progress", "in_progress"),
                            ("verifying", "verifying"),
                            ("completed", "completed"),
                            ("rolling_back", "rolling_back"),
                            ("rolled_back", "rolled_back"),
                            ("held", "held"),
                            ("failed", "failed"),
                        ],
                        default=actions.models.states.State["QUEUED"],
                        max_length=17,
                    ),
                ),
                ("seq", models.PositiveIntegerField(default=1)),
                ("requires_approval", models.BooleanField(null=True)),
                ("blast_score", models.PositiveSmallIntegerField(null=True)),
                ("tier", models.CharField(blank=True, max_length=8)),
                ("steps_total", models.PositiveIntegerField(default=0)),
                ("steps_done", models.PositiveIntegerField(default=0)),
                ("replans", models.PositiveSmallIntegerField(default=0)),
                ("held_reason", models.CharField(blank=True, max_length=32)),
                ("fallback_due", models.BooleanField(default=False)),
                ("wake_at", models.DateTimeField(null=True)),
                ("error", models.JSONField(null=True)),
                ("result", models.JSONField(null=True)),
                ("rollback_reference", models.CharField(blank=True, max_length=160)),
                ("stop_requested_at", models.DateTimeField(null=True)),
                ("stop_reason", models.CharField(blank=True, max_length=32)),
                ("rollback_to", models.CharField(blank=True, max_length=200)),
                ("expires_at", models.DateTimeField(null=True)),
                ("approved_at", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("completed_at", models.DateTimeField(null=True)),
                ("incident_seq", models.PositiveIntegerField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Backtest",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("policy", "policy"), ("retire", "retire"), ("matrix", "matrix")], max_length=6
                    ),
                ),
                ("draft", models.UUIDField()),
                ("subject", models.UUIDField()),
                ("title", models.CharField(max_length=200)),
                ("digest", models.CharField(max_length=64)),
                ("epoch", models.BigIntegerField()),
                ("basis", models.JSONField()),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("finished", "Finished"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="queued",
                        max_length=9,
                    ),
                ),
                ("total", models.PositiveIntegerField(null=True)),
                ("done", models.PositiveIntegerField(default=0)),
                ("cursor", models.UUIDField(null=True)),
                ("counts", models.JSONField(default=dict)),
                ("patience", models.JSONField(default=dict)),
                ("claim", models.UUIDField(null=True)),
                ("claimed_until", models.DateTimeField(null=True)),
                ("touched_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("finished_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="BacktestDifference",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("because", models.CharField(choices=[("draft", "Draft"), ("since", "Since")], max_length=5)),
                ("kind", models.CharField(max_length=16)),
                ("state", models.CharField(max_length=17)),
                ("went", models.JSONField()),
                ("today", models.JSONField()),
                ("then", models.JSONField()),
            ],
        ),
        migrations.CreateModel(
            name="BeforeImage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step", models.CharField(max_length=200)),
                ("ciphertext", models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name="CircuitBreaker",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key", models.CharField(max_length=64, unique=True)),
                ("type", models.CharField(max_length=64)),
                ("target", models.CharField(blank=True, max_length=200)),
                (
                    "state",
                    models.CharField(
                        choices=[("closed", "Closed"), ("open", "Open"), ("half-open", "Half Open")],
                        default="closed",
                        max_length=9,
                    ),
                ),
                ("failures", models.PositiveIntegerField(default=0)),
                ("openings", models.PositiveIntegerField(default=0)),
                ("code", models.CharField(blank=True, max_length=120)),
                ("failed_at", models.DateTimeField(null=True)),
                ("opened_at", models.DateTimeField(null=True)),
                ("open_until", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="ConcurrencyLimit",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "type",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Empty: of all types together.",
                        max_length=64,
                        verbose_name="action type",
                    ),
                ),
                (
                    "most",
                    models.PositiveSmallIntegerField(
                        help_text="The number of these actions that may run at the same time.",
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="at most",
                    ),
                ),
            ],
            options={
                "verbose_name": "concurrency limit",
                "ordering": ["tenant", "environment", "type"],
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("what", models.CharField(max_length=16)),
                ("at", models.DateTimeField()),
                ("channel", models.CharField(choices=[("mail", "mail"), ("webhook", "webhook")], max_length=8)),
                ("recipient", models.UUIDField()),
                ("body", models.TextField(blank=True)),
                (
                    "state",
                    models.CharField(
                        choices=[("due", "Due"), ("sent", "Sent"), ("failed", "Failed"), ("moot", "Moot")],
                        default="due",
                        max_length=6,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("next_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("claimed_until", models.DateTimeField(null=True)),
                ("sent_at", models.DateTimeField(null=True)),
                ("error", models.CharField(blank=True, max_length=300)),
            ],
        ),
        migrations.CreateModel(
            name="Freeze",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("reason", models.TextField()),
                ("since", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("lifted_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=255)),
                ("body_sha256", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Incident",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("ending_seq", models.PositiveIntegerField()),
                ("ending", models.CharField(max_length=32)),
                ("code", models.CharField(blank=True, max_length=120)),
                (
                    "severity",
                    models.CharField(
                        choices=[("low", "low"), ("medium", "medium"), ("high", "high"), ("critical", "critical")],
                        max_length=8,
                    ),
                ),
                ("summary", models.CharField(max_length=300)),
                ("facts", models.JSONField(default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("acknowledged", "Acknowledged"), ("resolved", "Resolved")],
                        default="open",
                        max_length=12,
                    ),
                ),
                ("evidence", models.CharField(blank=True, max_length=64)),
                ("gathered_at", models.DateTimeField(null=True)),
                ("assigned_at", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(null=True)),
                ("escalated_at", models.DateTimeField(null=True)),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("resolved_at", models.DateTimeField(null=True)),
                (
                    "opened_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
        ),
        migrations.CreateModel(
            name="IncidentRule",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("endings", models.JSONField(blank=True, default=list)),
                (
                    "to",
                    models.CharField(
                        choices=[
                            ("requester", "the requester (for an agent: its owner)"),
                            ("person", "one person"),
                            ("role", "first of a role to acknowledge"),
                        ],
                        default="requester",
                        max_length=9,
                    ),
                ),
                ("role", models.CharField(blank=True, max_length=64)),
                ("acknowledge_within_s", models.PositiveIntegerField(default=1800)),
                ("escalate_to", models.CharField(blank=True, default="admin", max_length=64)),
            ],
        ),
        migrations.CreateModel(
            name="JournalEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step", models.CharField(max_length=200)),
                ("attempt", models.PositiveSmallIntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("intent", "Intent"),
                            ("receipt", "Receipt"),
                            ("failure", "Failure"),
                            ("skip", "Skip"),
                            ("undo_intent", "Undo Intent"),
                            ("undo_receipt", "Undo Receipt"),
                            ("undo_failure", "Undo Failure"),
                        ],
                        max_length=12,
                    ),
                ),
                ("lease", models.BigIntegerField()),
                ("at", models.DateTimeField()),
                ("facts", models.JSONField(default=dict)),
                ("log", models.TextField(blank=True)),
                ("metrics", models.JSONField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("queue", models.CharField(max_length=16)),
                ("worker", models.CharField(max_length=120)),
                ("node", models.CharField(blank=True, db_default="", default="", max_length=100)),
                ("serves", models.JSONField(db_default=[], default=list)),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("renewed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("expires_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_why", models.CharField(blank=True, max_length=120)),
            ],
        ),
        migrations.CreateModel(
            name="LogLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step", models.CharField(max_length=200)),
                ("attempt", models.PositiveSmallIntegerField()),
                ("is_undo", models.BooleanField()),
                ("first", models.PositiveIntegerField()),
                ("lines", models.PositiveIntegerField()),
                ("text", models.TextField()),
                ("at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Node",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Plan",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("version", models.PositiveSmallIntegerField()),
                ("digest", models.CharField(max_length=64)),
                ("document", models.CharField(max_length=64)),
                ("changes", models.CharField(max_length=64)),
                ("summary", models.TextField()),
                ("steps", models.JSONField(default=list)),
                ("rollback", models.JSONField(default=dict)),
                ("recovery", models.JSONField(default=dict)),
                ("counts", models.JSONField(default=dict)),
                ("blast", models.JSONField(default=dict)),
                ("verdict", models.JSONField(default=dict)),
                ("facts", models.JSONField(default=dict)),
                ("observations", models.JSONField(default=dict)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Quarantine",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key", models.CharField(max_length=64)),
                ("kind", models.CharField(max_length=64)),
                ("name", models.TextField()),
                (
                    "because",
                    models.CharField(
                        choices=[
                            ("undo_failed", "its undo failed"),
                            ("in_doubt", "a step in doubt was not resolved"),
                            ("operator", "set by a person"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                ("since", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("cleared_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="ResourceLock",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=64)),
                ("kind", models.CharField(max_length=64)),
                ("name", models.TextField()),
                ("held", models.BooleanField()),
                ("since", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="RetryBudget",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("tokens", models.FloatField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Webhook",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=80)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("generic", "Interlock's own JSON, signed"),
                            ("github_dispatch", "GitHub: repository_dispatch"),
                            ("github_issue", "GitHub: an issue"),
                            ("gitlab_issue", "GitLab: an issue"),
                            ("jira", "Jira automation: incoming webhook"),
                        ],
                        default="generic",
                        max_length=16,
                    ),
                ),
                ("host", models.CharField(blank=True, editable=False, max_length=255)),
                ("hidden", models.BinaryField(null=True)),
                ("enabled", models.BooleanField(default=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
        ),
        migrations.CreateModel(
            name="PredictionAccuracy",
            fields=[
                (
                    "action",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="prediction_accuracy",
                        serialize=False,
                        to="actions.action",
                    ),
                ),
                ("type", models.CharField(max_length=64)),
                ("target", models.CharField(max_length=401)),
                ("state", models.CharField(max_length=17)),
                ("code", models.CharField(max_length=120)),
                ("is_failure", models.BooleanField()),
                ("tier", models.CharField(max_length=8)),
                ("score", models.PositiveSmallIntegerField()),
                ("predicted_changes", models.PositiveIntegerField()),
                ("predicted_deletes", models.PositiveIntegerField()),
                ("predicted_resources", models.PositiveIntegerField()),
                ("steps", models.PositiveIntegerField()),
                ("applied", models.PositiveIntegerField()),
                ("standing", models.PositiveIntegerField()),
                ("verified_changes", models.PositiveIntegerField(null=True)),
                ("checks", models.PositiveIntegerField(null=True)),
                ("checks_failed", models.PositiveIntegerField(null=True)),
                ("duration_ms", models.BigIntegerField()),
                ("step_ms", models.JSONField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddField(
            model_name="action",
            name="environment",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.environment"
            ),
        ),
        migrations.AddField(
            model_name="action",
            name="fallback_of",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="actions.action",
            ),
        ),
        migrations.AddField(
            model_name="action",
            name="requester",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="action",
            name="retry_of",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="retries",
                to="actions.action",
            ),
        ),
        migrations.AddField(
            model_name="action",
            name="tenant",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="action",
            name="undo_of",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="undos",
                to="actions.action",
            ),
        ),
        migrations.AddField(
            model_name="backtest",
            name="by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="backtest",
            name="environment",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.environment"
            ),
        ),
        migrations.AddField(
            model_name="backtest",
            name="tenant",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"),
        ),
        migrations.AddField(
            model_name="backtestdifference",
            name="action",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="actions.action"),
        ),
        migrations.AddField(
            model_name="backtestdifference",
            name="backtest",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="differences", to="actions.backtest"
            ),
        ),
        migrations.AddField(
            model_name="backtestdifference",
            name="environment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.environment"
            ),
        ),
        migrations.AddField(
            model_name="beforeimage",
            name="action",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="before_images",
                to="actions.action",
            ),
        ),
        migrations.AddField(
            model_name="circuitbreaker",
            name="environment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.environment"
            ),
        ),
        migrations.AddField(
            model_name="circuitbreaker",
            name="probe",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="actions.action"
            ),
        ),
        migrations.AddField(
            model_name="circuitbreaker",
            name="tenant",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"),
        ),
        migrations.AddField(
            model_name="concurrencylimit",
            name="environment",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="Empty: in all environments together.",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="tenants.environment",
            ),
        ),
        migrations.AddField(
            model_name="concurrencylimit",
            name="tenant",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="freeze",
            name="environment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="freezes", to="tenants.environment"
            ),
        ),
        migrations.AddField(
            model_name="freeze",
            name="lifted_by",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="freeze",
            name="set_by",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="freeze",
            name="tenant",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="idempotencykey",
            name="action",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="actions.action"),
        ),
        migrations.AddField(
            model_name="idempotencykey",
            name="principal",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="idempotencykey",
            name="tenant",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="incident",
            name="action",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="incidents",
                to="actions.action",
            ),
        ),
        migrations.AddField(
            model_name="incident",
            name="assignee",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="incident",
            name="environment",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.environment"
            ),
        ),
        migrations.AddField(
            model_name="incident",
            name="tenant",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="delivery",
            name="incident",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="actions.incident",
            ),
        ),
        migrations.AddField(
            model_name="incidentrule",
            name="environment",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="tenants.environment",
            ),
        ),
        migrations.AddField(
            model_name="incidentrule",
            name="person",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="incidentrule",
            name="tenant",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"),
        ),
        migrations.AddField(
            model_name="journalentry",
            name="action",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="journal_entries",
                to="actions.action",
            ),
        ),
        migrations.AddIndex(
            model_name="lease",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", True)), fields=["expires_at"], name="lease_running"
            ),
        ),
        migrations.AddField(
            model_name="action",
            name="lease",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="actions.lease",
            ),
        ),
        migrations.AddField(
            model_name="logline",
            name="action",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="log_lines",
                to="actions.action",
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="action",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="plans", to="actions.action"
            ),
        ),
        migrations.AddField(
            model_name="journalentry",
            name="plan",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="actions.plan"
            ),
        ),
        migrations.AddField(
            model_name="action",
            name="plan",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="actions.plan",
            ),
        ),
        migrations.AddField(
            model_name="quarantine",
            name="action",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="quarantines",
                to="actions.action",
            ),
        ),
        migrations.AddField(
            model_name="quarantine",
            name="by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="quarantine",
            name="cleared_by_action",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="actions.action",
            ),
        ),
        migrations.AddField(
            model_name="quarantine",
            name="environment",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.environment"
            ),
        ),
        migrations.AddField(
            model_name="quarantine",
            name="tenant",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="resourcelock",
            name="action",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="resource_locks",
                to="actions.action",
            ),
        ),
        migrations.AddField(
            model_name="resourcelock",
            name="environment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.environment"
            ),
        ),
        migrations.AddField(
            model_name="resourcelock",
            name="tenant",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="retrybudget",
            name="tenant",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"),
        ),
        migrations.AddField(
            model_name="webhook",
            name="environment",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="tenants.environment",
            ),
        ),
        migrations.AddField(
            model_name="webhook",
            name="tenant",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"),
        ),
        migrations.AddField(
            model_name="predictionaccuracy",
            name="environment",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.environment"
            ),
        ),
        migrations.AddIndex(
            model_name="backtest",
            index=models.Index(fields=["kind", "draft", "-id"], name="backtest_by_draft"),
        ),
        migrations.AddIndex(
            model_name="backtest",
            index=models.Index(
                condition=models.Q(("state__in", ("queued", "running"))),
                fields=["touched_at"],
                name="backtest_under_way",
            ),
        ),
        migrations.AddConstraint(
            model_name="backtest",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ("queued", "running"))),
                fields=("kind", "draft"),
                name="one_backtest_of_a_draft_at_a_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="backtest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "finished"), _negated=True), ("finished_at__isnull", False), _connector="OR"
                ),
                name="backtest_finished_says_when",
            ),
        ),
        migrations.AddIndex(
            model_name="backtestdifference",
            index=models.Index(fields=["backtest", "because", "id"], name="difference_in_order"),
        ),
        migrations.AddConstraint(
            model_name="backtestdifference",
            constraint=models.UniqueConstraint(fields=("backtest", "action"), name="one_difference_per_action"),
        ),
        migrations.AddConstraint(
            model_name="beforeimage",
            constraint=models.UniqueConstraint(fields=("action", "step"), name="one_before_image_per_step"),
        ),
        migrations.AddConstraint(
            model_name="concurrencylimit",
            constraint=models.UniqueConstraint(
                condition=models.Q(("environment__isnull", False)),
                fields=("tenant", "environment", "type"),
                name="one_limit_per_environment_and_type",
                violation_error_message="This limit exists already. Change it.",
            ),
        ),
        migrations.AddConstraint(
            model_name="concurrencylimit",
            constraint=models.UniqueConstraint(
                condition=models.Q(("environment__isnull", True)),
                fields=("tenant", "type"),
                name="one_limit_per_tenant_and_type",
                violation_error_message="This limit exists already. Change it.",
            ),
        ),
        migrations.AddConstraint(
            model_name="concurrencylimit",
            constraint=models.CheckConstraint(condition=models.Q(("most__gte", 1)), name="limit_lets_one_run"),
        ),
        migrations.AddConstraint(
            model_name="freeze",
            constraint=models.UniqueConstraint(
                condition=models.Q(("lifted_at__isnull", True)),
                fields=("environment",),
                name="one_freeze_per_environment",
            ),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.UniqueConstraint(
                fields=("tenant", "principal", "key"), name="one_action_per_idempotency_key"
            ),
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(fields=["tenant", "-id"], name="incident_by_tenant"),
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(fields=["environment", "-id"], name="incident_by_environment"),
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(
                condition=models.Q(("state", "resolved"), _negated=True),
                fields=["tenant", "-id"],
                name="incident_unresolved",
            ),
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(
                condition=models.Q(("state", "resolved"), _negated=True),
                fields=["assignee", "-id"],
                name="incident_of_assignee",
            ),
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(
                condition=models.Q(("gathered_at__isnull", True)), fields=["id"], name="incident_to_diagnose"
            ),
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(
                condition=models.Q(("escalated_at__isnull", True), ("state", "open")),
                fields=["due_at"],
                name="incident_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.UniqueConstraint(fields=("action", "ending_seq"), name="one_incident_per_ending"),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "resolved"), _negated=True),
                fields=("action",),
                name="one_unresolved_incident_per_action",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("resolved_at__isnull", False), ("state", "resolved")),
                    models.Q(models.Q(("state", "resolved"), _negated=True), ("resolved_at__isnull", True)),
                    _connector="OR",
                ),
                name="incident_resolved_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "acknowledged"), _negated=True), ("assignee__isnull", False), _connector="OR"
                ),
                name="incident_acknowledged_has_assignee",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(condition=models.Q(("state", "due")), fields=["next_at"], name="delivery_due"),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.UniqueConstraint(
                fields=("incident", "what", "at", "channel", "recipient"), name="one_delivery_each"
            ),
        ),
        migrations.AddConstraint(
            model_name="incidentrule",
            constraint=models.UniqueConstraint(fields=("environment",), name="one_incident_rule_per_environment"),
        ),
        migrations.AddConstraint(
            model_name="incidentrule",
            constraint=models.UniqueConstraint(
                condition=models.Q(("environment__isnull", True)),
                fields=("tenant",),
                name="one_incident_rule_per_tenant",
            ),
        ),
        migrations.AddConstraint(
            model_name="logline",
            constraint=models.UniqueConstraint(
                fields=("action", "step", "attempt", "is_undo", "first"), name="each_log_line_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="plan",
            constraint=models.UniqueConstraint(fields=("action", "version"), name="one_plan_per_version"),
        ),
        migrations.AddConstraint(
            model_name="journalentry",
            constraint=models.UniqueConstraint(
                fields=("action", "step", "attempt", "kind"), name="one_journal_entry_of_a_kind_per_attempt"
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("lease__isnull", True), ("state__in", ("queued", "preflight"))),
                fields=["node", "tenant", "turn_at", "id"],
                name="action_to_decide",
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(
                    ("lease__isnull", True), ("state__in", ("approved", "in_progress", "verifying", "rolling_back"))
                ),
                fields=["node", "tenant", "turn_at", "id"],
                name="action_to_execute",
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("held_reason", "freeze"), ("state", "held")),
                fields=["environment"],
                name="action_frozen",
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(condition=models.Q(("lease__isnull", False)), fields=["lease"], name="action_leased"),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(
                    (
                        "state__in",
                        (
                            "queued",
                            "preflight",
                            "approved",
                            "in_progress",
                            "verifying",
                            "rolling_back",
                            "awaiting_approval",
                            "held",
                        ),
                    )
                ),
                fields=["tenant", "state", "id"],
                name="action_live",
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("state__in", ["awaiting_approval", "approved"])),
                fields=["expires_at"],
                name="action_expiring",
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(fields=["tenant", "-id"], name="action_by_tenant"),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(fields=["environment", "-id"], name="action_by_environment"),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(fields=["requester", "-id"], name="action_by_requester"),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("retry_of__isnull", False)), fields=["retry_of"], name="action_retried"
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("incident_seq__isnull", False)), fields=["id"], name="action_without_incident"
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("undo_of__isnull", False)), fields=["undo_of"], name="action_undone"
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("fallback_of__isnull", False)), fields=["fallback_of"], name="action_fell_back"
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(condition=models.Q(("fallback_due", True)), fields=["id"], name="action_fallback_due"),
        ),
        migrations.AddConstraint(
            model_name="action",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "queued",
                            "preflight",
                            "denied",
                            "awaiting_approval",
                            "approved",
                            "rejected",
                            "expired",
                            "cancelled",
                            "in_progress",
                            "verifying",
                            "completed",
                            "rolling_back",
                            "rolled_back",
                            "held",
                            "failed",
                        ],
                    )
                ),
                name="action_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="action",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "held"), _negated=True),
                    models.Q(("held_reason", ""), _negated=True),
                    _connector="OR",
                ),
                name="action_held_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="action",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("confidence__isnull", True),
                    models.Q(("confidence__gte", 0), ("confidence__lte", 1)),
                    _connector="OR",
                ),
                name="action_confidence_is_a_share",
            ),
        ),
        migrations.AddIndex(
            model_name="quarantine",
            index=models.Index(fields=["environment", "-id"], name="quarantine_by_environment"),
        ),
        migrations.AddIndex(
            model_name="quarantine",
            index=models.Index(
                condition=models.Q(("cleared_at__isnull", True)), fields=["environment"], name="quarantine_in_force"
            ),
        ),
        migrations.AddIndex(
            model_name="quarantine",
            index=models.Index(
                condition=models.Q(("action__isnull", False)), fields=["action"], name="quarantine_by_action"
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantine",
            constraint=models.UniqueConstraint(
                condition=models.Q(("cleared_at__isnull", True)), fields=("key",), name="one_quarantine_of_a_resource"
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantine",
            constraint=models.CheckConstraint(
                condition=models.Q(("cleared_at__isnull", True), ("cleared_by_action__isnull", False), _connector="OR"),
                name="quarantine_cleared_says_by_what",
            ),
        ),
        migrations.AddIndex(
            model_name="resourcelock",
            index=models.Index(fields=["key", "id"], name="resourcelock_queue"),
        ),
        migrations.AddConstraint(
            model_name="resourcelock",
            constraint=models.UniqueConstraint(fields=("action", "key"), name="one_lock_per_action_and_resource"),
        ),
        migrations.AddConstraint(
            model_name="resourcelock",
            constraint=models.UniqueConstraint(
                condition=models.Q(("held", True)), fields=("key",), name="one_action_at_a_time_per_resource"
            ),
        ),
        migrations.AddIndex(
            model_name="retrybudget",
            index=models.Index(fields=["at"], name="retrybudget_by_age"),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.UniqueConstraint(fields=("tenant", "name"), name="one_webhook_of_a_name"),
        ),
        migrations.AddIndex(
            model_name="predictionaccuracy",
            index=models.Index(fields=["environment", "type", "target", "-ended_at"], name="accuracy_history"),
        ),
        migrations.AddIndex(
            model_name="predictionaccuracy",
            index=models.Index(fields=["environment", "-ended_at"], name="accuracy_by_time"),
        ),
    ]
