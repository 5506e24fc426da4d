from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("actions", "0010_step_metrics")]
    operations = []
