from django.db import migrations, models

import audit.ids
from audit import append_only


def install(apps, schema_editor):
    append_only.protect(schema_editor.connection)


def remove(apps, schema_editor):
    append_only.unprotect(schema_editor.connection, append_only.SEALS)


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]

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
            name="PublicCheck",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("minute", models.BigIntegerField()),
                ("count", models.PositiveIntegerField(default=0)),
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
            name="Checkpoint",
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
                "indexes": [models.Index(fields=["tenant", "size"], name="audit_checkpoint_by_size")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "number"), name="audit_checkpoint_one_per_number")
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
                ("shipped_number", models.BigIntegerField(default=0)),
                ("shipped_size", models.BigIntegerField(default=0)),
                ("shipped_at", models.DateTimeField(null=True)),
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
            name="SigningKey",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, primary_key=True, serialize=False)),
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
                ("id", models.UUIDField(default=audit.ids.uuid7, primary_key=True, serialize=False)),
                ("tenant", models.UUIDField()),
                ("asked_by", models.CharField(max_length=64)),
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
                ("walk", models.JSONField(default=dict)),
                ("report", models.JSONField(default=dict)),
                ("broken", models.TextField(blank=True, default="")),
                ("asked_at", models.DateTimeField()),
                ("held_until", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["tenant", "-asked_at"], name="audit_verification_by_tenant"),
                    models.Index(
                        condition=models.Q(("status", "done"), _negated=True),
                        fields=["asked_at"],
                        name="audit_verification_waiting",
                    ),
                ],
            },
        ),
        migrations.RunPython(install, remove),
    ]
