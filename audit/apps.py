from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "audit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register who erases what auditors keep of a person; models must be loaded first."""
        from audit.auditor.explore.saved_searches import erase_searches
        from audit.auditor.reports.runs import erase_files
        from audit.evidence.jobs import erase_packs
        from audit.retention.erasure import register_eraser

        for name, eraser in (("searches", erase_searches), ("report_files", erase_files), ("built_packs", erase_packs)):
            register_eraser(name, eraser)
