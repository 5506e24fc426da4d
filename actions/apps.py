from django.apps import AppConfig


class ActionsConfig(AppConfig):
    name = "actions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the floors; models must be loaded first, so the import has to wait until here."""
        from actions import signals

        signals.connect_signals()
