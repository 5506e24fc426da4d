from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "audit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell who erases what the auditor's pages keep; models must be loaded first."""
        from audit.evidence import erasing as packs
        from audit.reports import erasing

        erasing.connect()
        packs.connect()
