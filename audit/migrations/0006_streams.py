import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import audit.ids


class Migration(migrations.Migration):
    dependencies = [("audit", "0005_explorer")]
    operations = [
        migrations.CreateModel(
            name="Stream",
            fields=[
                ("id", models.UUIDField(default=audit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
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
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("resent_at", None)), fields=["stream", "-id"], name="audit_dead_letters"
                    )
                ],
            },
        ),
    ]
