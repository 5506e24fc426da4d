"""Backtests of drafts."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("actions", "0004_impact")]
    operations = []
