from django.db import migrations

from tenants.invariants import protect, unprotect


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_sign_in")]

    operations = [
        migrations.RunPython(
            lambda apps, schema_editor: protect(schema_editor.connection),
            lambda apps, schema_editor: unprotect(schema_editor.connection),
        )
    ]
