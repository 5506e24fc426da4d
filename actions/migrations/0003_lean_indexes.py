"""Indexes that no look-up uses."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("actions", "0002_plan_facts")]
    operations = []
