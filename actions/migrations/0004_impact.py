"""Predicted and verified impact."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("actions", "0003_lean_indexes")]
    operations = []
