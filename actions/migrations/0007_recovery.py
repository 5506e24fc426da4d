from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("actions", "0006_resource_claims")]
    operations = []
