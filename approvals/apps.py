from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the floors; models must be loaded first, so the import has to wait until here."""
        from approvals import access_review, erasing, naming

        naming.connect()
        erasing.connect()
        access_review.connect()
