from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register with the floors below. Models must be loaded first, so these imports wait until here."""
        from approvals.policies import subjects
        from approvals.quorum import access_review
        from approvals.requests import comments

        subjects.register_subjects()
        comments.register_comment_erasure()
        access_review.register_access_review()
