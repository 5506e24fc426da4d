import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import audit.database.clock
from audit.database import guards


def protect(apps, schema_editor):
    guards.protect(schema_editor.connection)
    guards.install_erasure_trigger(schema_editor.connection)


def unprotect(apps, schema_editor):
    guards.remove_erasure_trigger(schema_editor.connection)
    guards.unprotect(schema_editor.connection)


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Horizon",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("horizon", models.BigIntegerField(default=0)),
                ("candidate", models.BigIntegerField(null=True)),
                ("holders", models.TextField(blank=True, default="")),
            ],
        ),
        migrations.CreateModel(
            name="IndexCursor",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("upto", models.BigIntegerField(default=0)),
                ("moved_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="PublicCheck",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("minute", models.BigIntegerField()),
                ("count", models.PositiveIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Retention",
            fields=[
                ("tenant", models.UUIDField(primary_key=True, serialize=False)),
                ("keep_days", models.PositiveIntegerField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Tree",
            fields=[
                ("tenant", models.UUIDField(primary_key=True, serialize=False)),
                ("size", models.BigIntegerField(default=0)),
                ("frontier", models.BinaryField(default=b"")),
                ("number", models.BigIntegerField(default=0)),
                ("sealed_at", models.DateTimeField(null=True)),
                ("halted", models.TextField(blank=True, default="")),
                ("resume_from", models.BigIntegerField(null=True)),
                ("verified_size", models.BigIntegerField(default=0)),
                ("verified_at", models.DateTimeField(null=True)),
                ("broken", models.TextField(blank=True, default="")),
            ],
        ),
        migrations.CreateModel(
            name="Archive",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant", models.UUIDField()),
                ("first", models.BigIntegerField()),
                ("upto", models.BigIntegerField()),
                ("file", models.CharField(max_length=500)),
                ("sha256", models.CharField(max_length=64)),
                ("size", models.BigIntegerField()),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("prunable", models.BooleanField(default=False)),
                ("pruned", models.BigIntegerField(default=0)),
                ("pruned_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "first"), name="audit_archive_one_per_range"),
                    models.CheckConstraint(
                        condition=models.Q(("upto__gt", models.F("first"))), name="audit_archive_has_events"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Artifact",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tenant", models.UUIDField()),
                ("digest", models.CharField(max_length=64)),
                ("n", models.IntegerField()),
                ("chunks", models.IntegerField()),
                ("size", models.BigIntegerField()),
                ("media_type", models.CharField(max_length=128)),
                ("data", models.BinaryField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "digest", "n"), name="audit_artifact_one_per_chunk")
                ],
            },
        ),
        migrations.CreateModel(
            name="Audience",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tenant", models.UUIDField()),
                ("name", models.SlugField(max_length=32)),
                ("withheld", models.JSONField(default=list)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant", "name"), name="audit_audience_one_per_name")],
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tenant", models.UUIDField()),
                ("subject_kind", models.CharField(max_length=32)),
                ("subject_id", models.UUIDField()),
                ("seq", models.BigIntegerField()),
                ("verb", models.CharField(max_length=64)),
                ("outcome", models.CharField(max_length=32)),
                ("actor", models.CharField(max_length=64)),
                ("correlation_id", models.CharField(blank=True, max_length=128)),
                ("at", models.DateTimeField()),
                ("body", models.BinaryField()),
                ("hash", models.BinaryField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["tenant", "id"], name="audit_event_by_tenant"),
                    models.Index(fields=["tenant", "correlation_id"], name="audit_event_by_correlation"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("subject_id", "seq"), name="audit_event_one_per_seq"),
                    models.CheckConstraint(condition=models.Q(("seq__gt", 0)), name="audit_event_seq_from_one"),
                ],
            },
        ),
        migrations.CreateModel(
            name="HeadTarget",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tenant", models.UUIDField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("file", "a file on the server"),
                            ("http", "a web address"),
                            ("email", "a mail address"),
                        ],
                        max_length=8,
                    ),
                ),
                ("address", models.CharField(blank=True, max_length=500)),
                ("every_s", models.PositiveIntegerField(default=3600)),
                ("is_active", models.BooleanField(default=True)),
                ("allow_private", models.BooleanField(default=False)),
                ("published_number", models.BigIntegerField(default=0)),
                ("published_size", models.BigIntegerField(default=0)),
                ("published_at", models.DateTimeField(null=True)),
                ("next_at", models.DateTimeField(null=True)),
                ("failures", models.PositiveIntegerField(default=0)),
                ("fault", models.CharField(blank=True, max_length=300)),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("is_active", True)), fields=["next_at"], name="audit_target_due")
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "kind", "address"), name="audit_target_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="IndexedEvent",
            fields=[
                ("event", models.BigIntegerField(primary_key=True, serialize=False)),
                ("tenant", models.UUIDField()),
                ("at", models.DateTimeField()),
                ("subject_kind", models.CharField(max_length=32)),
                ("subject_id", models.UUIDField()),
                ("environment", models.UUIDField(null=True)),
                ("type", models.CharField(blank=True, default="", max_length=64)),
                ("verb", models.CharField(max_length=64)),
                ("outcome", models.CharField(max_length=32)),
                ("actor", models.CharField(max_length=64)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["tenant", "event"], name="audit_indexed_by_tenant"),
                    models.Index(fields=["tenant", "at"], name="audit_indexed_by_time"),
                    models.Index(fields=["tenant", "environment", "event"], name="audit_indexed_by_place"),
                    models.Index(fields=["tenant", "verb", "event"], name="audit_indexed_by_verb"),
                    models.Index(fields=["tenant", "actor", "event"], name="audit_indexed_by_actor"),
                    models.Index(fields=["tenant", "type", "event"], name="audit_indexed_by_type"),
                    models.Index(fields=["tenant", "subject_kind", "event"], name="audit_indexed_by_kind"),
                    models.Index(
                        condition=models.Q(("outcome", "ok"), _negated=True),
                        fields=["tenant", "outcome", "event"],
                        name="audit_indexed_by_outcome",
                    ),
                    models.Index(fields=["subject_id", "event"], name="audit_indexed_by_subject"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Leaf",
            fields=[
                ("event_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("tenant", models.UUIDField()),
                ("log_index", models.BigIntegerField()),
                ("subject_id", models.UUIDField()),
                ("seq", models.BigIntegerField()),
                ("hash", models.BinaryField()),
            ],
            options={
                "indexes": [models.Index(fields=["subject_id", "seq"], name="audit_leaf_by_subject")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "log_index"), name="audit_leaf_one_per_index")
                ],
            },
        ),
        migrations.CreateModel(
            name="LegalHold",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant", models.UUIDField()),
                ("subject_id", models.UUIDField(null=True)),
                ("reason", models.CharField(max_length=500)),
                ("set_by", models.CharField(max_length=64)),
                ("set_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("lifted_by", models.CharField(blank=True, max_length=64)),
                ("lifted_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("lifted_at", None)),
                        fields=["tenant", "subject_id"],
                        name="audit_legal_holds_standing",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="PackJob",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant", models.UUIDField()),
                ("subject_kind", models.CharField(max_length=32)),
                ("subject_id", models.UUIDField()),
                ("audience", models.CharField(max_length=32)),
                ("form", models.CharField(max_length=8)),
                ("requested_by", models.CharField(max_length=64)),
                ("requested_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("building", "Building"),
                            ("ready", "Ready"),
                            ("failed", "Failed"),
                        ],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                ("lease", models.PositiveIntegerField(default=0)),
                ("seen_at", models.DateTimeField(null=True)),
                ("done", models.BigIntegerField(default=0)),
                ("total", models.BigIntegerField(default=0)),
                ("doing", models.CharField(blank=True, max_length=60)),
                ("size", models.BigIntegerField(default=0)),
                ("sha256", models.CharField(blank=True, max_length=64)),
                ("why", models.TextField(blank=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["tenant", "subject_id", "-requested_at"], name="audit_packjob_by_subject"),
                    models.Index(
                        condition=models.Q(("state__in", ["waiting", "building"])),
                        fields=["requested_at"],
                        name="audit_packjob_open",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PrivateValue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tenant", models.UUIDField()),
                ("subject_id", models.UUIDField()),
                ("seq", models.BigIntegerField()),
                ("name", models.CharField(max_length=64)),
                ("salt", models.BinaryField(null=True)),
                ("value", models.BinaryField(null=True)),
                ("erased_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("subject_id", "seq", "name"), name="audit_private_one_per_name")
                ],
            },
        ),
        migrations.CreateModel(
            name="ReportSchedule",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant", models.UUIDField()),
                ("kind", models.CharField(max_length=64)),
                ("parameters", models.JSONField(default=dict)),
                (
                    "format",
                    models.CharField(choices=[("pdf", "PDF"), ("csv", "CSV"), ("jsonl", "JSON lines")], max_length=5),
                ),
                (
                    "every",
                    models.CharField(
                        choices=[("week", "every week"), ("month", "every month"), ("quarter", "every quarter")],
                        max_length=7,
                    ),
                ),
                ("recipients", models.JSONField(default=list)),
                ("by", models.CharField(max_length=64)),
                ("next_at", models.DateTimeField()),
                ("stopped_because", models.CharField(blank=True, default="", max_length=120)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "ordering": ["created_at", "id"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("stopped_because", "")), fields=["next_at"], name="audit_schedule_due"
                    ),
                    models.Index(fields=["tenant", "id"], name="audit_schedule_tenant"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReportRun",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant", models.UUIDField()),
                ("kind", models.CharField(max_length=64)),
                ("parameters", models.JSONField(default=dict)),
                (
                    "format",
                    models.CharField(choices=[("pdf", "PDF"), ("csv", "CSV"), ("jsonl", "JSON lines")], max_length=5),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="queued",
                        max_length=9,
                    ),
                ),
                ("by", models.CharField(max_length=64)),
                ("requested_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(null=True)),
                ("head", models.JSONField(default=dict)),
                ("done", models.PositiveIntegerField(default=0)),
                ("is_whole", models.BooleanField(default=True)),
                ("sha256", models.CharField(blank=True, default="", max_length=64)),
                ("size", models.BigIntegerField(default=0)),
                ("error", models.CharField(blank=True, default="", max_length=300)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("claim", models.UUIDField(null=True)),
                ("claimed_until", models.DateTimeField(null=True)),
                (
                    "schedule",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="runs",
                        to="audit.reportschedule",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SavedSearch",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant", models.UUIDField()),
                ("by", models.CharField(max_length=64)),
                ("name", models.CharField(max_length=80)),
                ("query", models.CharField(blank=True, default="", max_length=2000)),
                ("is_shared", models.BooleanField(default=False)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "ordering": ["name", "id"],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "by", "name"), name="audit_search_name_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="SignedTreeHead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tenant", models.UUIDField()),
                ("number", models.BigIntegerField()),
                ("size", models.BigIntegerField()),
                ("root", models.BinaryField()),
                ("at", models.DateTimeField()),
                ("key_id", models.CharField(max_length=8)),
                ("note", models.TextField()),
            ],
            options={
                "indexes": [models.Index(fields=["tenant", "size"], name="audit_signedtreehead_by_size")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "number"), name="audit_signedtreehead_one_per_number")
                ],
            },
        ),
        migrations.CreateModel(
            name="SigningKey",
            fields=[
                ("id", models.UUIDField(default=audit.database.clock.uuid7, primary_key=True, serialize=False)),
                ("tenant", models.UUIDField()),
                ("key_id", models.CharField(max_length=8)),
                ("public", models.BinaryField()),
                ("wrapped", models.BinaryField()),
                ("valid_from", models.DateTimeField()),
                ("valid_until", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                ("is_current", models.BooleanField(default=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "key_id"), name="audit_key_one_per_id"),
                    models.UniqueConstraint(
                        condition=models.Q(("is_current", True)), fields=("tenant",), name="audit_key_one_current"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Stream",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=audit.database.clock.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant", models.UUIDField()),
                ("name", models.SlugField(max_length=64)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("webhook", "CloudEvents to a web address"),
                            ("file", "JSON lines in a file"),
                            ("syslog", "syslog (RFC 5424)"),
                        ],
                        max_length=8,
                    ),
                ),
                ("address", models.CharField(blank=True, max_length=500)),
                ("verbs", models.JSONField(blank=True, default=list)),
                ("allow_private", models.BooleanField(default=False)),
                ("secret", models.BinaryField(null=True)),
                ("is_active", models.BooleanField(default=True)),
                ("position", models.BigIntegerField(default=0)),
                ("offset", models.BigIntegerField(default=0)),
                ("failures", models.PositiveIntegerField(default=0)),
                ("fault", models.CharField(blank=True, max_length=300)),
                ("next_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("sent_at", models.DateTimeField(null=True)),
                ("sent", models.BigIntegerField(default=0)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("is_active", True)), fields=["next_at"], name="audit_stream_due")
                ],
                "constraints": [models.UniqueConstraint(fields=("tenant", "name"), name="audit_stream_one_per_name")],
            },
        ),
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("events", models.PositiveIntegerField()),
                ("fault", models.CharField(max_length=300)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("resent_at", models.DateTimeField(null=True)),
                (
                    "stream",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="dead_letters", to="audit.stream"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Tile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tenant", models.UUIDField()),
                ("level", models.SmallIntegerField()),
                ("n", models.BigIntegerField()),
                ("hashes", models.BinaryField()),
                ("root", models.BinaryField()),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant", "level", "n"), name="audit_tile_one_per_n")],
            },
        ),
        migrations.CreateModel(
            name="Verification",
            fields=[
                ("id", models.UUIDField(default=audit.database.clock.uuid7, primary_key=True, serialize=False)),
                ("tenant", models.UUIDField()),
                ("requested_by", models.CharField(max_length=64)),
                ("depth", models.CharField(max_length=16)),
                ("subject_id", models.UUIDField(null=True)),
                ("first", models.BigIntegerField(default=0)),
                ("upto", models.BigIntegerField(null=True)),
                ("is_full", models.BooleanField(default=True)),
                ("head", models.TextField(blank=True, default="")),
                (
                    "status",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("running", "Running"), ("done", "Done")],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                ("position", models.BigIntegerField(default=0)),
                ("total", models.BigIntegerField(default=0)),
                ("state", models.JSONField(default=dict)),
                ("report", models.JSONField(default=dict)),
                ("broken", models.TextField(blank=True, default="")),
                ("requested_at", models.DateTimeField()),
                ("leased_until", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["tenant", "-requested_at"], name="audit_verification_by_tenant"),
                    models.Index(
                        condition=models.Q(("status", "done"), _negated=True),
                        fields=["requested_at"],
                        name="audit_verification_waiting",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Word",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tenant", models.UUIDField()),
                ("word", models.BinaryField(max_length=160)),
                ("at", models.DateTimeField()),
                ("subject_id", models.UUIDField()),
                ("seq", models.BigIntegerField()),
                ("name", models.CharField(max_length=64)),
            ],
            options={
                "indexes": [models.Index(fields=["tenant", "word", "at"], name="audit_word_by_tenant")],
                "constraints": [
                    models.UniqueConstraint(fields=("subject_id", "seq", "name", "word"), name="audit_word_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="PackChunk",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("n", models.IntegerField()),
                ("data", models.BinaryField()),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="chunks", to="audit.packjob"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("job", "n"), name="audit_packchunk_one_per_n")],
            },
        ),
        migrations.CreateModel(
            name="ReportPart",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("n", models.PositiveIntegerField()),
                ("data", models.BinaryField()),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="parts", to="audit.reportrun"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("run", "n"), name="audit_report_part_once")],
            },
        ),
        migrations.CreateModel(
            name="ReportMail",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("recipient", models.CharField(max_length=254)),
                (
                    "status",
                    models.CharField(
                        choices=[("due", "Due"), ("sent", "Sent"), ("failed", "Failed")], default="due", max_length=6
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("next_at", models.DateTimeField()),
                ("claimed_until", models.DateTimeField(null=True)),
                ("error", models.CharField(blank=True, default="", max_length=300)),
                ("sent_at", models.DateTimeField(null=True)),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="mails", to="audit.reportrun"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("status", "due")), fields=["next_at"], name="audit_mail_due")
                ],
                "constraints": [models.UniqueConstraint(fields=("run", "recipient"), name="audit_report_mailed_once")],
            },
        ),
        migrations.AddIndex(
            model_name="reportrun",
            index=models.Index(fields=["tenant", "-id"], name="audit_run_by_tenant"),
        ),
        migrations.AddIndex(
            model_name="reportrun",
            index=models.Index(
                condition=models.Q(("status__in", ["queued", "running"])),
                fields=["requested_at"],
                name="audit_run_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(
                condition=models.Q(("resent_at", None)), fields=["stream", "-id"], name="audit_dead_letters"
            ),
        ),
        migrations.RunPython(protect, unprotect),
    ]
