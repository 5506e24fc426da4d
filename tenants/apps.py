from django.apps import AppConfig


class TenantsConfig(AppConfig):
    name = "tenants"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the floors; models must be loaded first, so the import has to wait until here."""
        from tenants import erasing, naming

        naming.connect()
        erasing.connect()
