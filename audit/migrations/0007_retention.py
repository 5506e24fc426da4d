import django.db.models.functions.datetime
from django.db import migrations, models

import audit.ids
from audit import append_only


def install(apps, schema_editor):
    append_only.protect(schema_editor.connection)


def remove(apps, schema_editor):
    append_only.forbid_pruning(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("audit", "0006_streams")]
    operations = [
        migrations.CreateModel(
            name="Retention",
            fields=[
                ("tenant", models.UUIDField(primary_key=True, serialize=False)),
                ("keep_days", models.PositiveIntegerField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Archive",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
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
            name="LegalHold",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
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
                        name="audit_holds_standing",
                    )
                ],
            },
        ),
        migrations.RunPython(install, remove),
    ]
