from django.apps import AppConfig


class TenantsConfig(AppConfig):
    name = "tenants"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the floors; models must be loaded first, so the import has to wait until here."""
        from tenants.audit_hooks import registrations

        registrations.register_audit_names()
        registrations.register_name_erasure()
