"""Weights of the blast radius per tenant."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("approvals", "0003_versions_kept")]
    operations = []
