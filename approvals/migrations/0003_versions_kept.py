from django.db import migrations

from approvals.policies.immutable import protect, unprotect


class Migration(migrations.Migration):
    dependencies = [("approvals", "0002_policies")]

    operations = [
        migrations.RunPython(
            lambda apps, schema_editor: protect(schema_editor.connection),
            lambda apps, schema_editor: unprotect(schema_editor.connection),
        )
    ]
