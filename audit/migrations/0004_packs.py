import django.db.models.deletion
from django.db import migrations, models

import audit.ids


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_seals")]

    operations = [
        migrations.CreateModel(
            name="Audience",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tenant", models.UUIDField()),
                ("name", models.SlugField(max_length=32)),
                ("withheld", models.JSONField(default=list)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "name"), name="audit_audience_one_per_name"),
                ],
            },
        ),
        migrations.CreateModel(
            name="PackJob",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("tenant", models.UUIDField()),
                ("subject_kind", models.CharField(max_length=32)),
                ("subject_id", models.UUIDField()),
                ("audience", models.CharField(max_length=32)),
                ("form", models.CharField(max_length=8)),
                ("asked_by", models.CharField(max_length=64)),
                ("asked_at", models.DateTimeField()),
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
                    models.Index(fields=["tenant", "subject_id", "-asked_at"], name="audit_packjob_by_subject"),
                    models.Index(
                        condition=models.Q(("state__in", ["waiting", "building"])),
                        fields=["asked_at"],
                        name="audit_packjob_open",
                    ),
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
    ]
