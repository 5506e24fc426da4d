from django.db import migrations

from audit import append_only


def install(apps, schema_editor):
    append_only.protect(schema_editor.connection)


def remove(apps, schema_editor):
    append_only.unprotect(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [migrations.RunPython(install, remove)]
