"""Attention, conversation and reminders of requests."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("approvals", "0004_blast_weights")]
    operations = []
